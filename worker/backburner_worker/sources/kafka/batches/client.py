"""Has the client library decode what it fetches within the bounds of this folder.

aiokafka unpacks a batch without a bound, refuses a batch for one header's name, and cannot say which record it was. Of
its fetcher everything stays, but for how the fetched bytes of a partition become records.
"""

from collections.abc import Iterable
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher

from backburner_worker.sources.kafka.batches.fetched import FetchedBatches
from backburner_worker.sources.kafka.batches.read_ahead import ReadAhead
from backburner_worker.sources.kafka.batches.record import Record, Unreadable

_ALL_COUNT = 2**31


def decode_within_bounds() -> None:
    """Replace the three names by which aiokafka's fetcher decodes: for all consumers of this process.

    A consumer that was made with a `ReadAhead` as its key deserializer, which is the one thing of its own that aiokafka
    hands down to there, is bound by that as well.
    """
    fetcher.MemoryRecords = _Bytes
    fetcher.PartitionRecords = _decode
    fetcher.FetchResult = _Result


class _Bytes:
    """The fetched bytes of a partition."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data or b""

    def has_next(self) -> bool:
        return bool(self.data)

    def size_in_bytes(self) -> int:
        return len(self.data)


class _Batches(FetchedBatches):
    """With the one name by which aiokafka knows where reading goes on."""

    @property
    def next_fetch_offset(self) -> int:
        return self.position


def _decode(
    partition: TopicPartition,
    records: _Bytes,
    aborted: Iterable[tuple[int, int]] | None,
    offset: int,
    *rest: Any,
) -> _Batches:
    key_deserializer, _, _, isolation_level = rest
    return _Batches(
        partition.topic,
        partition.partition,
        records.data,
        offset,
        aborted or (),
        read_committed=isolation_level == fetcher.READ_COMMITTED,
        read_ahead=key_deserializer if isinstance(key_deserializer, ReadAhead) else None,
    )


class _Result(fetcher.FetchResult):  # type: ignore[misc]  # aiokafka has no types
    """Hands out a poll's share; what is left stays for the next one."""

    def __init__(
        self, partition: TopicPartition, *, assignment: Any, partition_records: _Batches, backoff: float
    ) -> None:
        super().__init__(partition, assignment=assignment, partition_records=partition_records, backoff=backoff)
        partition_records.highwater = assignment.state_value(partition).highwater

    def has_more(self) -> bool:
        return self._partition_records is not None and not self._partition_records.exhausted

    def getone(self) -> Record | Unreadable | None:
        return next(iter(self.getall(1)), None)

    def getall(self, max_records: int | None = None) -> list[Record | Unreadable]:
        if not self.has_more() or not self.check_assignment(self._topic_partition):
            return []
        found: list[Record | Unreadable] = self._partition_records.take(max_records or _ALL_COUNT)
        self._update_position()
        return found
