"""Reads a file: its lines in blocks and in chunks, or its bytes in pieces. It checks nothing."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from backburner.inputs.findings import InvalidInput
from backburner.inputs.line_blocks import BLOCK_BYTES, Block, BlockReader, Line


async def read_blocks(path: Path, *, max_bytes: int) -> AsyncGenerator[Block]:
    """The file's lines in large blocks, blank lines among them. One block is read ahead.

    Of a line over `max_bytes` it has just enough to show that it is. Raises `InvalidInput` if the file cannot be read,
    or not twice.
    """
    _check_regular(path)
    try:
        with await asyncio.to_thread(path.open, "rb") as file:
            reader = BlockReader(file, max_bytes)
            ahead = asyncio.create_task(asyncio.to_thread(reader.read))
            try:
                while (block := await ahead) is not None:
                    ahead = asyncio.create_task(asyncio.to_thread(reader.read))
                    yield block
            finally:
                # A thread that still reads must not lose its file; nobody needs what it finds.
                await asyncio.gather(ahead, return_exceptions=True)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error


async def read_file(path: Path, *, max_bytes: int) -> AsyncGenerator[list[Line]]:
    """The same in chunks, without blank lines."""
    blocks = read_blocks(path, max_bytes=max_bytes)
    async with aclosing(blocks):
        async for block in blocks:
            if lines := block.lines:
                yield lines


async def read_pieces(path: Path) -> AsyncGenerator[bytes]:
    """The bytes of a file or a pipe, piece by piece. Raises `InvalidInput` if it cannot be read."""
    try:
        with await asyncio.to_thread(path.open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, BLOCK_BYTES):
                yield piece
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}; pass a JSONL file") from error


def _check_regular(path: Path) -> None:
    if not path.exists():
        raise InvalidInput(f"{path} does not exist; pass a JSONL file with one request a line")
    if not path.is_file():
        raise InvalidInput(f"{path} is not a regular file, and a file is read twice; pass its lines as an iterable")
