"""Commits how far the work is: offsets, and marks beside them. One commit at a time.

What is to be committed is decided in `assignment`; this sends it, finds out whether the broker stores it, and holds
deliveries whose start has to be committed first.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetMetadataTooLargeError

from backburner.logs import get_logger
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.kafka import marks
from backburner_worker.sources.kafka.assignment import Assignment, Committed, Partition
from backburner_worker.sources.kafka.consumer import beginnings, commit, committed

log = get_logger(__name__)

_COMMIT_INTERVAL_SECONDS = 1.0
"""Seconds between two commits: what a killed worker finished in that time is run again."""
_GATHER_SECONDS = 0.01
"""Seconds in which starts that have to be committed first gather for one commit."""
_RETRY_SECONDS = 0.5


class Commits:
    """The commits of one consumer."""

    def __init__(
        self, consumer: AIOKafkaConsumer, assignment: Assignment, *, seconds: float, answered: Callable[[], None]
    ) -> None:
        """`seconds` bounds one commit; `answered` is called whenever the broker accepted one."""
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
        """Commit once what is new; with `clean`, also that the partitions are let go of. Returns whether that was done.

        What fails is committed next time, or by the partition's next owner. One at a time, so that none is under way
        when partitions go: a commit that is retried is judged by the generation of that moment, and could rewind
        what another member has committed. Raises `QueueError` for what no later commit can fix.
        """
        async with self._one_at_a_time:
            try:
                commits = self._assignment.to_commit(clean=clean)
                if not commits:
                    return True
                wanted = {partition: (commit.offset, commit.text) for partition, commit in commits.items()}
                try:
                    taken = await commit(self._consumer, wanted, seconds=self._seconds)
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
        """What is committed of these partitions, or else their beginning. Raises what aiokafka raises."""
        found = await committed(self._consumer, coming, seconds=seconds)
        fresh = [partition for partition in coming if partition not in found]
        starts = await beginnings(self._consumer, fresh, seconds=seconds)
        if self._assignment.kept is None and any(text for _, text in found.values()):
            self._assignment.kept = True
        return {
            **{partition: Committed(offset, marks.decode(text, offset)) for partition, (offset, text) in found.items()},
            **{partition: Committed(offset) for partition, offset in starts.items()},
        }

    async def open(self, coming: Collection[TopicPartition]) -> bool:
        """Commit that work on these partitions begins. Returns whether the broker has that.

        The first time, check whether it stored the metadata. Nothing may be handed out before this is done.
        """
        if not await self.commit():
            return False
        if self._assignment.kept is None and coming:
            found = await committed(self._consumer, coming, seconds=self._seconds)
            if any(text for _, text in found.values()):
                self._assignment.kept = True
            else:
                self._without_marks("the broker drops what is committed beside an offset")
        return True

    async def start_committed(self, delivery: Delivery) -> None:
        """Return when the start of the delivery is committed, or need not be any more."""
        while not self._assignment.is_start_committed(delivery):
            self._hurry.set()
            await self._over.wait()

    def release(self) -> None:
        """Wake those who wait for a commit, to check again."""
        self._over.set()
        self._over = asyncio.Event()

    def _without_marks(self, why: str) -> None:
        self._assignment.kept = False
        log.warning(
            "broker stores no offset metadata; after a rebalance or a crash, finished requests behind an unfinished "
            "one of their partition run again, and requests that kill whole workers are not recognised",
            why=why,
        )
