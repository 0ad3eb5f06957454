"""The consumer of a Kafka source: its configuration, its start, its commits, and what its errors mean."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    BrokerResponseError,
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    IllegalGenerationError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
    KafkaError,
    NotCoordinatorForGroupError,
    OffsetMetadataTooLargeError,
    RebalanceInProgressError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    UnknownMemberIdError,
    for_code,
    kafka_errors,
)
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import JoinGroupRequest

from backburner.logs import get_logger
from backburner.publishers.kafka.connection import KafkaConnection
from backburner.publishers.kafka.metadata import missing_topics
from backburner.publishers.kafka.rights import Right, missing_rights
from backburner_schemas.errors import QueueDenied, QueueError
from backburner_schemas.names import Lane
from backburner_worker.sources.kafka.assignor import LaneStickyAssignor
from backburner_worker.sources.kafka.batches.client import decode_within_bounds
from backburner_worker.sources.kafka.batches.read_ahead import ReadAhead
from backburner_worker.sources.kafka.membership import Membership

log = get_logger(__name__)

_FETCH_WAIT_MS = 50
"""How long the broker waits for news: this is the latency of an idle lane, and of a lane that is opened again."""
_PARTITION_FETCH_BYTES = 256 * 1024
_FETCH_BYTES = 16 * 1024 * 1024
"""Bounds of what one answer of a broker holds; a batch larger than these is delivered all the same, alone.
What is kept of all answers, `ReadAhead` bounds."""
_MAX_HEARTBEAT_SECONDS = 3.0
_METADATA_SECONDS = 30.0
"""How long it may take until partitions that were added are noticed, and shared out."""
_CHECK_SECONDS = 10.0
_RIGHTS = frozenset({Right.READ})
_RETRY_RIGHTS = frozenset({Right.READ, Right.WRITE})
"""A worker puts requests back onto the lane `retry`, and finds out at the first one that it may not: hours later."""

DENIALS = (GroupAuthorizationFailedError, TopicAuthorizationFailedError)
"""A right is missing. Like a refused password or token that is a reason to end only at the start: while a worker runs
somebody edits them, and it is an outage until they are right again."""
FATAL = (
    ConsumerStoppedError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    InvalidSessionTimeoutError,
)
"""Errors that do not go away by waiting."""

_GENERATION_OVER = (IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)
"""What a coordinator answers to a member of an older generation: the next owner commits."""
_COORDINATOR_MOVED = (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError, RequestTimedOutError)
_NO_GENERATION = OffsetCommitRequest.DEFAULT_GENERATION_ID


def make_consumer(
    connection: KafkaConnection, *, client_id: str, group: str, membership: Membership, read_ahead: ReadAhead
) -> AIOKafkaConsumer:
    """A consumer that is not started and subscribed to nothing yet; what it decodes at a time, `read_ahead` bounds."""
    decode_within_bounds()
    # An assignor keeps its state on the class: a class of its own for each member of this process.
    assignor = type("Assignor", (LaneStickyAssignor,), {})
    session_seconds, rebalance_seconds = membership.session_seconds, membership.rebalance_seconds
    return connection.following(
        AIOKafkaConsumer(
            **connection,
            client_id=client_id,
            # It deserializes nothing: this is how what belongs to one consumer reaches the place where it decodes.
            key_deserializer=read_ahead,
            group_id=group,
            group_instance_id=membership.instance_id,
            partition_assignment_strategy=(assignor,),
            enable_auto_commit=False,
            # A position that the log does not have is looked into: to go back by itself would hide what became of it.
            auto_offset_reset="none",
            # What a producer took back is never run.
            isolation_level="read_committed",
            metadata_max_age_ms=int(_METADATA_SECONDS * 1000),
            session_timeout_ms=int(session_seconds * 1000),
            heartbeat_interval_ms=int(min(session_seconds / 6, _MAX_HEARTBEAT_SECONDS) * 1000),
            rebalance_timeout_ms=int(rebalance_seconds * 1000),
            # A join is answered only when the slowest member has joined.
            request_timeout_ms=int((rebalance_seconds + 30.0) * 1000),
            # Polling never waits for the engine: if it is stuck, the process is, and heartbeats end as well.
            max_poll_interval_ms=2**31 - 1,
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=_PARTITION_FETCH_BYTES,
        )
    )


async def connect(consumer: AIOKafkaConsumer, topics: Mapping[str, Lane], group: str, *, seconds: float) -> None:
    """Start the consumer, and check that the topics exist, without naming to the broker any that does not, and rights.

    Raises `QueueError`, and what aiokafka raises where the broker cannot be reached.
    """
    async with asyncio.timeout(seconds):
        await consumer.start()
        client = consumer._client  # noqa: SLF001 - the public ways ask one broker, or none of this
        missing = await missing_topics(client, topics)
        lacking = [] if missing else await missing_rights(client, _wanted_rights(topics), group)
    if lacking:
        raise QueueDenied(_lacks(lacking))
    if missing:
        raise QueueError(
            f"these topics do not exist, or this user may not see them: {', '.join(missing)}; create them with "
            "`backburner topics ensure --pool MODEL`"
        )


async def denied_rights(
    consumer: AIOKafkaConsumer, topics: Mapping[str, Lane], group: str, *, seconds: float
) -> str | None:
    """Which rights the user lacks by now, in one line; None where it lacks none, or no broker tells."""
    try:
        async with asyncio.timeout(seconds):
            lacking = await missing_rights(consumer._client, _wanted_rights(topics), group)  # noqa: SLF001 - as above
    except (KafkaError, OSError, TimeoutError):
        return None
    return _lacks(lacking) if lacking else None


def _wanted_rights(topics: Mapping[str, Lane]) -> dict[str, frozenset[Right]]:
    return {topic: _RETRY_RIGHTS if lane is Lane.RETRY else _RIGHTS for topic, lane in topics.items()}


def _lacks(rights: Sequence[str]) -> str:
    return f"this user lacks rights: {', '.join(rights)}; grant them as docs/kafka.md shows"


async def check_topics(connection: KafkaConnection, topics: Mapping[str, Lane], group: str) -> None:
    """Raise `QueueError` if any of the topics is missing, or for what does not go away by waiting.

    A broker that does not answer is only logged. Joins no group.
    """
    await connection.check()
    consumer = connection.following(AIOKafkaConsumer(**connection, client_id="backburner-check"))
    try:
        await connect(consumer, topics, group, seconds=_CHECK_SECONDS)
    except (KafkaError, OSError, TimeoutError) as error:
        failure = await start_failed(connection, error)
        if isinstance(error, (*FATAL, *DENIALS)) or isinstance(failure, QueueDenied):
            raise failure from error
        log.warning("broker does not answer yet; connecting again once the model is loaded", error=failure.message)
    finally:
        await leave(consumer, seconds=_CHECK_SECONDS, leave_group=True)


async def committed(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition], *, seconds: float
) -> dict[TopicPartition, tuple[int, str]]:
    """What the group has committed of these partitions, where it has: offsets, and the text beside them.

    Raises `TimeoutError`, and what aiokafka raises.
    """
    async with asyncio.timeout(seconds):
        # The public way is one request a partition, and returns no metadata; this is one for all.
        found = await consumer._coordinator.fetch_committed_offsets(list(partitions))  # noqa: SLF001
    return {partition: (one.offset, one.metadata or "") for partition, one in found.items()}


async def answers(consumer: AIOKafkaConsumer, *, seconds: float) -> bool:
    """Whether a broker answers the cheapest request in that time."""
    try:
        async with asyncio.timeout(seconds):
            # Not asked of the coordinator: on that connection everything waits behind a join, which may take long.
            return bool(await consumer._client.force_metadata_update())  # noqa: SLF001 - nothing public is as light
    except (KafkaError, OSError, TimeoutError):
        return False


def is_forgotten(consumer: AIOKafkaConsumer) -> bool:
    """Whether the group does not know this member any more, or not yet."""
    return bool(consumer._coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID)  # noqa: SLF001 - nothing tells


class FencedInstanceIdError(BrokerResponseError):  # type: ignore[misc]  # aiokafka has no types
    """Another process has joined the group under this member's static name: this one is no member any more.

    aiokafka knows no such code, and joins again with the same member's id, which is refused for ever.
    """

    errno = 82
    message = "FENCED_INSTANCE_ID"
    description = "another member has joined under this member's static name"


kafka_errors[FencedInstanceIdError.errno] = FencedInstanceIdError


def is_fenced(error: BaseException) -> bool:
    """Whether an error that reading raised says that another process has this member's static name."""
    # aiokafka raises what a join or sync was refused for as the text of the error that it is.
    return isinstance(error, FencedInstanceIdError) or FencedInstanceIdError.__name__ in str(error)


def rejoin(consumer: AIOKafkaConsumer) -> None:
    """Ask for a share anew.

    After a denial heartbeats begin again with a join alone, and without one aiokafka tells the same denial for ever.
    """
    consumer._coordinator.request_rejoin()  # noqa: SLF001 - nothing public asks for it


def give_up_name(consumer: AIOKafkaConsumer) -> None:
    """Join without the static name from now on: until this member has left, it takes nothing more from its namesake."""
    consumer._coordinator._group_instance_id = None  # noqa: SLF001 - nothing public changes it


def consumed_to(consumer: AIOKafkaConsumer, partitions: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The offset below which nothing more will come, of those of the partitions of which nothing is read and waits.

    It is past the last record where control markers, aborted transactions or compacted offsets follow.
    """
    found = {}
    for partition in map(TopicPartition._make, partitions):
        # Not the public `position`, which may wait. What waits may be an error, which has moved the position already.
        if consumer._subscription.is_assigned(partition) and partition not in consumer._fetcher._records:  # noqa: SLF001
            state = consumer._subscription.subscription.assignment.state_value(partition)  # noqa: SLF001
            if state.has_valid_position:
                found[partition] = state.position
    return found


async def commit(
    consumer: AIOKafkaConsumer, offsets: Mapping[tuple[str, int], tuple[int, str]], *, seconds: float
) -> dict[tuple[str, int], KafkaError | None]:
    """Commit once, bounded. Returns for each partition why it was refused, None where it was taken.

    Empty where the broker does not answer, and where the member's generation, or the coordinator, is another by now.

    aiokafka retries for ever, and where one partition is refused it does not tell that the others were taken. Raises
    aiokafka's own error for a text that is too long.
    """
    coordinator = consumer._coordinator  # noqa: SLF001 - nothing public answers by partition
    if coordinator.generation == _NO_GENERATION:
        return {}  # No member now: a group without any would take this from anybody.
    by_topic: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for (topic, partition), (offset, text) in offsets.items():
        by_topic[topic].append((partition, offset, text))
    request = OffsetCommitRequest(
        coordinator.group_id,
        coordinator.generation,
        coordinator.member_id,
        OffsetCommitRequest.DEFAULT_RETENTION_TIME,
        [*by_topic.items()],
    )
    try:
        async with asyncio.timeout(seconds):
            answer = await coordinator._send_req(request)  # noqa: SLF001
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("commit failed; retrying", error=message_of(error))
        return {}
    errors = {
        (topic, partition): for_code(code) for topic, partitions in answer.topics for partition, code in partitions
    }
    found = set(errors.values())
    if OffsetMetadataTooLargeError in found:
        raise OffsetMetadataTooLargeError
    if over := found.intersection(_GENERATION_OVER):
        log.info(
            "commit refused, its generation is over; the next owner commits",
            error=", ".join(sorted(error.__name__ for error in over)),
        )
        if over == {RebalanceInProgressError}:
            coordinator.request_rejoin()
        else:
            coordinator.reset_generation()
        return {}
    if found.intersection(_COORDINATOR_MOVED):
        coordinator.coordinator_dead()
        return {}
    return {partition: error(partition[0]) if error.errno else None for partition, error in errors.items()}


async def leave(consumer: AIOKafkaConsumer, *, seconds: float, leave_group: bool) -> None:
    """Disconnect within the time, whatever state the broker is in; `leave_group`: leave the group too."""
    if not leave_group and consumer._coordinator is not None:  # noqa: SLF001 - there is none where it never connected
        # A member without a generation has nothing to leave; the broker lets it go when its session is over.
        consumer._coordinator.reset_generation()  # noqa: SLF001 - aiokafka has no setting for it
    # In a task of its own: with the broker away, aiokafka leaks the cancellation of its tasks as if it were ours.
    stopping = asyncio.create_task(consumer.stop())
    await asyncio.wait([stopping], timeout=seconds)
    if not stopping.done():
        stopping.cancel()
        await asyncio.wait([stopping], timeout=seconds)
    error = "no answer" if not stopping.done() or stopping.cancelled() else stopping.exception()
    if error is not None:
        log.warning("leaving the consumer group failed; its session times out instead", error=message_of(error))
        with suppress(TimeoutError, OSError, KafkaError):
            async with asyncio.timeout(seconds):
                await consumer._client.close()  # noqa: SLF001 - where stop broke off, nothing public closes it


def message_of(error: BaseException | str) -> str:
    """An error's message, or its name where it has none."""
    return str(error) or type(error).__name__


async def start_failed(connection: KafkaConnection, error: BaseException) -> QueueError:
    """The error to raise when the consumer could not be started."""
    return broken(error) if isinstance(error, (*FATAL, *DENIALS)) else await connection.failure(error)


def broken(error: BaseException) -> QueueError:
    """The error to raise when the consumer cannot go on."""
    if isinstance(error, DENIALS):
        return QueueDenied(
            f"not authorised ({message_of(error)}); grant this user the ACLs to read the topics and the group"
        )
    if isinstance(error, InvalidSessionTimeoutError):
        return QueueError(
            "the broker does not allow this session time-out; set BACKBURNER_KAFKA_SESSION_SECONDS to between its "
            "group.min.session.timeout.ms (mostly 6 s) and group.max.session.timeout.ms"
        )
    return QueueError(f"reading from the broker failed for good ({message_of(error)}); restart the worker")
