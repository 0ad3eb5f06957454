"""Reads a file of lines in large blocks. It checks nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

from backburner_schemas.errors import BackburnerError

Line = tuple[int, bytes | BackburnerError]
"""A line's number, from 1, and its bytes, or why it has none."""

BLOCK_BYTES = 1 << 20
"""Bytes that are read at once. A block ends with its last whole line, so it is larger by less than one line."""
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines of a file, one after the other."""

    first: int
    """Number of the first line, counted from 1."""
    texts: Sequence[bytes]
    """The lines without their ends. Of a line over the limit, just enough to show that it is."""
    digest: bytes
    """Of the block's bytes: another reading of the same file that finds it again has found the same lines."""

    @property
    def lines(self) -> list[Line]:
        """The lines that are not blank, with their numbers."""
        return [(number, text) for number, text in enumerate(self.texts, self.first) if text.strip()]

    def parts(self, size: int) -> Iterator[tuple[int, Sequence[bytes]]]:
        """So many lines at a time, blank ones among them, with the number of the first."""
        for start in range(0, len(self.texts), size):
            yield self.first + start, self.texts[start : start + size]


class BlockReader:
    """Reads a file from its beginning to its end, always in the same blocks. Memory holds one block."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        # Two more than the limit: one for the line's end, one to see that it is over.
        self._kept = max_bytes + 2
        self._rest = b""
        self._next = 1

    def read(self) -> Block | None:
        """The next block, or None behind the last. Raises `OSError` if the file cannot be read."""
        data = self._whole_lines()
        if not data:
            return None
        digest = sha256(data).digest()
        if self._next == 1:
            data = data.removeprefix(BOM)
        texts = data.split(b"\n")
        if not texts[-1]:
            del texts[-1]
        first = self._next
        self._next += len(texts)
        return Block(first, trimmed(texts, data, self._kept), digest)

    def _whole_lines(self) -> bytes:
        """Bytes up to a line's end, or the file's. Of a line far over the limit, its beginning and its end."""
        pieces, held = [self._rest], len(self._rest)
        while True:
            piece = self._file.read(BLOCK_BYTES)
            end = piece.rfind(b"\n") + 1
            if end or not piece:
                self._rest = piece[end:]
                pieces.append(piece[:end])
                return b"".join(pieces)
            if held < self._kept + len(BOM):
                pieces.append(piece)
                held += len(piece)


def is_blank(text: bytes | BackburnerError) -> bool:
    """Whether there is nothing on the line."""
    return isinstance(text, bytes) and not text.strip()


def on_one_line(text: bytes) -> bytes:
    """The JSON as one line: an iterable's text may have line breaks, which stand outside its strings alone."""
    return text.replace(b"\n", b" ").replace(b"\r", b" ")


def trimmed(texts: list[bytes], data: bytes, kept: int) -> list[bytes]:
    """The lines that were split from the data, none longer than is kept, and without carriage returns at their ends."""
    if len(data) >= kept:
        texts = [text[:kept] for text in texts]
    if b"\r" in data:
        texts = [text.rstrip(b"\r") for text in texts]
    return texts
