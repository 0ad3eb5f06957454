"""What is Kafka's own in a publisher: topics, partition keys, producer ids, security settings."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import confluent_kafka
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Consumer

from backburner.publishers.base import Message
from backburner.publishers.kafka import metadata
from backburner.publishers.kafka.publisher import KafkaPublisher, ensure_topics, kafka_connection
from backburner.storage import Storage
from backburner.submission.envelopes import Envelopes
from backburner.submission.sender import publish
from backburner_schemas import keys, routing
from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import QueueError, SettingsError
from backburner_schemas.job import JobManifest
from backburner_schemas.names import Lane

pytestmark = pytest.mark.broker
READ_SECONDS = 60.0


async def read(pool, lane: Lane, count: int) -> list[Any]:
    topic = routing.topic(pool.settings.prefix, pool.name, lane)
    consumer = AIOKafkaConsumer(**kafka_connection(pool.settings), auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(pool.settings.topic_partitions)])
        found: list[Any] = []
        while len(found) < count:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
        return found
    finally:
        await consumer.stop()


def read_keys(pool, lane: Lane, count: int) -> list[tuple[bytes | None, bytes]]:
    """Keys and values as they are on the broker, by a client that is none of the product's: a worker reads no keys."""
    topic = routing.topic(pool.settings.prefix, pool.name, lane)
    servers = ",".join(kafka_connection(pool.settings)["bootstrap_servers"])
    consumer = Consumer({"bootstrap.servers": servers, "group.id": f"{topic}.keys", "enable.auto.commit": False})
    try:
        consumer.assign(
            [
                confluent_kafka.TopicPartition(topic, number, confluent_kafka.OFFSET_BEGINNING)
                for number in range(pool.settings.topic_partitions)
            ]
        )
        found: list[tuple[bytes | None, bytes]] = []
        until = time.monotonic() + READ_SECONDS
        while len(found) < count and time.monotonic() < until:
            for message in consumer.consume(count - len(found), timeout=1.0):
                assert message.error() is None, message.error()
                found.append((message.key(), message.value()))
        return found
    finally:
        consumer.close()


async def test_each_message_has_its_neighbours_key_on_the_wire(pool):
    """Compaction, other consumers and the broker's own tools go by it, and so does a partitioner that is not ours."""
    count = routing.NEIGHBOUR_REQUESTS * 2 + 1
    await pool.publish(count - 1)
    # One alone takes another way through the publisher than those that come together.
    await pool.publish(1, first=count - 1)
    found = await asyncio.to_thread(read_keys, pool, Lane.NORMAL, count)
    sent = [Envelope.model_validate_json(value) for _, value in found]
    assert sorted(one.index for one in sent) == [*range(count)]
    assert [key for key, _ in found] == [routing.neighbours_key(one.tenant, one.job, one.index) for one in sent]


async def test_what_is_sent_as_bytes_has_its_groups_key_on_the_wire(pool):
    envelopes = Envelopes(JobManifest(id="j", tenant="t", created_at=1.0, deadline=2e9))
    members = [b'"custom_id":"c%d","url":"/v1/completions","body":{}' % number for number in range(6)]
    publisher = await pool.started_publisher()
    await publisher.publish(envelopes.grouped(members, [*range(6)], [7, 7, 7, 8, 8, 8], pool.name, 1.0))
    found = await asyncio.to_thread(read_keys, pool, Lane.NORMAL, 6)
    keys_of: dict[int, set[bytes | None]] = {}
    for key, value in found:
        keys_of.setdefault(int(Envelope.model_validate_json(value).index) // 3, set()).add(key)
    assert [len(found) for found in keys_of.values()] == [1, 1]
    assert None not in set.union(*keys_of.values())
    assert keys_of[0] != keys_of[1]


async def test_neighbours_of_a_job_share_a_partition(pool):
    await pool.publish(routing.NEIGHBOUR_REQUESTS * 8)
    found = await read(pool, Lane.NORMAL, routing.NEIGHBOUR_REQUESTS * 8)
    homes: dict[bytes, set[int]] = {}
    for one in found:
        sent = Envelope.model_validate_json(one.value)
        homes.setdefault(routing.neighbours_key(sent.tenant, sent.job, sent.index), set()).add(one.partition)
    assert len(homes) == 8
    assert all(len(partitions) == 1 for partitions in homes.values())
    assert len({one.partition for one in found}) > 1


async def test_a_message_sent_alone_lands_where_its_neighbours_in_a_batch_do(pool):
    await pool.publish(10)
    await pool.publish(1, first=10)
    found = await read(pool, Lane.NORMAL, 11)
    assert len({one.partition for one in found}) == 1


async def test_requests_with_a_prefix_in_common_share_a_partition(pool):
    passages = [f"{name};" * 1000 for name in range(8)]
    envelopes = [
        Envelope(
            tenant="t",
            job="j",
            index=index,
            custom_id=f"c{index % 8}",
            url="/v1/completions",
            body={"model": "fake", "prompt": f"{passages[index % 8]} question {index}"},
        )
        for index in range(64)
    ]
    publisher = KafkaPublisher(pool.settings)
    await publisher.start()
    await publisher.publish([Message("fake", Lane.NORMAL, envelope) for envelope in envelopes])
    await publisher.close()
    homes: dict[str, set[int]] = {}
    for one in await read(pool, Lane.NORMAL, 64):
        homes.setdefault(Envelope.model_validate_json(one.value).custom_id, set()).add(one.partition)
    assert len(homes) == 8
    assert all(len(partitions) == 1 for partitions in homes.values())
    assert set.union(*homes.values()) == set(range(pool.settings.topic_partitions))


async def test_a_group_goes_to_one_partition_in_its_order_though_others_are_between(pool):
    manifest = JobManifest(id="j", tenant="t", created_at=1.0, deadline=2e9)
    envelopes = Envelopes(manifest)
    publisher = KafkaPublisher(pool.settings)
    await publisher.start()
    # Of 40 groups the second half of each comes with another publish; a single message is sent on its own.
    for half in (0, 1):
        places = [(group, 6 * group + 3 * half + number) for group in range(40) for number in range(3)]
        members = [
            b'"custom_id":"c%d","url":"/v1/completions","body":{"prompt":"%b"}' % (n, b"x" * 2000) for _, n in places
        ]
        made = envelopes.grouped(members, [n for _, n in places], [group for group, _ in places], pool.name, 1.0)
        await publisher.publish(made)
    alone = envelopes.grouped([b'"custom_id":"c","url":"/v1/completions","body":{}'], [240], [7], pool.name, 1.0)
    await publisher.publish([alone[0]])
    await publisher.close()
    homes: dict[int, set[int]] = {}
    order: dict[int, list[int]] = {}
    for one in await read(pool, Lane.NORMAL, 241):
        index = int(Envelope.model_validate_json(one.value).index)
        group = 7 if index == 240 else index // 6
        homes.setdefault(group, set()).add(one.partition)
        order.setdefault(group, []).append(index)
    assert len(homes) == 40
    assert all(len(partitions) == 1 for partitions in homes.values())
    assert order[7] == [*range(42, 48), 240]
    assert set.union(*homes.values()) == set(range(pool.settings.topic_partitions))


async def test_a_large_message_gets_through(pool):
    body = {"model": "fake", "prompt": "x" * 5_000_000}
    envelope = Envelope(tenant="t", job="j", index=0, custom_id="c", url="/v1/completions", body=body)
    publisher = KafkaPublisher(pool.settings)
    await publisher.start()
    await publisher.publish([pool.message(1), Message("fake", Lane.NORMAL, envelope), pool.message(2)])
    await publisher.close()
    found = await read(pool, Lane.NORMAL, 3)
    assert max(len(one.value) for one in found) > 5_000_000


async def test_topics_that_take_little_get_small_batches_and_stored_bodies(apache, settings_for):
    """Such as somebody else made: their limit is one of batches, and of compressed ones where the broker compresses."""
    settings = settings_for(apache, max_body_bytes=1024)
    await ensure_topics(settings, "fake")
    body = {"model": "fake", "prompt": "x" * 1_000}
    prompts = {7: "x" * 200_000, 90: "y" * 70_000}
    messages = [
        Message(
            "fake",
            Lane.NORMAL,
            Envelope(
                tenant="t",
                job="j",
                index=index,
                custom_id="c",
                url="/v1/completions",
                body=body | ({"prompt": prompts[index]} if index in prompts else {}),
            ),
        )
        for index in range(500)
    ]
    storage = Storage.open(settings)
    publisher = KafkaPublisher(settings)
    await publisher.start()
    try:
        await publish(publisher, storage, messages)
    finally:
        await publisher.close()
    found = await read(SimpleNamespace(settings=settings, name="fake"), Lane.NORMAL, len(messages))
    sent = {one.index: one.body_ref for one in (Envelope.model_validate_json(each.value) for each in found)}
    assert sent == {index: keys.body("t", "j", index) if index in prompts else None for index in range(len(messages))}


async def test_every_lane_gets_a_topic_with_the_settings(apache, settings_for):
    settings = settings_for(apache, topic_retention_seconds=3600.0)
    made = await ensure_topics(settings, "fake")
    assert made == [f"{settings.prefix}.fake.{lane}" for lane in Lane]
    admin = AIOKafkaAdminClient(**kafka_connection(settings))
    await admin.start()
    try:
        described = {one["topic"]: one for one in await admin.describe_topics()}
        answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in made])
    finally:
        await admin.close()
    assert [len(described[name]["partitions"]) for name in made] == [settings.topic_partitions] * len(Lane)
    stamped = set()
    for answer in answers:
        for resource in answer.to_object()["resources"]:
            values = {one["config_names"]: one["config_value"] for one in resource["config_entries"]}
            if values["message.timestamp.type"] == "LogAppendTime":
                stamped.add(resource["resource_name"])
            assert values["retention.ms"] == "3600000"
            assert int(values["max.message.bytes"]) >= settings.max_body_bytes + 64 * 1024
    # How long a retry waits is measured from there.
    assert stamped == {f"{settings.prefix}.fake.{Lane.RETRY}"}


async def test_topics_that_exist_are_left_as_they_are(bootstrap, settings_for):
    settings = settings_for(bootstrap)
    first = await ensure_topics(settings, "fake")
    again = await ensure_topics(settings.model_copy(update={"topic_partitions": 9}), "fake")
    assert again == first
    admin = AIOKafkaAdminClient(**kafka_connection(settings))
    await admin.start()
    described = {one["topic"]: one for one in await admin.describe_topics()}
    await admin.close()
    assert {len(described[name]["partitions"]) for name in first} == {settings.topic_partitions}


async def test_a_pool_can_be_used_as_soon_as_it_is_made(pool, monkeypatch):
    """At once, without anybody's patience: no program after `ensure` may be told to make what it has made."""
    monkeypatch.setattr(metadata, "TOPIC_SECONDS", 0.0)
    publisher = await pool.started_publisher()
    for number in range(8):
        await ensure_topics(pool.settings, f"made{number}")
        await publisher.publish([Message(f"made{number}", Lane.NORMAL, pool.message(0).envelope)])


async def test_a_pool_that_was_deleted_can_be_made_again_at_once(pool, monkeypatch):
    monkeypatch.setattr(metadata, "TOPIC_SECONDS", 0.0)
    for _ in range(4):
        await pool.delete()
        await pool.prepare()
        await pool.publish(3)
        assert len(await read(pool, Lane.NORMAL, 3)) == 3


async def test_more_replicas_than_brokers_is_refused_and_nothing_is_made(bootstrap, settings_for):
    settings = settings_for(bootstrap).model_copy(update={"topic_replication": 3})
    with pytest.raises(QueueError, match=r"BACKBURNER_TOPIC_REPLICATION=1"):
        await ensure_topics(settings, "fake")
    assert not await topics_with(settings, settings.prefix + ".")


async def test_a_broker_without_producer_ids_is_used_all_the_same(kafka_pool):
    pool = await kafka_pool("kafka-tansu", kafka_idempotence=True)
    await pool.publish(1)
    await read(pool, Lane.NORMAL, 1)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_publishing_rides_out_a_restart_of_the_broker(spare_apache, spare_pool, end):
    pool = spare_pool
    publisher = KafkaPublisher(pool.settings)
    await publisher.start()
    await publisher.publish([pool.message(0)])
    getattr(spare_apache, end)()
    spare_apache.start()
    await publisher.publish([pool.message(index) for index in range(1, 20)])
    await publisher.close()
    await publisher.close()
    assert len({one.value for one in await read(pool, Lane.NORMAL, 20)}) == 20


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("kafka_security_protocol", "TLS", "SASL_SSL"),
        ("kafka_security_mechanism", "GSSAPI", "SCRAM-SHA-512"),
        ("kafka_security_username", None, "PASSWORD"),
        ("kafka_security_ca_file", "/no/such/file", "CA_FILE"),
    ],
)
def test_security_settings_that_cannot_be_used_are_named(settings_for, name, value, told):
    settings = settings_for("127.0.0.1:1", kafka_security_username="u", kafka_security_password="p").model_copy(
        update={"kafka_security_protocol": "SASL_SSL", name: value}
    )
    with pytest.raises(SettingsError, match=told):
        kafka_connection(settings)


def test_security_settings_reach_the_client(settings_for):
    settings = settings_for(
        "h:1,i:2",
        kafka_security_protocol="SASL_SSL",
        kafka_security_username="u",
        kafka_security_password="p",
    )
    connection = kafka_connection(settings)
    assert connection["bootstrap_servers"] == ["h:1", "i:2"]
    assert connection["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (connection["sasl_plain_username"], connection["sasl_plain_password"]) == ("u", "p")
    assert connection["ssl_context"].check_hostname


async def topics_with(settings, part: str) -> list[str]:
    admin = AIOKafkaAdminClient(**kafka_connection(settings))
    await admin.start()
    try:
        return [name for name in await admin.list_topics() if part in name and name.startswith(settings.prefix)]
    finally:
        await admin.close()
