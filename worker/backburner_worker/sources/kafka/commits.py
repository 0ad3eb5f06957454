"""Tells the broker how far the work is: offsets, and marks beside them. One commit at a time.

What is to be committed is decided in `assignment`; this carries it, finds out whether the broker keeps it, and lets
those wait whose start has to be told before it is made.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetMetadataTooLargeError

from backburner.logs import get_logger
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.kafka import consumer as kafka_client
from backburner_worker.sources.kafka import marks
from backburner_worker.sources.kafka.assignment import Assignment, Committed, Partition

log = get_logger(__name__)

_COMMIT_INTERVAL_SECONDS = 1.0
"""Seconds between two commits: what a killed worker finished in that time is run again."""
_GATHER_SECONDS = 0.01
"""Seconds in which starts that have to be told gather for one commit."""
_RETRY_SECONDS = 0.5


class Commits:
    """The commits of one consumer."""

    def __init__(
        self, consumer: AIOKafkaConsumer, assignment: Assignment, *, seconds: float, answered: Callable[[], None]
    ) -> None:
        """`seconds` bounds one commit; `answered` is called whenever the broker took one."""
        self._consumer = consumer
        self._assignment = assignment
        self._seconds = seconds
        self._answered = answered
        self._one_at_a_time = asyncio.Lock()
        self._hurry = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Commit each second, and soon when somebody waits for it."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_COMMIT_INTERVAL_SECONDS):
                    await self._hurry.wait()
            self._hurry.clear()
            for partition in self._assignment.unbounded():
                end = self._consumer.highwater(TopicPartition(*partition))
                if end is not None:
                    self._assignment.bound(partition, end)
            await asyncio.sleep(_GATHER_SECONDS if await self.commit() else _RETRY_SECONDS)

    async def commit(self, *, clean: bool = False) -> bool:
        """Commit what is news, once; whether the broker has it all. `clean`: and that the partitions are let go of.

        What fails is committed next time, or by whoever gets the partition. One at a time, so that none is under way
        when partitions go: a commit that is tried again is judged by the generation of that moment, and could rewind
        what another member has committed. Raises `QueueError` for what no later commit can do better.
        """
        async with self._one_at_a_time:
            try:
                commits = self._assignment.to_commit(clean=clean)
                if not commits:
                    return True
                wanted = {partition: (commit.offset, commit.text) for partition, commit in commits.items()}
                try:
                    taken = await kafka_client.commit(self._consumer, wanted, seconds=self._seconds)
                except OffsetMetadataTooLargeError:
                    self._without_marks("the broker allows less than 4,096 bytes; raise offset.metadata.max.bytes")
                    return False
                if taken:
                    self._assignment.note_committed(commits)
                    self._answered()
                return taken
            finally:
                self.release()

    async def found(self, coming: Collection[TopicPartition], *, seconds: float) -> dict[Partition, Committed]:
        """What is committed of these partitions; where nothing is, their beginning. Raises what aiokafka raises."""
        found = await kafka_client.committed(self._consumer, coming, seconds=seconds)
        fresh = [partition for partition in coming if partition not in found]
        beginnings = await kafka_client.beginnings(self._consumer, fresh, seconds=seconds)
        if self._assignment.kept is None and any(text for _, text in found.values()):
            self._assignment.kept = True
        return {
            **{partition: Committed(offset, marks.decode(text, offset)) for partition, (offset, text) in found.items()},
            **{partition: Committed(offset) for partition, offset in beginnings.items()},
        }

    async def open(self, coming: Collection[TopicPartition]) -> bool:
        """Tell the broker that work on these partitions begins; whether it has that.

        The first time, look whether it kept it. Nothing may be handed out before this is done.
        """
        if not await self.commit():
            return False
        if self._assignment.kept is None and coming:
            found = await kafka_client.committed(self._consumer, coming, seconds=self._seconds)
            if any(text for _, text in found.values()):
                self._assignment.kept = True
            else:
                self._without_marks("the broker drops what is committed beside an offset")
        return True

    async def start_committed(self, delivery: Delivery) -> None:
        """Return when the start of the delivery is committed, or need not be any more."""
        while not self._assignment.is_told(delivery):
            self._hurry.set()
            await self._over.wait()

    def release(self) -> None:
        """Let those who wait for a commit look again."""
        self._over.set()
        self._over = asyncio.Event()

    def _without_marks(self, why: str) -> None:
        self._assignment.kept = False
        log.warning(
            "no marks are kept: after a rebalance or a crash, work that was finished above the first unfinished "
            "request of a partition runs again, and requests that kill whole workers are not found out",
            why=why,
        )
