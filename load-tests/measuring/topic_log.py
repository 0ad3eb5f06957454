"""What lies on a topic, read from its beginning by a consumer of no group: nobody notices, and nothing is committed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from backburner.publishers.kafka.publisher import kafka_connection
from backburner.settings import Settings
from backburner_schemas import routing
from backburner_schemas.names import Lane

_FETCH_MS = 2000
_RECORDS_PER_FETCH = 2000


async def first_sent(pool: str) -> float:
    """When the first request to the pool's normal lane was sent that is still there, in Unix seconds."""
    async with _reading(pool) as consumer:
        return float(min([record.timestamp async for record in _heads(consumer)])) / 1000


async def records(pool: str) -> list[ConsumerRecord]:
    """All records of the pool's normal lane, in the order in which they were sent."""
    found: list[ConsumerRecord] = []
    async with _reading(pool) as consumer:
        while batch := await consumer.getmany(timeout_ms=_FETCH_MS, max_records=_RECORDS_PER_FETCH):
            for some in batch.values():
                found += some
    return sorted(found, key=lambda record: record.timestamp)


@asynccontextmanager
async def _reading(pool: str) -> AsyncIterator[AIOKafkaConsumer]:
    settings = Settings.load()
    consumer = AIOKafkaConsumer(**kafka_connection(settings), enable_auto_commit=False)
    await consumer.start()
    try:
        topic = routing.topic(settings.prefix, pool, Lane.NORMAL)
        names = [TopicPartition(topic, number) for number in range(settings.topic_partitions)]
        consumer.assign(names)
        for name in names:
            consumer.seek(name, 0)
        yield consumer
    finally:
        await consumer.stop()


async def _heads(consumer: AIOKafkaConsumer) -> AsyncIterator[ConsumerRecord]:
    for partition in consumer.assignment():
        found = await consumer.getmany(partition, timeout_ms=_FETCH_MS, max_records=1)
        for some in found.values():
            for record in some:
                yield record
