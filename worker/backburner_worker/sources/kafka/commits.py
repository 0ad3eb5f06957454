"""Commits how far the work is: offsets, and marks beside them. One commit at a time.

What is to be committed is decided in `assignment`; this sends it, finds out whether the broker stores it, and holds
deliveries whose start has to be committed first.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetMetadataTooLargeError

from backburner.logs import get_logger
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.kafka import marks
from backburner_worker.sources.kafka.assignment import Assignment, Partition
from backburner_worker.sources.kafka.consumer import DENIALS, commit, committed, message_of
from backburner_worker.sources.kafka.marks import Marks
from backburner_worker.sources.kafka.partition import Commit

log = get_logger(__name__)

_COMMIT_INTERVAL_SECONDS = 1.0
"""Seconds between two commits: what a killed worker finished in that time is run again."""
_GATHER_SECONDS = 0.01
"""Seconds in which starts that have to be committed first gather for one commit."""
_RETRY_SECONDS = 0.5
_REFUSED_SECONDS = 30.0
"""After so long of refusals, starts of a partition go on without a commit, as where no marks are kept."""


class Commits:
    """The commits of one consumer."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        assignment: Assignment,
        *,
        seconds: float,
        answered: Callable[[], None],
        denied: Callable[[KafkaError], None],
    ) -> None:
        """`seconds` bounds one commit; `answered` is called when one is accepted, `denied` when a right is missing."""
        self._consumer = consumer
        self._assignment = assignment
        self._seconds = seconds
        self._answered = answered
        self._denied = denied
        self._one_at_a_time = asyncio.Lock()
        self._hurry = asyncio.Event()
        self._over = asyncio.Event()
        self._refused: dict[Partition, tuple[str, float]] = {}

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

        Each partition by itself: what is refused of one keeps no other waiting. It is committed next time, or by the
        partition's next owner. One at a time, so that none is under way when partitions go: a commit that is sent
        again is judged by the generation of that moment, and could rewind what another member has committed.
        """
        async with self._one_at_a_time:
            try:
                commits = self._assignment.to_commit(clean=clean)
                done = not commits or await self._send(commits)
                if self._assignment.kept is None and (told := self._assignment.told()):
                    done = await self._find_out_whether_kept(told) and done
                return done
            finally:
                self.release()

    async def _send(self, commits: Mapping[Partition, Commit]) -> bool:
        wanted = {partition: (commit.offset, commit.text) for partition, commit in commits.items()}
        try:
            answer = await commit(self._consumer, wanted, seconds=self._seconds)
        except OffsetMetadataTooLargeError:
            self._without_marks("the broker allows less than 4,096 bytes; raise offset.metadata.max.bytes")
            return False
        taken = {partition: commits[partition] for partition, refusal in answer.items() if refusal is None}
        self._assignment.note_committed(taken)
        self._note_refusals(answer)
        if taken:
            self._answered()
        return len(taken) == len(commits)

    async def found(self, coming: Collection[Partition], *, seconds: float) -> dict[Partition, tuple[int, Marks]]:
        """What is committed of these partitions, where anything is. Raises what aiokafka raises."""
        for partition in coming:
            self._refused.pop(partition, None)
        found = await committed(self._consumer, [*map(TopicPartition._make, coming)], seconds=seconds)
        if self._assignment.kept is None and any(text for _, text in found.values()):
            self._assignment.kept = True
        return {partition: (offset, marks.decode(text, offset)) for partition, (offset, text) in found.items()}

    async def _find_out_whether_kept(self, told: Collection[Partition]) -> bool:
        """Look whether the broker stored what was committed of these partitions. Returns whether it could tell."""
        try:
            found = await committed(self._consumer, [*map(TopicPartition._make, told)], seconds=self._seconds)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("asking whether the broker stores offset metadata failed; retrying", error=message_of(error))
            return False
        if any(text for _, text in found.values()):
            self._assignment.kept = True
        else:
            self._without_marks("the broker drops what is committed beside an offset")
            # So it is not Kafka.
            self._assignment.in_order = False
        return True

    def _note_refusals(self, answer: Mapping[Partition, KafkaError | None]) -> None:
        for (topic, number), error in answer.items():
            if isinstance(error, DENIALS):
                self._denied(error)
            if error is None:
                self._refused.pop((topic, number), None)
            elif (topic, number) not in self._refused:
                self._refused[topic, number] = (type(error).__name__, time.monotonic())
                log.warning(
                    "commit of one partition refused; retrying, and the others go on",
                    topic=topic,
                    partition=number,
                    error=type(error).__name__,
                )

    async def start_committed(self, delivery: Delivery) -> None:
        """Return when the start of the delivery is committed, or need not be any more.

        That is when its lease is lost, when this closes, and when the broker keeps refusing its partition's commits.
        """
        while not self._assignment.is_start_committed(delivery) and not self._is_given_up(delivery):
            self._hurry.set()
            await self._over.wait()

    def _is_given_up(self, delivery: Delivery) -> bool:
        now = time.monotonic()
        return any(
            now - since > _REFUSED_SECONDS and self._assignment.holds(partition, delivery)
            for partition, (_, since) in self._refused.items()
        )

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
