"""The harness on Kafka's protocol: Apache Kafka, Tansu, or an outside broker; and what Kafka's own tests need."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.record.util import calc_crc32c
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed
from waiting import PATIENCE

from backburner.publishers import ensure_topics
from backburner.publishers.kafka.publisher import kafka_connection
from backburner_schemas import routing
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, Source
from queues.harness import QueueHarness, nothing

PARTITIONS = 4
_RIDING_OUT = retry(
    # Of several brokers one may be gone: its group's coordinator is another a little later.
    retry=retry_if_exception_type(KafkaError),
    stop=stop_after_delay(PATIENCE),
    wait=wait_fixed(0.2),
    reraise=True,
)


@dataclass
class KafkaHarness(QueueHarness):
    """A pool's topics, its group and its members."""

    nameless: bool = False
    """Whether the broker has no static membership."""

    async def prepare(self) -> None:
        await ensure_topics(self.settings, self.name)

    @property
    def connection(self) -> dict[str, Any]:
        return kafka_connection(self.settings)

    @property
    def topics(self) -> dict[str, Lane]:
        return routing.topics(self.settings.prefix, self.name)

    @property
    def partitions(self) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for topic in self.topics for number in range(PARTITIONS)]

    def source(
        self, name: str | None = None, *, session: float | None = None, instance_id: str | None = None, **settings: Any
    ) -> Source:
        """As the port's; `instance_id` is another word for the name, `session` is in seconds."""
        if session is not None:
            settings["kafka_session_seconds"] = session
        return super().source(name or instance_id, **settings)

    def known_as(self, name: str | None) -> str | None:
        """Without static membership a name means nothing, and costs each restart two sessions on Tansu."""
        return None if self.nameless else name

    async def send(
        self,
        value: bytes | None,
        *,
        lane: Lane = Lane.NORMAL,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> str:
        async with AIOKafkaProducer(**self.connection, acks="all", max_request_size=30_000_000) as producer:
            topic = routing.topic(self.settings.prefix, self.name, lane)
            sent = await producer.send_and_wait(topic, value, b"key", partition=partition, headers=list(headers))
            return f"{sent.partition}-{sent.offset}"

    async def send_around_a_bad_header(self, *values: bytes, partition: int, lane: Lane = Lane.NORMAL) -> None:
        """One batch, as other clients can write it: the name of its first record's header is no UTF-8."""
        async with AIOKafkaProducer(**self.connection, acks="all") as producer:
            topic = routing.topic(self.settings.prefix, self.name, lane)
            batch = producer.create_batch()
            for number, value in enumerate(values):
                headers = [] if number else [("name", b"value")]
                batch.append(timestamp=None, key=b"key", value=value, headers=headers)
            batch.close()
            content = bytearray(batch._build())
            at = content.index(b"name")
            content[at : at + 4] = b"\xff\xfe\xff\xfe"
            # The checksum covers everything from the attributes on, which begin at byte 21.
            content[17:21] = calc_crc32c(bytes(content[21:])).to_bytes(4, "big")
            batch._buffer = bytearray(content)
            await (await producer.send_batch(batch, topic, partition=partition))

    def topic(self, lane: Lane = Lane.NORMAL) -> str:
        """The topic of a lane."""
        return routing.topic(self.settings.prefix, self.name, lane)

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """The broker's administrator."""
        admin = AIOKafkaAdminClient(**self.connection)
        await admin.start()
        try:
            yield admin
        finally:
            await asyncio.shield(admin.close())

    async def make_anew(self, lane: Lane = Lane.NORMAL) -> None:
        """Delete a lane's topic and make it once more: it has the same name, and is another log."""
        async with self.admin() as admin:
            await admin.delete_topics([self.topic(lane)])
        await ensure_topics(self.settings, self.name)

    @_RIDING_OUT
    async def committed(self) -> dict[tuple[str, int], int]:
        """What the group has committed, by topic and partition."""
        admin = AIOKafkaAdminClient(**self.connection)
        await admin.start()
        try:
            group = routing.group(self.settings.prefix, self.name)
            found = await admin.list_consumer_group_offsets(group, partitions=self.partitions)
        finally:
            await admin.close()
        return {(at.topic, at.partition): one.offset for at, one in found.items() if one.offset >= 0}

    @_RIDING_OUT
    async def left(self) -> int:
        committed = await self.committed()
        # Not `end_offsets`: it is wrong on Tansu, where only what came with a fetch is right.
        consumer = AIOKafkaConsumer(**self.connection, max_partition_fetch_bytes=1024, fetch_max_wait_ms=20)
        await consumer.start()
        try:
            consumer.assign(self.partitions)
            for at in self.partitions:
                consumer.seek(at, committed.get((at.topic, at.partition), 0))
            until = time.monotonic() + 20.0
            while any(consumer.highwater(at) is None for at in self.partitions):
                assert time.monotonic() < until, "the broker tells no ends of its partitions"
                await consumer.getmany(timeout_ms=20)
            return sum(
                (consumer.highwater(at) or 0) - committed.get((at.topic, at.partition), 0) for at in self.partitions
            )
        finally:
            try:
                await consumer.stop()
            except asyncio.CancelledError:
                # With a broker away it lets out the cancellation of a task of its own.
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise

    async def take_away(self, member: Source, held: Sequence[Delivery]) -> Source:
        """A second member joins: a part of the partitions goes to it."""
        second = self.source()
        await second.start(nothing)
        return second

    async def names(self) -> set[str]:
        admin = AIOKafkaAdminClient(**self.connection)
        await admin.start()
        try:
            return {name for name in await admin.list_topics() if name.startswith(self.settings.prefix + ".")}
        finally:
            await admin.close()

    async def delete(self) -> None:
        """The topics. Groups without members and topics are forgotten by the broker itself."""
        admin = AIOKafkaAdminClient(**self.connection)
        await admin.start()
        try:
            await admin.delete_topics(sorted(await self.names()))
        finally:
            await asyncio.shield(admin.close())
