"""The Kafka publisher's end where the broker is away: nothing goes on behind it."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerClosed
from aiokafka.structs import TopicPartition

from backburner.publishers.kafka import publisher
from backburner.publishers.kafka.publisher import KafkaPublisher
from backburner.settings import Settings
from backburner_schemas.errors import QueueError


async def test_a_client_whose_broker_is_away_is_ended_and_tells_who_waits(monkeypatch):
    monkeypatch.setattr(publisher, "_CLOSE_SECONDS", 0.2)
    client = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1", enable_idempotence=True)

    async def answered(*_):
        await asyncio.sleep(0)
        return False

    # As with a broker that gives no producer id: the sender asks for ever.
    monkeypatch.setattr(client._sender, "_do_init_pid", answered)
    monkeypatch.setattr(client.client, "force_metadata_update", answered)
    sending = client._sender._sender_task = asyncio.create_task(client._sender._sender_routine())
    record = await client._message_accumulator.add_message(TopicPartition("t", 0), b"k", b"v", 1, None)
    await publisher._stop(client)
    assert sending.done()
    with pytest.raises(ProducerClosed):
        await record


async def test_a_connection_that_is_made_while_the_publisher_is_closed_is_closed_too(monkeypatch):
    connecting, go_on, stopped = asyncio.Event(), asyncio.Event(), []
    made = KafkaPublisher(Settings(queue_url="kafka://127.0.0.1:1", store_url="memory:///"))
    made._open = True

    async def reach():
        connecting.set()
        await go_on.wait()
        return "a client"

    async def stop(client):
        stopped.append(client)

    monkeypatch.setattr(made, "_reach", reach)
    monkeypatch.setattr(publisher, "_stop", stop)
    publishing = asyncio.create_task(made.publish([]))
    await connecting.wait()
    await made.close()
    go_on.set()
    with pytest.raises(QueueError, match="closed"):
        await publishing
    assert stopped == ["a client"]
