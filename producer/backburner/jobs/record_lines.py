"""Records as the lines that a segment holds, passed on as they are, many at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backburner_schemas.indexset import IndexSet
from backburner_schemas.result import ResultRecord, encode_record
from backburner_schemas.segment import read_digest

_LINE = b'{"id":'
_CLOSING = ord("}")
_NAMELESS = b'"custom_id":null'
_HEAD_BYTES = 1 << 18
"""Bytes in which a digest has to end."""
_BLOCK_BYTES = 1 << 18
"""Bytes of lines that are passed on together, roughly."""


@dataclass(frozen=True, slots=True)
class RecordLines:
    """Some result records as JSON lines."""

    data: bytes
    """The lines; each ends with a line's end."""
    count: int
    """How many they are."""
    failed: int
    """How many of them are error records."""

    @classmethod
    def of(cls, records: Sequence[ResultRecord]) -> "RecordLines":
        """The lines of these records."""
        data = b"".join([b"%b\n" % encode_record(record) for record in records])
        return cls(data, len(records), sum(not record.ok for record in records))


@dataclass(frozen=True, slots=True)
class WholeSegment:
    """A segment with a record for each index in its digest, and no other."""

    indexes: IndexSet
    failed: IndexSet
    lines: tuple[RecordLines, ...]

    @classmethod
    def of(cls, data: memoryview) -> "WholeSegment | None":
        """What the segment's bytes hold, if they are in the form that workers write; None leaves them to be parsed.

        That the lines match the digest is taken from the worker, as it is by those who count.
        """
        head = bytes(data[:_HEAD_BYTES])
        digest = read_digest(head)
        if digest is None:
            return None
        indexes = digest.ok | digest.failed
        if len(digest.ok) + len(digest.failed) != len(indexes):
            return None
        parts = list[RecordLines]()
        for block in _blocks(data, head.find(b"},") + 2):
            # Only a request that was refused may have no name.
            if not (count := _records_in(block)) or (digest.failed and _NAMELESS in block):
                return None
            parts.append(RecordLines(block, count, 0))
        if sum(part.count for part in parts) != len(indexes):
            return None
        if digest.failed:
            # In which of the blocks they are is not known.
            parts = [RecordLines(b"".join(part.data for part in parts), len(indexes), len(digest.failed))]
        return cls(indexes, digest.failed, tuple(parts))


def _records_in(block: bytes) -> int:
    """How many lines those are; 0 where one of them does not begin and end as records do.

    Each line's end is found separately, at a fifth of the cost of `bytes.count`.
    """
    find, length = block.find, len(_LINE)
    count = start = 0
    while start < len(block):
        end = find(b"\n", start)
        if end < 0 or block[end - 1] != _CLOSING or block[start : start + length] != _LINE:
            return 0
        count += 1
        start = end + 1
    return count


def _blocks(data: memoryview, start: int) -> Iterator[bytes]:
    """The lines from there on, some at a time, the opening brace that the digest took returned to the first.

    A block is scanned and passed on while the processor's cache still has it; over the whole segment each scan would
    read from memory again.
    """
    opening, size = b"{", _BLOCK_BYTES
    while start < len(data):
        block = opening + data[start : start + size]
        end = block.rfind(b"\n") + 1
        if end == 0 and start + size < len(data):
            # A line that is longer than a block.
            size *= 2
            continue
        # What has no line's end at the very end is for the caller to refuse.
        block = block[:end] if end else block
        yield block
        start += len(block) - len(opening)
        opening, size = b"", _BLOCK_BYTES
