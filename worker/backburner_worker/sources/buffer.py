"""Records of one lane that were read from the broker and not handed out yet. Pure, and bounded by its reader.

The records are the client library's own; of a lane that holds back, those that are not due wait at the head of their
partition.
"""

from collections import deque
from collections.abc import Collection, Sequence
from typing import Protocol

from backburner_schemas import codec

Partition = tuple[str, int]

_OVERHEAD = 256
"""Bytes that a record's objects take beside its value, roughly."""


class Record(Protocol):
    """What the buffer looks at in a record."""

    @property
    def topic(self) -> str:
        """The topic's name."""
        ...

    @property
    def partition(self) -> int:
        """The partition's number."""
        ...

    @property
    def offset(self) -> int:
        """The offset in the partition."""
        ...

    @property
    def timestamp(self) -> int:
        """Unix milliseconds."""
        ...

    @property
    def value(self) -> bytes | None:
        """The message."""
        ...

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """The headers."""
        ...


class LaneBuffer:
    """A bounded queue of records, in the order in which they came.

    With `holds_back`, a record whose `not_before` has not come stays at the head of its partition, and what is behind
    it in that partition stays behind it.
    """

    def __init__(self, *, max_records: int, max_bytes: int, holds_back: bool = False) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._holds_back = holds_back
        self._queue: deque[Record] = deque()
        self._held: dict[Partition, deque[Record]] = {}
        self._records = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._records

    @property
    def full(self) -> bool:
        """Whether its lane should be read no further."""
        return self._records >= self._max_records or self._bytes >= self._max_bytes

    @property
    def held(self) -> Collection[Partition]:
        """Partitions whose head waits for its time: read no further either."""
        return self._held.keys()

    def add(self, record: Record) -> None:
        """Put a record at the end."""
        self._queue.append(record)
        self._records += 1
        self._bytes += _size(record)

    def take(self, now: float) -> Record | None:
        """The next record that is due at that Unix time."""
        record = self._next_due(now)
        if record is not None:
            self._records -= 1
            self._bytes -= _size(record)
        return record

    def due_at(self) -> float | None:
        """Unix time at which the first of the held heads is due; None if none is held."""
        return min((_not_before(queue[0]) for queue in self._held.values()), default=None)

    def clear(self) -> None:
        """Forget all of it: the partitions went away, and the broker gives it again."""
        self._queue.clear()
        self._held.clear()
        self._records = self._bytes = 0

    def _next_due(self, now: float) -> Record | None:
        for partition, waiting in self._held.items():
            if _not_before(waiting[0]) <= now:
                record = waiting.popleft()
                if not waiting:
                    del self._held[partition]
                return record
        while self._queue:
            record = self._queue.popleft()
            if not self._holds_back:
                return record
            partition = (record.topic, record.partition)
            if partition in self._held:
                self._held[partition].append(record)
            elif _not_before(record) > now:
                self._held[partition] = deque([record])
            else:
                return record
        return None


def _not_before(record: Record) -> float:
    return codec.decode_facts(record.headers, record.timestamp / 1000).not_before or 0.0


def _size(record: Record) -> int:
    headers = sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else 0
    return len(record.value or b"") + headers + _OVERHEAD
