"""Reads lines from a stream of bytes, with the place of each: an input in the object store. It checks nothing.

`line_blocks` reads files, and finds the same lines in the same bytes.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from backburner.inputs.line_blocks import BOM, trimmed


@dataclass(frozen=True, slots=True)
class LocatedLines:
    """Some lines of a stream, one after the other, blank ones among them."""

    first: int
    """Number of the first line, counted from 1."""
    texts: Sequence[bytes]
    """The lines without their ends. Of a line over the limit, just enough to show that it is."""
    offsets: Sequence[int]
    """Where each begins in the stream, in bytes."""

    def parts(self, size: int) -> Iterator["LocatedLines"]:
        """The same, so many lines at a time."""
        for start in range(0, len(self.texts), size):
            stop = start + size
            yield LocatedLines(self.first + start, self.texts[start:stop], self.offsets[start:stop])


async def locate_lines(pieces: AsyncIterable[bytes], *, max_bytes: int) -> AsyncGenerator[LocatedLines]:
    """The stream's lines, about a piece of it at a time.

    Of a line over `max_bytes` it has just enough to show that it is; memory holds no more of it.
    """
    # Two more than the limit: one for the line's end, one to see that it is over.
    kept = max_bytes + 2
    lines = _Lines(kept)
    async for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if not end:
            lines.hold(piece)
            continue
        yield lines.take(piece[:end])
        lines.hold(piece[end:])
    if lines.held:
        yield lines.take(b"")


class _Lines:
    """What was read of a line whose end has not come, and where in the stream it begins."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._pieces: list[bytes] = []
        self._left_out = 0
        """Bytes of the line's middle that were not kept."""
        self._at = 0
        self._next = 1
        self.held = 0

    def hold(self, piece: bytes) -> None:
        """Keep the beginning of a line, or more of it."""
        if not piece:
            return
        if self.held < self._kept + len(BOM):
            self._pieces.append(piece)
            self.held += len(piece)
        else:
            self._left_out += len(piece)

    def take(self, piece: bytes) -> LocatedLines:
        """All whole lines, of which this piece has the end."""
        data = b"".join([*self._pieces, piece])
        at, left_out = self._at, self._left_out
        self._at += len(data) + left_out
        self._pieces, self.held, self._left_out = [], 0, 0
        if self._next == 1 and data.startswith(BOM):
            data = data[len(BOM) :]
            at += len(BOM)
        texts = data.split(b"\n")
        if not texts[-1]:
            del texts[-1]
        offsets = [*accumulate((len(text) + 1 for text in texts[:-1]), initial=at)][: len(texts)]
        # Only the first line can be one that was held.
        if left_out:
            offsets[1:] = [offset + left_out for offset in offsets[1:]]
        first = self._next
        self._next += len(texts)
        return LocatedLines(first, trimmed(texts, data, self._kept), offsets)
