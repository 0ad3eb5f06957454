"""Reads records of the partitions that are wanted, and of no others. It keeps and decides nothing.

The client library moves on when a poll fails, dropping what it had read of other partitions: that is corrected here.
What cannot be decoded comes as a stand-in, and damaged bytes are fetched again before they are believed to be so.
"""

from collections.abc import Callable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from backburner.logs import get_logger
from backburner_worker.sources.kafka.assignment import Partition
from backburner_worker.sources.kafka.batches.read_ahead import ReadAhead
from backburner_worker.sources.kafka.batches.record import Record, Unreadable

log = get_logger(__name__)

_POLL_RECORDS = 500
_POLL_MS = 50
_MAX_FETCHES_COUNT = 3
"""Of damaged bytes: the damage may have happened on the way, or another broker may lead by then."""
_NOWHERE = TopicPartition("", -1)
"""Names no partition: polling it returns no records, but raises the client library's errors."""

Found = Mapping[TopicPartition, Sequence[Record | Unreadable]]


class Reader:
    """Polls one consumer."""

    def __init__(self, consumer: AIOKafkaConsumer, read_ahead: ReadAhead, position: Callable[[Partition], int]) -> None:
        """`read_ahead` is the consumer's own; `position` returns where a partition is to be read on from."""
        self._consumer = consumer
        self._read_ahead = read_ahead
        self._position = position
        self._open: set[TopicPartition] = set()
        self._damaged: dict[TopicPartition, tuple[int, int]] = {}
        """Where a partition's bytes were damaged, and how often they were fetched."""

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Pause what was assigned until it is wanted: a new assignment forgets its pauses."""
        self._consumer.pause(*partitions)
        self._open = set()

    def revoked(self) -> None:
        """Nothing may be read any more."""
        self._open = set()

    async def read(self, wanted: Sequence[Partition]) -> Found:
        """What the broker returns of these partitions within a moment. Raises what aiokafka does.

        A pause keeps what was fetched already, as long as only the open partitions are polled.
        """
        reading = [TopicPartition(*partition) for partition in wanted]
        self._consumer.resume(*(partition for partition in reading if partition not in self._open))
        self._consumer.pause(*self._open.difference(reading))
        self._open = set(reading)
        self._read_ahead.begin_poll()
        found: dict[TopicPartition, list[Record | Unreadable]] = await self._consumer.getmany(
            *(reading or [_NOWHERE]), timeout_ms=_POLL_MS, max_records=_POLL_RECORDS
        )
        if self._read_ahead.unreadable:
            for partition, records in found.items():
                self._look(partition, records)
        return found

    def read_again(self) -> None:
        """Go back to what was kept, after a poll that raised."""
        for partition in self._open:
            self._consumer.seek(partition, self._position(partition))

    def _look(self, partition: TopicPartition, records: list[Record | Unreadable]) -> None:
        """Leave damaged bytes for the next poll, a few times: they may come whole, and nothing comes behind them."""
        last = records[-1] if records else None
        if not isinstance(last, Unreadable) or not last.damaged:
            return
        offset, fetches = self._damaged.pop(partition, (last.offset, 0))
        fetches = fetches + 1 if offset == last.offset else 1
        if fetches < _MAX_FETCHES_COUNT:
            log.warning(
                "fetched bytes are damaged; fetching them again",
                topic=partition.topic,
                partition=partition.partition,
                offset=last.offset,
                reason=last.reason,
            )
            self._damaged[partition] = last.offset, fetches
            records.pop()
            self._consumer.seek(partition, last.offset)
