"""Kafka as the queue: the publisher. Connection and topics are in files of their own and re-exported here.

It decides nothing about jobs; the caller decides whether and when to send again after a failure.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownError,
    UnsupportedVersionError,
)

from backburner.logs import get_logger
from backburner.publishers.base import Message, PublishFailed
from backburner.publishers.kafka.batches import destinations, lanes_of, send_batches
from backburner.publishers.kafka.connection import kafka_connection
from backburner.publishers.kafka.metadata import missing_topics
from backburner.publishers.kafka.partitioner import Partitioner
from backburner.publishers.kafka.topics import ensure_topics
from backburner.settings import Settings
from backburner_schemas import routing
from backburner_schemas.errors import QueueError

__all__ = ["KafkaPublisher", "ensure_topics", "kafka_connection"]

log = get_logger(__name__)

_REQUEST_SECONDS = 60.0
"""How long one request, and one record on its way, may take: longer than a broker's restart, which is ridden out."""
_START_SECONDS = 30.0
_CLOSE_SECONDS = 10.0
_LINGER_MS = 5
_MAX_BATCH_BYTES = 256 * 1024
"""Below the 1 MB that a broker accepts by default; a larger record goes as a batch of its own."""
_MIN_BATCH_BYTES = 1024
_BATCH_FACTOR = 4
"""A topic's limit is one of batches: by so much their size is cut where one of several messages is over it."""
_SIZE_ERRORS = (MessageSizeTooLargeError, RecordListTooLargeError)
_UNDER_WAY_BYTES = 16 * 1024 * 1024
"""Encoded bytes that one publish has under way at most: a request stays far below the broker's 100 MB."""


class KafkaPublisher:
    """A `Publisher` on Kafka: acks from all in-sync replicas, idempotent where the broker can."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection = kafka_connection(settings)
        self._producer: AIOKafkaProducer | None = None
        self._topics: set[str] = set()
        self._partitioners: dict[str, Partitioner] = {}
        self._open = False
        self._renewing = asyncio.Lock()
        self._batch_bytes = _MAX_BATCH_BYTES
        """Encoded bytes of one batch at most: less where a topic takes no more."""

    async def start(self) -> None:
        """Connect. Raises `QueueError` if no broker answers, and `QueueDenied` if it refuses the credentials."""
        await self._connection.check()
        self._producer = await self._reach()
        self._open = True

    async def publish(self, messages: Sequence[Message]) -> None:
        """Put the messages onto the queue; see the port for what its return and its errors mean."""
        producer = await self._living()
        topics = {(pool, lane): routing.topic(self._settings.prefix, pool, lane) for pool, lane in lanes_of(messages)}
        partitions = await self._partitions(producer, {topic: pool for (pool, _), topic in topics.items()})
        choosers = {lane: (topic, self._partitioner(topic, partitions[topic])) for lane, topic in topics.items()}
        batches: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
        size, failed, too_large, cause = 0, list[int](), set[int](), None
        last = len(messages) - 1
        for positions, topic, partition, length in destinations(messages, choosers):
            batches[topic, partition] += positions
            size += length
            if size >= _UNDER_WAY_BYTES or positions[-1] == last:
                batch_bytes = self._batch_bytes
                for refused, error in await self._send_in_step(await self._living(), messages, batches):
                    failed += refused
                    cause = cause or error
                    if isinstance(error, _SIZE_ERRORS):
                        too_large.update(one for one in refused if _is_alone(messages[one], batch_bytes))
                batches.clear()
                size = 0
        if failed:
            raise PublishFailed(sorted(failed), await self._why(cause), too_large)

    async def close(self) -> None:
        """Wait for what is under way and disconnect. Safe to call twice, and after a failed start."""
        producer, self._producer, self._open = self._producer, None, False
        if producer is not None:
            await _stop(producer)

    async def _living(self) -> AIOKafkaProducer:
        """The producer, or a new one where an error ended the old one's sender: that never recovers by itself."""
        async with self._renewing:
            self._check_open()
            if self._producer is not None and self._producer._sender.sender_task.done():  # noqa: SLF001 - no public way
                await _stop(self._producer)
                self._producer = None
            if self._producer is None:
                made = await self._reach()
                try:
                    self._check_open()
                except QueueError:
                    await _stop(made)
                    raise
                self._producer = made
            return self._producer

    def _check_open(self) -> None:
        if not self._open:
            raise QueueError("the publisher is not connected, or closed; start it before it publishes")

    async def _reach(self) -> AIOKafkaProducer:
        if self._settings.kafka_idempotence:
            try:
                return await self._connect(idempotent=True)
            except (UnknownError, UnsupportedVersionError, ClusterAuthorizationFailedError) as error:
                log.warning(
                    "broker offers no producer ids; a retried send may leave a message twice "
                    "(BACKBURNER_KAFKA_IDEMPOTENCE=false silences this)",
                    error=type(error).__name__,
                )
        return await self._connect(idempotent=False)

    async def _connect(self, *, idempotent: bool) -> AIOKafkaProducer:
        producer = self._connection.following(
            AIOKafkaProducer(
                **self._connection,
                client_id="backburner",
                acks="all",
                enable_idempotence=idempotent,
                linger_ms=_LINGER_MS,
                max_batch_size=self._batch_bytes,
                # The topic's limit is the one that counts; aiokafka's own would only hide it.
                max_request_size=2**31 - 1,
                request_timeout_ms=int(_REQUEST_SECONDS * 1000),
            )
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                await producer.start()
        except (UnknownError, UnsupportedVersionError, ClusterAuthorizationFailedError) as error:
            await _stop(producer)
            if idempotent:
                raise
            raise await self._connection.failure(error) from error
        except (KafkaError, OSError, TimeoutError) as error:
            await _stop(producer)
            raise await self._connection.failure(error) from error
        except BaseException:
            await _stop(producer)
            raise
        return producer

    def _partitioner(self, topic: str, count: int) -> Partitioner:
        """What chooses the topic's partitions; a new one where their number has grown."""
        found = self._partitioners.get(topic)
        if found is None or found.count != count:
            found = self._partitioners[topic] = Partitioner(count)
        return found

    async def _partitions(self, producer: AIOKafkaProducer, wanted: Mapping[str, str]) -> dict[str, int]:
        """How many partitions each of these topics has, which come with their pools.

        A topic that does not exist is never named to the broker.
        """
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                unknown = wanted.keys() - self._topics
                if unknown and (missing := await missing_topics(producer.client, unknown)):
                    raise QueueError(
                        f"the topic {missing[0]} does not exist, or this user may not see it; create the pool's topics "
                        f"with `backburner topics ensure --pool MODEL` (the pool is {wanted[missing[0]]})"
                    )
                self._topics.update(wanted)
                return {topic: len(await producer.partitions_for(topic)) for topic in wanted}
        except (KafkaError, OSError, TimeoutError) as error:
            raise await self._connection.failure(error) from error

    async def _why(self, error: BaseException | None) -> str:
        """What to say of a send that failed for that reason."""
        if isinstance(error, _SIZE_ERRORS):
            return (
                "a message is over the topic's max.message.bytes; raise it to BACKBURNER_MAX_BODY_BYTES and 64 KiB more"
            )
        if isinstance(error, TopicAuthorizationFailedError):
            return "this user lacks the right to write to the topic; grant it as docs/kafka.md shows"
        return await self._connection.refusal() or str(error) or type(error).__name__

    async def _send_in_step(
        self, producer: AIOKafkaProducer, messages: Sequence[Message], batches: Mapping[tuple[str, int], list[int]]
    ) -> list[tuple[list[int], BaseException]]:
        """Send every partition the messages at its positions; the positions of those that failed, with the error.

        A record that the broker refuses leaves a gap in an idempotent producer's numbers, and aiokafka never closes it:
        all that follows on the partition is refused too. A new producer starts from zero. It makes smaller batches
        where one was refused whose messages may be small enough: they fail this time, and are sent again.
        """
        batch_bytes = self._batch_bytes
        failures = await self._send(producer, messages, batches)
        refused = [one for positions, error in failures if isinstance(error, _SIZE_ERRORS) for one in positions]
        if not all(_is_alone(messages[one], batch_bytes) for one in refused):
            self._batch_bytes = max(min(self._batch_bytes, batch_bytes // _BATCH_FACTOR), _MIN_BATCH_BYTES)
            log.warning("a topic takes no batch as large as that; making smaller ones", bytes=self._batch_bytes)
        late = {
            position
            for positions, error in failures
            if isinstance(error, OutOfOrderSequenceNumber)
            for position in positions
        }
        if not late and self._batch_bytes == batch_bytes:
            return failures
        async with self._renewing:
            if self._producer is producer:
                await _stop(producer)
                self._producer = None
        if not late:
            return failures
        again = {target: [one for one in positions if one in late] for target, positions in batches.items()}
        failures = [failure for failure in failures if late.isdisjoint(failure[0])]
        return failures + await self._send(await self._living(), messages, again)

    async def _send(
        self, producer: AIOKafkaProducer, messages: Sequence[Message], batches: Mapping[tuple[str, int], list[int]]
    ) -> list[tuple[list[int], BaseException]]:
        """Send every partition its messages; the positions of those that failed, with the error."""
        sent = [
            asyncio.create_task(send_batches(producer, topic, partition, messages, positions))
            for (topic, partition), positions in batches.items()
        ]
        try:
            outcomes = await asyncio.gather(*sent)
        except BaseException:
            for task in sent:
                task.cancel()
            raise
        return [failure for failures in outcomes for failure in failures]


def _is_alone(message: Message, batch_bytes: int) -> bool:
    """Whether it is so large that its batch has no other."""
    return len(message.value) > batch_bytes or batch_bytes <= _MIN_BATCH_BYTES


async def _stop(client: AIOKafkaProducer) -> None:
    """Stop a client, but not for ever: without a broker its flush waits as long as a record may take."""
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await client.stop()
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning(
            "closing the connection to the broker failed; dropping it", error=str(error) or type(error).__name__
        )
        await _drop(client)
    except BaseException:
        await _drop(client)
        raise


async def _drop(client: AIOKafkaProducer) -> None:
    """End what a broken stop left: an idempotent producer's sender tries for ever, and would publish hours later."""
    # Who waits for a record hears of it first: nobody would tell them any more.
    client._message_accumulator.fail_all(ProducerClosed())  # noqa: SLF001 - no public way
    for end in (client.client.close, client._sender.close):  # noqa: SLF001
        with suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await end()
