"""Records as the lines that a segment holds, passed on as they are, many at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from backburner_schemas.indexset import IndexSet
from backburner_schemas.result import ResultRecord, encode_record
from backburner_schemas.segment import read_digest, without_digest

_LINE = b'{"id":'
_NAMELESS = b'"custom_id":null'


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
    """A segment with a record for each index that its digest tells, and no other."""

    indexes: IndexSet
    failed: IndexSet
    lines: RecordLines

    @classmethod
    def of(cls, data: bytes) -> "WholeSegment | None":
        """What the segment's bytes hold, if they are in the form that workers write; None leaves them to be parsed.

        That a line says what the digest says of it is the worker's word, as it is for those who count.
        """
        digest = read_digest(data)
        if digest is None:
            return None
        indexes = digest.ok | digest.failed
        count = len(indexes)
        if len(digest.ok) + len(digest.failed) != count:
            return None
        # Only a request that was refused may have none.
        if digest.failed and _NAMELESS in data:
            return None
        lines = without_digest(data)
        if not lines.startswith(_LINE) or not lines.endswith(b"}\n"):
            return None
        # No line beside those that begin and end as records do, and none of these broken in two.
        if lines.count(b"\n") != count or lines.count(b"}\n" + _LINE) != count - 1:
            return None
        return cls(indexes, digest.failed, RecordLines(lines, count, len(digest.failed)))
