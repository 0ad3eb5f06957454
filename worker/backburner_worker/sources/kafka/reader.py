"""Reads records of the partitions that are wanted, and of no others. It keeps and decides nothing.

The client library moves on when a poll fails, dropping what it had read of other partitions, and cannot say which
record it failed to decode: both are corrected here.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from backburner.logs import get_logger
from backburner_worker.sources.kafka.assignment import Partition
from backburner_worker.sources.kafka.consumer import message_of
from backburner_worker.sources.kafka.intake import Unreadable

log = get_logger(__name__)

_POLL_RECORDS = 500
_POLL_MS = 50
_NOWHERE = TopicPartition("", -1)
"""Names no partition: polling it returns no records, but raises the client library's errors."""

Found = Mapping[TopicPartition, Sequence[Any]]


class Reader:
    """Polls one consumer."""

    def __init__(self, consumer: AIOKafkaConsumer, position: Callable[[Partition], int]) -> None:
        """`position` returns where a partition is to be read on from."""
        self._consumer = consumer
        self._position = position
        self._open: set[TopicPartition] = set()
        self._careful = False

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
        try:
            if self._careful and reading:
                return await self._read_carefully(reading)
            found: Found = await self._consumer.getmany(
                *(reading or [_NOWHERE]), timeout_ms=_POLL_MS, max_records=_POLL_RECORDS
            )
        except ValueError as error:
            log.warning("decoding a record failed; reading one by one to find it", error=message_of(error))
            self.read_again()
            self._careful = True
            return {}
        return found

    def read_again(self) -> None:
        """Go back to what was kept, after a poll that raised."""
        for partition in self._open:
            self._consumer.seek(partition, self._position(partition))

    async def _read_carefully(self, reading: Sequence[TopicPartition]) -> Found:
        """Read one record, until the one is found that aiokafka cannot decode; a stand-in takes its place.

        aiokafka refuses the rest of its batch as well, one by one.
        """
        for partition in random.sample(reading, len(reading)):
            try:
                found: Found = await self._consumer.getmany(partition, timeout_ms=1, max_records=1)
            except ValueError:
                offset = await self._consumer.position(partition)
                self._consumer.seek(partition, offset + 1)
                self._careful = False
                return {partition: [Unreadable(partition.topic, partition.partition, offset, int(time.time() * 1000))]}
            if found:
                return found
        return {}
