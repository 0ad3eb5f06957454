"""Reads a file: its lines in blocks and in chunks, or its bytes in pieces. It checks nothing."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from backburner.inputs.findings import InvalidInput
from backburner.inputs.line_blocks import BLOCK_BYTES, Block, BlockReader, Line

_WANTED = "pass a JSONL file with one request a line, or the requests themselves as a list"
_SHOWN_CHARACTERS = 200
_MAGIC_BYTES = 4
_ENCODINGS = {
    b"\x1f\x8b": "compressed with gzip; decompress it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; decompress it first",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"\xff\xfe": "in UTF-16; convert it to UTF-8 first",
    b"\xfe\xff": "in UTF-16; convert it to UTF-8 first",
    b"PAR1": "a Parquet file; write its rows as JSON lines first",
}
"""How files begin that have no JSON lines, and what they are."""


async def read_blocks(path: Path, *, max_bytes: int) -> AsyncGenerator[Block]:
    """The file's lines in large blocks, blank lines among them. One block is read ahead.

    Of a line over `max_bytes` it has just enough to show that it is. Raises `InvalidInput` if the file cannot be read,
    or not twice.
    """
    _check_regular(path)
    try:
        with await asyncio.to_thread(path.open, "rb") as file:
            _check_beginning(path, await asyncio.to_thread(file.read, _MAGIC_BYTES))
            await asyncio.to_thread(file.seek, 0)
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


def _check_beginning(path: Path, beginning: bytes) -> None:
    """Raise `InvalidInput` for what is no text in UTF-8, instead of a finding for each of its lines."""
    for magic, what in _ENCODINGS.items():
        if beginning.startswith(magic):
            raise InvalidInput(f"{_shown(path)} is {what}")


def _shown(path: Path) -> str:
    text = str(path)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _check_regular(path: Path) -> None:
    try:
        exists, regular = path.exists(), path.is_file()
    except (OSError, ValueError) as error:  # Longer than a path can be, or with a null byte.
        raise InvalidInput(f"{_shown(path)} is no path; {_WANTED}") from error
    if not exists:
        raise InvalidInput(f"{_shown(path)} does not exist; {_WANTED}")
    if not regular:
        raise InvalidInput(f"{path} is not a regular file, and a file is read twice; pass its lines as an iterable")
