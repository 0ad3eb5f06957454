"""Sending a job's batches: what the broker has is known as soon as it has it."""

import asyncio

import pytest

from backburner.publishers.base import Message, PublishFailed
from backburner.settings import Settings
from backburner.storage import Storage
from backburner.submission.sender import Sender, publish
from backburner_schemas import keys
from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import MessageTooLarge
from backburner_schemas.job import Prefix
from backburner_schemas.names import Lane
from backburner_schemas.request import Endpoint
from backburner_worker.sources.fake.source import FakeQueue


async def nothing():
    pass


async def turn():
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_was_acknowledged_counts_though_nothing_is_sent_after_it():
    sender = Sender(Prefix(5, "start"))
    await sender.send(nothing, Prefix(7, "one"))
    await sender.send(nothing, Prefix(9, "two"))
    await turn()
    assert sender.acknowledged == Prefix(9, "two")
    await sender.close()


async def test_a_gap_ends_the_prefix_that_the_broker_has():
    sender = Sender(Prefix())
    await sender.send(nothing, Prefix(1))
    await sender.send(asyncio.Event().wait, Prefix(2))
    await sender.send(nothing, Prefix(3))
    await turn()
    assert sender.acknowledged == Prefix(1)
    await sender.close()


async def test_a_batch_that_failed_ends_it_too_and_is_told_by_the_next_call():
    async def fails():
        raise PublishFailed([0], "away")

    sender = Sender(Prefix())
    await sender.send(nothing, Prefix(1))
    await sender.send(fails, Prefix(2))
    await turn()
    assert sender.acknowledged == Prefix(1)
    with pytest.raises(PublishFailed):
        await sender.drain()
    await sender.close()


@pytest.fixture
def storage():
    return Storage.open(Settings.load(store_url="memory:///"))


def large(index, characters):
    body = {"model": "m", "prompt": "x" * characters}
    return Message(
        "fake", Lane.LOW, Envelope(**ADDRESS, index=index, custom_id="c", url=Endpoint.COMPLETIONS, body=body)
    )


ADDRESS = {"tenant": "t", "job": "j"}


async def test_what_is_too_large_for_its_topic_is_sent_again_with_its_body_stored(storage):
    queue = FakeQueue(max_bytes=1_000)
    publisher = queue.publisher()
    await publisher.start()
    await publish(publisher, storage, [large(0, 10), large(1, 5_000), large(2, 10)])
    sent = {message.envelope.index: message.envelope.body_ref for message in queue.published}
    assert sent == {0: None, 1: keys.body("t", "j", 1), 2: None}
    assert {message.lane for message in queue.published} == {Lane.LOW}
    assert await storage.get(keys.body("t", "j", 1)) is not None


async def test_what_is_too_large_even_so_is_told_at_once_with_its_remedy(storage):
    publisher = FakeQueue(max_bytes=100).publisher()
    await publisher.start()
    with pytest.raises(MessageTooLarge, match=r"max\.message\.bytes"):
        await publish(publisher, storage, [large(0, 5_000)])
