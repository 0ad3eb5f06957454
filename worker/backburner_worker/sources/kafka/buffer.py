"""Records of one lane that were read from the broker and not handed out yet. Pure, and bounded by its reader.

The records are the client library's own; of a lane that holds back, those that are not due wait at the head of their
partition.
"""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from backburner_schemas import codec
from backburner_schemas.names import Lane

Partition = tuple[str, int]

_OVERHEAD_BYTES = 256
"""Bytes that a record's objects take beside its value, roughly."""


class Record(Protocol):
    """What the buffer reads of a record."""

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
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """The headers."""
        ...


class LaneBuffer:
    """A bounded queue of records, in the order in which they came.

    With `holds_back`, a record that is not due yet stays at the head of its partition, and what is behind it in that
    partition stays behind it; for a minute at most, whatever its sender wrote, since it was put here.
    """

    def __init__(self, *, max_records: int, max_bytes: int, holds_back: bool = False) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._holds_back = holds_back
        self._queue: deque[_Sized] = deque()
        self._held: dict[Partition, deque[_Sized]] = {}
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

    def add(self, records: Iterable[Record], *, now: float, unix: float) -> None:
        """Put records at the end, which are first seen now: by the monotonic clock, and by the wall clock."""
        for record in records:
            size = len(record.value or b"") + _OVERHEAD_BYTES
            if record.headers:
                size += sum(len(name) + len(value or b"") for name, value in record.headers)
            due = now + _wait_seconds(record, unix) if self._holds_back and record.headers else now
            self._queue.append((size, record, due))
            self._records += 1
            self._bytes += size

    def take(self, now: float, most: int, most_bytes: int) -> list[Record]:
        """The next records that are due at that monotonic time: no more than `most`, nor beyond so many bytes.

        The one that reaches these bytes is included.
        """
        taken: list[Record] = []
        while len(taken) < most and most_bytes > 0:
            if (found := self._next_due(now)) is None:
                break
            size, record, _ = found
            self._records -= 1
            self._bytes -= size
            most_bytes -= len(record.value or b"")
            taken.append(record)
        return taken

    def due_at(self) -> float | None:
        """Monotonic time at which the first of the held heads is due; None if none is held."""
        return min((queue[0][2] for queue in self._held.values()), default=None)

    def drop(self, partition: Partition) -> None:
        """Forget what was read of one partition."""
        gone = [*self._held.pop(partition, ())]
        gone += [found for found in self._queue if (found[1].topic, found[1].partition) == partition]
        self._queue = deque(found for found in self._queue if (found[1].topic, found[1].partition) != partition)
        self._records -= len(gone)
        self._bytes -= sum(size for size, *_ in gone)

    def clear(self) -> None:
        """Forget all of it: the partitions were revoked, and the broker delivers it again."""
        self._queue.clear()
        self._held.clear()
        self._records = self._bytes = 0

    def _next_due(self, now: float) -> "_Sized | None":
        if not self._holds_back:
            return self._queue.popleft() if self._queue else None
        for partition, waiting in self._held.items():
            if waiting[0][2] <= now:
                found = waiting.popleft()
                if not waiting:
                    del self._held[partition]
                return found
        while self._queue:
            found = self._queue.popleft()
            _, record, due = found
            partition = (record.topic, record.partition)
            if partition in self._held:
                self._held[partition].append(found)
            elif due > now:
                self._held[partition] = deque([found])
            else:
                return found
        return None


_Sized = tuple[int, Record, float]
"""The bytes that a record counts as, the record, and the monotonic time at which it is due."""


def _wait_seconds(record: Record, unix: float) -> float:
    return codec.wait_seconds(codec.decode_facts(record.headers, Lane.RETRY), record.timestamp / 1000, unix)
