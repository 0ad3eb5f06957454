"""What lies in a batch: other clients' records, the broker's own changes, and what would hurt a consumer."""

import asyncio
from collections.abc import Mapping

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Producer

from backburner_schemas import routing
from backburner_schemas.codec import Unaddressed
from backburner_schemas.names import Lane
from fuzz.batch_bytes import ZSTD, Record, batch, pack, varint, zstd_bomb
from fuzz.batch_wire import BatchWire

pytestmark = pytest.mark.broker

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
GIB = 1024**3


@pytest.fixture(params=["kafka-tansu", "kafka-apache"])
async def pool(request, kafka_pool):
    """A pool on each broker of ours: bytes are sent past all that speaks TLS or knows users."""
    return await kafka_pool(request.param)


@pytest.fixture
async def apache_pool(kafka_pool):
    return await kafka_pool("kafka-apache")


def librdkafka(pool, codec: str, values: list[bytes], partition: int) -> None:
    """Send them as one batch, by the client that most languages use."""
    servers = pool.settings.queue_url.removeprefix("kafka://")
    producer = Producer({"bootstrap.servers": servers, "compression.codec": codec, "linger.ms": 20})
    topic = routing.topic(pool.settings.prefix, pool.name, Lane.NORMAL)
    for value in values:
        producer.produce(topic, value, key=b"key", partition=partition, headers={"name": b"value"})
    assert producer.flush(30) == 0


async def configure(pool, values: Mapping[str, str]) -> None:
    admin = AIOKafkaAdminClient(**pool.connection)
    await admin.start()
    try:
        topics = [ConfigResource(ConfigResourceType.TOPIC, topic, values) for topic in pool.topics]
        await admin.alter_configs(topics)
    finally:
        await admin.close()


async def test_records_of_librdkafka_come_with_each_codec(pool):
    sent = [[b'{"codec": "%s", "number": %d}' % (codec.encode(), number) for number in range(20)] for codec in CODECS]
    for number, codec in enumerate(CODECS):
        await asyncio.to_thread(librdkafka, pool, codec, sent[number], number % 4)
    source = await pool.member()
    found = await pool.pull(source, 100)
    assert sorted(one.raw for one in found) == sorted(value for values in sent for value in values)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
async def test_what_the_broker_compresses_and_stamps_itself_comes_as_it_was(apache_pool, codec):
    await configure(apache_pool, {"compression.type": codec, "message.timestamp.type": "LogAppendTime"})
    topic = routing.topic(apache_pool.settings.prefix, apache_pool.name, Lane.NORMAL)
    wire = BatchWire(apache_pool.settings.queue_url.removeprefix("kafka://"), topic)
    sent = 0
    async with asyncio.timeout(30):
        stamped = False
        while not stamped:  # A broker takes a moment to go by what its topic is told.
            (answer,) = await wire.send([(0, batch([Record(b"early")], first_ms=1_000_000_000_000))])
            sent, stamped = sent + 1, answer.stamped
        # What was under way while the setting changed may be answered by the new one and stored by the old one.
        await wire.send([(0, batch([Record(b"late")], first_ms=1_000_000_000_000))])
    await wire.close()
    await apache_pool.publish(50)
    source = await apache_pool.member()
    found = await apache_pool.pull(source, sent + 51)
    assert {one.message.index for one in found if one.raw not in {b"early", b"late"}} == {*range(50)}
    (late,) = [one for one in found if one.raw == b"late"]
    assert late.origin.timestamp > 1_000_000_000


async def test_batches_that_would_hurt_a_consumer_hurt_nobody_beside_them(pool):
    named = Record(b"named", headers=((b"\xff\xfe", b"x"),))
    headers = Record(b"many headers", header_count=500_000, raw_headers=(varint(0) + varint(-1)) * 500_000)
    content = b"".join(record.encode(number) for number, record in enumerate((named, headers, Record(b"third"))))
    hostile = [
        batch(b"", codec=ZSTD, packed=pack(ZSTD, content), count=3, last=2),
        batch([Record(b"0"), Record(b"{}", value_length=9_000), Record(b"2")]),
        batch(b"", codec=ZSTD, packed=zstd_bomb(GIB), count=3, last=2),
        batch([Record(b"x")], broken_checksum=True),
        batch(b"", codec=ZSTD, packed=b"\xff" * 40, count=1, last=0),
    ]
    topic = routing.topic(pool.settings.prefix, pool.name, Lane.NORMAL)
    wire = BatchWire(pool.settings.queue_url.removeprefix("kafka://"), topic)
    taken = []
    for data in hostile:
        # Each partition has something good before, between and behind.
        await wire.send([(partition, batch([Record(b"good")])) for partition in range(4)])
        (answer,) = await wire.send([(1, data)])
        taken.append(answer.offset is not None)
    await wire.send([(partition, batch([Record(b"good")])) for partition in range(4)])
    await wire.close()
    assert taken[0]
    source = await pool.member()
    of_three = [b"many headers", b"named", b"third"]
    found = await pool.pull(source, 24 + 3 + (3 + 3 if all(taken) else 0))
    raw = [one.raw for one in found]
    assert raw.count(b"good") == 24
    assert [value for value in of_three if raw.count(value) != 1] == []
    if all(taken):  # Apache Kafka looks into what it is sent; a broker that does not leaves it to us.
        codes = sorted(one.message.error.code for one in found if isinstance(one.message, Unaddressed))
        assert codes.count("undecodable") == 4
        assert {b"0", b"2"} <= {*raw}
    for one in found:
        await source.settle(one)
    await source.close()
