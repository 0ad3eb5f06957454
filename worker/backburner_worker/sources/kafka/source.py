"""The source on Kafka: one consumer over the topics of all lanes.

It moves records and offsets, and decides nothing: whose a delivery is, what may be committed and what to read next is
pure state, in `assignment`, `ledger` and `intake`.

Rebalances are eager: each takes all partitions away and gives most of them back. The client library logs and forgets
the exceptions of its callbacks, so these do little, and the poll task does the rest.
"""

import asyncio
import secrets
import time
from collections.abc import Collection, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, OffsetOutOfRangeError

from backburner.logs import get_logger
from backburner.publishers.kafka.connection import KafkaConnection
from backburner_schemas import codec
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, LogLosses, OffsetMetadata, RevokedCallback
from backburner_worker.sources.kafka.assignment import Partition
from backburner_worker.sources.kafka.availability import KafkaAvailability
from backburner_worker.sources.kafka.batches.codecs import MAX_UNPACKED_BYTES
from backburner_worker.sources.kafka.batches.read_ahead import ReadAhead
from backburner_worker.sources.kafka.commits import Commits
from backburner_worker.sources.kafka.consumer import (
    DENIALS,
    FATAL,
    broken,
    connect,
    consumed_to,
    give_up_name,
    is_fenced,
    is_forgotten,
    leave,
    make_consumer,
    message_of,
    rejoin,
    start_failed,
)
from backburner_worker.sources.kafka.gaps import GapWatch
from backburner_worker.sources.kafka.intake import Intake
from backburner_worker.sources.kafka.log_watch import LogWatch
from backburner_worker.sources.kafka.membership import Membership, NameWatch
from backburner_worker.sources.kafka.reader import Found, Reader
from backburner_worker.sources.supervisor import Supervisor

log = get_logger(__name__)

_START_SECONDS = 30.0
_CLOSE_SECONDS = 10.0
_COMMIT_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_PULL_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 2.0
_MAX_ERRORS = 30
"""Errors in a row that the library does not call temporary, after which the process had better start anew."""


class KafkaSource(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """A `Source` on Kafka; see the port for what it promises."""

    def __init__(
        self,
        *,
        connection: KafkaConnection,
        topics: Mapping[str, Lane],
        group: str,
        rules: codec.Rules,
        membership: Membership,
        client_id: str,
    ) -> None:
        self._connection = connection
        self._topics = dict(topics)
        self._group = group
        self._membership = membership
        self._client_id = client_id
        self._intake = Intake(topics, rules, incarnation=secrets.randbits(32))
        self._assignment = self._intake.assignment
        # A batch holds one request of the largest size at least, however well that compresses.
        self._read_ahead = ReadAhead(max(MAX_UNPACKED_BYTES, 3 * rules.max_body_bytes))
        # Partitions that came, and where to begin on them is not known yet.
        self._coming: frozenset[TopicPartition] | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._revoked: RevokedCallback | None = None
        self._supervisor = Supervisor()
        self._reader: Reader | None = None
        self._commits: Commits | None = None
        self._logs: LogWatch | None = None
        self._gaps = GapWatch(self._assignment, self._sought)
        self._name = NameWatch(membership)
        self._ends_cleanly = True
        self._availability = KafkaAvailability(topics, group, membership.session_seconds, connection.refusal)

    # --- the port ---

    async def start(self, revoked: RevokedCallback) -> None:
        """Connect, check that the topics exist, and join the group. Raises `QueueError`."""
        await self._connection.check()
        self._revoked = revoked
        consumer = self._consumer = make_consumer(
            self._connection,
            client_id=self._client_id,
            group=self._group,
            membership=self._membership,
            read_ahead=self._read_ahead,
        )
        self._reader = Reader(consumer, self._read_ahead, self._assignment.reads_on_from)
        seconds = min(_COMMIT_SECONDS, self._membership.rebalance_seconds / 6)
        self._commits = Commits(
            consumer,
            self._assignment,
            seconds=seconds,
            answered=self._availability.answered,
            denied=self._availability.denied,
        )
        self._logs = LogWatch(
            consumer,
            self._assignment,
            seconds=seconds,
            sought=self._sought,
            moved=self._moved,
            replaced=self._gaps.forget,
        )
        try:
            await connect(consumer, self._topics, self._group, seconds=_START_SECONDS)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise await start_failed(self._connection, error) from error
        except BaseException:
            await self.close()
            raise
        consumer.subscribe(topics=tuple(self._topics), listener=self)
        self._availability.started()
        self._supervisor.start(self._run(consumer, self._reader, self._commits, self._logs), name="kafka-source")

    async def pull(self, budget: Mapping[Lane, int]) -> list[Delivery]:
        """Up to that many deliveries of each lane; see the port."""
        self._intake.want(budget)
        until = time.monotonic() + _PULL_SECONDS
        while True:
            self._supervisor.check()
            self._supervisor.news.clear()
            deliveries = self._intake.hand_out(time.monotonic())
            if deliveries or not await self._supervisor.news_until(until, self._intake.due_at()):
                return deliveries

    async def begin(self, delivery: Delivery) -> None:
        """The delivery goes to the engine; after an unclean end, or for a suspect, once that is committed."""
        if self._assignment.begin(delivery) and self._commits is not None:
            await self._commits.start_committed(delivery)

    async def settle(self, delivery: Delivery) -> None:
        """End the delivery; it is committed within about a second, or when the partitions go away."""
        self._assignment.settle(delivery)

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing: a partition goes to another worker as a whole, when this one leaves."""

    def lag(self) -> Mapping[Lane, int]:
        """Messages not settled yet, by lane, of the partitions that are assigned here."""
        lag = dict.fromkeys(Lane, 0)
        for partition in self._assignment.partitions:
            end = self._consumer.highwater(TopicPartition(*partition)) if self._consumer is not None else None
            if end is not None:
                lag[self._intake.lane(partition[0])] += max(end - self._assignment.low_water(partition), 0)
        return lag

    def uncommitted(self) -> int:
        """Deliveries handed out that the last commit does not record as done."""
        return self._assignment.uncommitted

    def unavailable_reason(self) -> str | None:
        """Why nothing is given or taken: the broker is silent, or the group gives no share."""
        return self._availability.unavailable_reason() if self._supervisor.running else None

    def offset_metadata(self) -> OffsetMetadata:
        """The state of the marks beside the offsets."""
        return self._assignment.offset_metadata()

    def log_losses(self) -> LogLosses:
        """What the partitions' logs lost of their own."""
        return self._logs.losses() if self._logs is not None else LogLosses({}, {})

    async def stop(self) -> None:
        """Give no more deliveries, but stay a member."""
        self._intake.stop()

    async def close(self, *, clean: bool = True) -> None:
        """Commit what is settled and leave the group. Bounded; safe to repeat."""
        self._intake.stop()
        # A revocation that is under way lets go of its partitions in the same way.
        self._ends_cleanly = clean
        await self._supervisor.end()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            try:
                if self._commits is not None:
                    await self._commits.commit(clean=clean)
            except QueueError as error:
                log.warning("what was settled last is not committed and will run again", error=message_of(error))
            finally:
                await leave(consumer, seconds=_CLOSE_SECONDS, leave_group=self._membership.leave_group)
        self._assignment.lose_all()
        if self._commits is not None:
            self._commits.release()
        self._supervisor.news.set()

    # --- rebalances, called by aiokafka ---

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Have what is done stored and settled, commit it, let go. A failure ends the source at the next pull."""
        self._coming = None
        if self._consumer is not None and is_forgotten(self._consumer) and self._name.lost(time.monotonic()):
            give_up_name(self._consumer)
            self._supervisor.fail(self._name_taken())
        if self._reader is not None:
            self._reader.revoked()
        self._availability.parted()
        self._intake.clear()
        try:
            if revoked and self._revoked is not None and self._commits is not None:
                try:
                    async with asyncio.timeout(self._membership.rebalance_seconds / 2):
                        await self._revoked()
                except TimeoutError:
                    log.warning("not everything done could be stored before partitions went away", group=self._group)
                await self._commits.commit(clean=self._ends_cleanly)
        except Exception as error:  # noqa: BLE001 - aiokafka would log and forget it
            self._supervisor.fail(error)
        finally:
            if self._reader is not None:
                # Once more: while that was stored and committed, a poll that came back may have begun another.
                self._reader.revoked()
            self._intake.revoke()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Only mark what came: no heartbeat is sent while this runs."""
        if self._reader is not None:
            self._reader.assigned([*assigned])
            self._name.joined(time.monotonic())
            self._assignment.keep_only(assigned)
            self._coming = frozenset(assigned)

    # --- tasks ---

    async def _run(self, consumer: AIOKafkaConsumer, reader: Reader, commits: Commits, logs: LogWatch) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll(consumer, reader, commits, logs))
            group.create_task(commits.run())
            group.create_task(logs.run())
            group.create_task(self._availability.run(consumer))

    async def _poll(self, consumer: AIOKafkaConsumer, reader: Reader, commits: Commits, logs: LogWatch) -> None:
        """Read for ever, whatever the engine does. An outage is ridden out; what cannot get better is raised."""
        failures = 0
        while True:
            try:
                if self._coming is not None:
                    await self._arrive(commits, logs, self._coming)
                self._gaps.step(time.monotonic())
                wanted = self._intake.wanted()
                found = await self._read(reader, logs, wanted)
            except (KafkaError, OSError, TimeoutError) as error:
                failures += 1
                if isinstance(error, DENIALS):
                    self._availability.denied(error)
                    if isinstance(error, GroupAuthorizationFailedError):
                        rejoin(consumer)
                elif is_fenced(error):
                    give_up_name(consumer)
                    raise self._name_taken() from error
                elif isinstance(error, FATAL) or (failures >= _MAX_ERRORS and not getattr(error, "retriable", True)):
                    raise broken(error) from error
                log.warning("fetch failed; retrying", error=message_of(error), failures=failures)
                reader.read_again()
                await asyncio.sleep(min(_MAX_BACKOFF_SECONDS, 0.1 * 2 ** min(failures, 8)))
                continue
            if wanted:
                failures = 0
            self._keep(wanted, found, consumed_to(consumer, wanted))

    def _name_taken(self) -> QueueError:
        return QueueError(
            f"another process is a member of the group {self._group} under this worker's name, "
            f"{self._membership.instance_id}, and the two take its partitions from each other; give each worker a "
            "BACKBURNER_WORKER_ID of its own"
        )

    async def _read(self, reader: Reader, logs: LogWatch, wanted: Sequence[Partition]) -> Found:
        try:
            return await reader.read(wanted)
        except OffsetOutOfRangeError as error:
            reader.read_again()
            (offsets,) = error.args
            await logs.out_of_range(offsets)
            if any(logs.is_at(partition, offset) for partition, offset in offsets.items()):
                await asyncio.sleep(_RETRY_SECONDS)  # No broker could tell why: a leader may be about to change.
            return {}

    def _keep(self, wanted: Sequence[Partition], found: Found, consumed: Mapping[Partition, int]) -> None:
        for partition, records in found.items():
            self._intake.keep(partition, records, now=time.monotonic(), unix=time.time())
        for partition, offset in consumed.items():
            self._intake.reach(partition, offset)
        for partition in wanted:
            # Its log was found to be another one while it was read: what came is not kept before that is committed,
            # and the consumer has moved past it.
            if partition in self._assignment.partitions and not self._assignment.is_open(partition):
                self._moved(partition)
        if found:
            self._availability.answered()
            self._supervisor.news.set()

    def _moved(self, partition: Partition) -> None:
        """A partition's log is not what it was: what was read of it and not handed out is void."""
        self._intake.drop(partition)
        self._sought(partition)

    def _sought(self, partition: Partition) -> None:
        """A partition is to be read on from somewhere else than it was."""
        if self._consumer is not None:
            self._consumer.seek(TopicPartition(*partition), self._assignment.reads_on_from(partition))

    async def _arrive(self, commits: Commits, logs: LogWatch, coming: frozenset[TopicPartition]) -> None:
        """Begin to work on new partitions: from what is committed, with what runs here from before.

        Those that no leader answers for keep the others from nothing, and are asked for again. Nothing is read before
        the broker has it that work begins: if this worker dies, its successor must know.
        """
        found = await commits.found(coming, seconds=self._membership.session_seconds)
        arriving = await logs.arriving(coming, found)
        if self._coming is not coming:
            return  # The next rebalance was faster.
        self._availability.joined()
        for partition in self._assignment.arrive(arriving, now=time.monotonic()):
            self._moved(partition)
        left = coming - arriving.keys()
        self._coming = left or None
        await commits.commit()
        if left:
            log.info("partitions without a leader that answers; asking again", partitions=sorted(left))
            await asyncio.sleep(_RETRY_SECONDS)
            return
        came = len(self._assignment.partitions)
        log.info("partitions assigned", group=self._group, partitions=came, running=self._assignment.running)
