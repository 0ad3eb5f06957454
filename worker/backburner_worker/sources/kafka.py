"""The source on Kafka: one consumer over the topics of all lanes.

It moves records and offsets, and decides nothing: whose a delivery is, what may be committed and what to read next is
pure state, in `assignment`, `ledger` and `intake`.

Rebalances are eager: each takes all partitions away and gives most of them back. The client library logs and forgets
the exceptions of its callbacks, so these do little, and the poll task does the rest.
"""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from backburner.logs import get_logger
from backburner_schemas import codec
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane
from backburner_worker.sources import kafka_client
from backburner_worker.sources.base import Delivery, RevokedCallback
from backburner_worker.sources.intake import Intake

log = get_logger(__name__)

_POLL_RECORDS = 500
_POLL_MS = 50
_START_SECONDS = 30.0
_CLOSE_SECONDS = 10.0
_COMMIT_EVERY = 1.0
_COMMIT_SECONDS = 5.0
_PULL_SECONDS = 1.0
_MAX_BACKOFF = 2.0
_PATIENCE = 30
"""Errors in a row that the library does not call temporary, after which the process had better start anew."""
_NOWHERE = TopicPartition("", -1)
"""Names no partition: polling it takes no records, but raises what the client library has to tell."""


class KafkaSource(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """A `Source` on Kafka; see the port for what it promises."""

    def __init__(
        self,
        *,
        connection: Mapping[str, Any],
        topics: Mapping[str, Lane],
        group: str,
        rules: codec.Rules,
        session_seconds: float,
        rebalance_seconds: float,
        instance_id: str | None,
        client_id: str,
        leave_group: bool = True,
    ) -> None:
        self._connection = dict(connection)
        self._topics = tuple(topics)
        self._group = group
        self._session_seconds = session_seconds
        self._rebalance_seconds = rebalance_seconds
        self._instance_id = instance_id
        self._client_id = client_id
        self._leave_group = leave_group
        self._intake = Intake(topics, rules)
        self._assignment = self._intake.assignment
        self._coming: frozenset[TopicPartition] | None = None
        self._reading: set[TopicPartition] = set()
        self._consumer: AIOKafkaConsumer | None = None
        self._revoked: RevokedCallback | None = None
        self._tasks: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._news = asyncio.Event()
        self._committing = asyncio.Lock()
        self._joining = kafka_client.JoinWatch(group, session_seconds)

    # --- the port ---

    async def start(self, revoked: RevokedCallback) -> None:
        """Connect, check that the topics exist, and join the group. Raises `QueueError`."""
        self._revoked = revoked
        consumer = self._consumer = kafka_client.make_consumer(
            self._connection,
            client_id=self._client_id,
            group=self._group,
            instance_id=self._instance_id,
            session_seconds=self._session_seconds,
            rebalance_seconds=self._rebalance_seconds,
        )
        try:
            await kafka_client.connect(consumer, self._topics, seconds=_START_SECONDS)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise kafka_client.start_failed(self._connection, error) from error
        except BaseException:
            await self.close()
            raise
        consumer.subscribe(topics=self._topics, listener=self)
        self._tasks = asyncio.create_task(self._run(consumer), name="kafka-source")
        self._tasks.add_done_callback(lambda _: self._news.set())

    async def pull(self, budget: Mapping[Lane, int]) -> list[Delivery]:
        """Up to that many deliveries of each lane; see the port."""
        self._intake.want(budget)
        until = time.monotonic() + _PULL_SECONDS
        while True:
            self._check()
            self._news.clear()
            deliveries = self._intake.hand_out(time.time())
            left = until - time.monotonic()
            if deliveries or left <= 0:
                return deliveries
            due = self._intake.due_at()
            if due is not None:
                left = min(left, max(due - time.time(), 0.001))
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()

    async def begin(self, delivery: Delivery) -> None:
        """The delivery goes to the engine."""

    async def settle(self, delivery: Delivery) -> None:
        """End the delivery; it is committed within about a second, or when the partitions go away."""
        self._assignment.settle(delivery)

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing: a partition goes to another worker as a whole, when this one leaves."""

    def lag(self) -> Mapping[Lane, int]:
        """Messages not settled yet, by lane, of the partitions that are assigned here."""
        lag = dict.fromkeys(Lane, 0)
        for partition in self._assignment.partitions:
            reached = self._assignment.low_water(partition)
            end = self._consumer.highwater(TopicPartition(*partition)) if self._consumer is not None else None
            if reached is not None and end is not None:
                lag[self._intake.lane(partition[0])] += max(end - reached, 0)
        return lag

    def uncommitted(self) -> int:
        """Deliveries given out and not covered by a commit."""
        return self._assignment.running

    def trouble(self) -> str | None:
        """Why nothing comes."""
        return None

    async def stop(self) -> None:
        """Give no more deliveries, but stay a member."""
        self._intake.stop()

    async def close(self) -> None:
        """Commit what is settled and leave the group. Bounded; safe to repeat."""
        self._intake.stop()
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.cancel()
            # What ended it was raised from pull; here it only has to be gone.
            await asyncio.gather(tasks, return_exceptions=True)
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            try:
                await self._commit(consumer)
            except QueueError as error:
                log.warning("what was settled last is not committed and will run again", error=kafka_client.told(error))
            finally:
                await kafka_client.leave(consumer, seconds=_CLOSE_SECONDS, goodbye=self._leave_group)
        self._assignment.lose_all()
        self._news.set()

    # --- rebalances, called by aiokafka ---

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Have what is done stored and settled, commit it, let go. A failure ends the source at the next pull."""
        consumer = self._consumer
        self._coming = None
        self._intake.clear()
        try:
            if revoked and self._revoked is not None and consumer is not None:
                try:
                    async with asyncio.timeout(self._rebalance_seconds / 2):
                        await self._revoked()
                except TimeoutError:
                    log.warning("not everything done could be stored before partitions went away", group=self._group)
                await self._commit(consumer)
        except Exception as error:  # noqa: BLE001 - aiokafka would log and forget it
            self._fail(error)
        finally:
            self._intake.revoke()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Only mark what came: no heartbeat is sent while this runs."""
        if self._consumer is not None:
            # Before anything can be read: a new assignment forgets its pauses.
            self._consumer.pause(*assigned)
            self._reading = set()
            self._assignment.keep_only(assigned)
            self._coming = frozenset(assigned)

    # --- tasks ---

    async def _run(self, consumer: AIOKafkaConsumer) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll(consumer))
            group.create_task(self._commit_often(consumer))

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        """Read for ever, whatever the engine does. An outage is ridden out; what cannot get better is raised."""
        failures, careful = 0, False
        while True:
            try:
                if self._coming is not None:
                    await self._arrive(consumer, self._coming)
                reading = self._steer(consumer) or [_NOWHERE]
                if careful:
                    found, careful = await kafka_client.read_carefully(consumer, reading)
                else:
                    found = await consumer.getmany(*reading, timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            except (KafkaError, OSError, TimeoutError) as error:
                failures += 1
                if isinstance(error, kafka_client.FATAL) or (
                    failures >= _PATIENCE and not getattr(error, "retriable", True)
                ):
                    raise kafka_client.broken(error) from error
                log.warning("the broker does not give; trying again", error=kafka_client.told(error), failures=failures)
                self._read_again(consumer)
                await asyncio.sleep(min(_MAX_BACKOFF, 0.1 * 2 ** min(failures, 8)))
            except ValueError as error:
                log.warning("a record cannot be decoded; looking for it", error=kafka_client.told(error))
                self._read_again(consumer)
                careful = True
            else:
                if reading[0] is not _NOWHERE:
                    failures = 0
                for partition, records in found.items():
                    self._intake.keep(partition, records)
                    self._news.set()

    async def _arrive(self, consumer: AIOKafkaConsumer, coming: frozenset[TopicPartition]) -> None:
        """Begin to work on new partitions: from what is committed, with what runs here from before."""
        async with asyncio.timeout(self._session_seconds):
            # The public way is one request a partition; this is one for all.
            found = await consumer._coordinator.fetch_committed_offsets(list(coming))  # noqa: SLF001
        if self._coming is not coming:
            return  # The next rebalance was faster.
        self._coming = None
        self._joining.joined()
        committed = {partition: found[partition].offset if partition in found else None for partition in coming}
        for partition, start in self._assignment.arrive(committed).items():
            if start is not None:
                consumer.seek(TopicPartition(*partition), start)
        log.info("partitions assigned", group=self._group, partitions=len(coming), running=self._assignment.running)

    def _steer(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        """Pause and resume, so that the broker is asked for what is wanted alone; what to poll.

        A pause keeps what was fetched already, as long as only the open partitions are polled.
        """
        if self._coming is not None:
            return []
        wanted = [TopicPartition(*partition) for partition in self._intake.wanted()]
        opened = [partition for partition in wanted if partition not in self._reading]
        closed = self._reading.difference(wanted)
        consumer.resume(*opened)
        consumer.pause(*closed)
        self._reading = set(wanted)
        return wanted

    def _read_again(self, consumer: AIOKafkaConsumer) -> None:
        """Go back to what was kept: a poll that raises drops what it had read of other partitions, and moves on."""
        if self._coming is None:
            for partition in self._reading:
                consumer.seek(partition, self._assignment.position(partition))

    # --- commits ---

    async def _commit_often(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await asyncio.sleep(_COMMIT_EVERY)
            self._joining.look()
            await self._commit(consumer)

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        """Commit the low-water marks, once. What fails is committed next time, or by whoever gets the partition.

        One at a time, so that none is under way when partitions go: a commit that is tried again is judged by the
        generation of that moment, and could rewind what another member has committed.
        """
        async with self._committing:
            offsets = self._assignment.to_commit()
            seconds = min(_COMMIT_SECONDS, self._rebalance_seconds / 6)
            if offsets and await kafka_client.commit(consumer, offsets, seconds=seconds):
                self._assignment.note_committed(offsets)

    # --- small things ---

    def _check(self) -> None:
        if self._failure is None and self._tasks is not None and self._tasks.done():
            error = None if self._tasks.cancelled() else self._tasks.exception()
            self._fail(error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error)
        if self._failure is not None:
            raise self._failure
        if self._consumer is None:
            raise QueueError("the source is closed; start a new one")

    def _fail(self, error: BaseException | None) -> None:
        self._failure = self._failure or error or QueueError("the source's task ended; restart the worker")
        self._news.set()
