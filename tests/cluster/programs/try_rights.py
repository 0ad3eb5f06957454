"""Tries to do things on the broker as the user that the environment names; prints which it may do, as JSON."""

import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from backburner.publishers.kafka.connection import kafka_connection
from backburner.settings import Settings

_SECONDS = 20.0


async def _write(settings, topic):
    async with AIOKafkaProducer(**kafka_connection(settings), request_timeout_ms=5000) as producer:
        await producer.send_and_wait(topic, b"{}", partition=0)


async def _read(settings, topic):
    # aiokafka logs what it may not fetch, and goes on; who may not describe a topic learns no end of it either.
    async with AIOKafkaConsumer(**kafka_connection(settings), request_timeout_ms=5000) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        await consumer.getone()


async def _commit(settings, topic):
    group = topic.rpartition(".")[0]
    async with AIOKafkaConsumer(**kafka_connection(settings), group_id=group, enable_auto_commit=False) as consumer:
        at = TopicPartition(topic, 0)
        consumer.assign([at])
        await consumer.commit({at: OffsetAndMetadata(0, "")})


async def _create(settings, topic):
    admin = AIOKafkaAdminClient(**kafka_connection(settings))
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(topic, 1, 1)], validate_only=True)
        for _name, code, *_ in answer.topic_errors:
            if code not in {0, 36}:  # none, or it exists
                raise KafkaError(code)
    finally:
        await admin.close()


async def _main(settings, tries):
    ways = {"write": _write, "read": _read, "commit": _commit, "create": _create}
    may = {}
    for one in tries:
        way, _, topic = one.partition(":")
        try:
            async with asyncio.timeout(_SECONDS):
                await ways[way](settings, topic)
            may[one] = True
        except (KafkaError, TimeoutError) as error:
            print(one, repr(error), file=sys.stderr)
            may[one] = False
    return may


print(json.dumps(asyncio.run(_main(Settings.load(), sys.argv[1:]))))
