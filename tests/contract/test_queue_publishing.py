"""What a publisher promises: everything is on the queue when it returns, and what is not is named. On every queue."""

import asyncio

import pytest
from waiting import until

from backburner.local.programs.ports import PortLeases
from backburner.publishers import ensure_topics, open_publisher
from backburner.publishers.base import Message, PublishFailed
from backburner.publishers.kafka import metadata
from backburner.submission.envelopes import Envelopes
from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import QueueError
from backburner_schemas.job import JobManifest
from backburner_schemas.names import Lane
from backburner_worker.sources.factory import check_source, open_source

pytestmark = pytest.mark.broker

ALL = dict.fromkeys(Lane, 100)


async def test_what_was_published_comes_as_it_was(harness):
    envelope = Envelope(
        tenant="t",
        job="job",
        index="a-string",
        custom_id="é/\U0001f525",
        url="/v1/completions",
        body={"model": "fake", "prompt": "x", "extra": [1, None, {"deep": 1.5}]},
        deadline=2_000_000_000.25,
        answer="object",
        enqueued_at=1.5,
    )
    publisher = await harness.started_publisher()
    await publisher.publish([Message(harness.name, Lane.HIGH, envelope)])
    source = await harness.member()
    (found,) = await harness.pull(source, 1)
    assert found.message == envelope
    assert found.lane is Lane.HIGH


async def test_everything_is_on_the_queue_when_it_returns(harness):
    publisher = await harness.started_publisher()
    await publisher.publish(
        [harness.message(index, lane=lane) for index in range(25) for lane in (Lane.LOW, Lane.HIGH)]
    )
    await until_left(harness, 50)


async def test_groups_arrive_whole_on_every_queue(harness):
    manifest = JobManifest(id="job", tenant="t", created_at=1.0, deadline=2e9)
    line = b'"custom_id":"c%d","url":"/v1/completions","body":{"model":"fake","prompt":"x"}'
    members = [line % number for number in range(30)]
    publisher = await harness.started_publisher()
    order = [*range(29, -1, -1)]
    groups = [place // 7 for place in range(30)]
    await publisher.publish(Envelopes(manifest).grouped(members, order, groups, harness.name, 1.0))
    source = await harness.member()
    found = await harness.pull(source, 30)
    indexes = sorted((one.message.index, one.message.custom_id) for one in found)
    assert indexes == [(index, f"c{29 - index}") for index in range(30)]


async def test_publishing_nothing_is_nothing(harness):
    publisher = await harness.started_publisher()
    await publisher.publish([])
    assert await harness.left() == 0


async def test_many_can_publish_at_once(harness):
    publisher = await harness.started_publisher()
    calls = [[harness.message(100 * caller + number) for number in range(1 + caller % 12)] for caller in range(20)]
    await asyncio.gather(*(publisher.publish(messages) for messages in calls))
    wanted = sorted(message.envelope.index for messages in calls for message in messages)
    source = await harness.member()
    found = await harness.pull(source, len(wanted))
    assert sorted(one.message.index for one in found) == wanted


@pytest.mark.needs("size limit")
async def test_what_is_too_large_is_named_and_the_others_are_sent(harness):
    publisher = await harness.started_publisher()
    large = harness.message(1, prompt="x" * (harness.limit + 4096))
    messages = [harness.message(0), large, *(harness.message(index) for index in range(2, 15)), large]
    with pytest.raises(PublishFailed) as caught:
        await publisher.publish(messages)
    assert caught.value.failed == (1, 15)
    assert caught.value.too_large == {1, 15}
    await publisher.publish([harness.message(100)])
    source = await harness.member()
    found = await harness.pull(source, 15)
    assert {one.message.index for one in found} == {0, *range(2, 15), 100}


async def test_a_message_at_the_limit_gets_through(harness):
    publisher = await harness.started_publisher()
    at_most = harness.largest_body - 400
    await publisher.publish([harness.message(0), harness.message(1, prompt="x" * at_most), harness.message(2)])
    source = await harness.member()
    found = await harness.pull(source, 3)
    assert max(len(one.raw) for one in found) > at_most
    assert all(isinstance(one.message, Envelope) for one in found)


@pytest.mark.needs("a server")
async def test_a_pool_that_was_not_made_is_refused_and_not_made(harness, monkeypatch):
    monkeypatch.setattr(metadata, "TOPIC_SECONDS", 1.0)  # It is looked for three times.
    before = await harness.names()
    publisher = await harness.started_publisher()
    message = harness.message(0)
    with pytest.raises(QueueError, match="topics ensure"):
        await publisher.publish([Message("other", Lane.NORMAL, message.envelope)])
    await publisher.publish([message])
    source = open_source(harness.settings, harness.settings.source_options, pool="other", worker="test")
    with pytest.raises(QueueError, match="topics ensure"):
        await source.start(_nothing)
    await source.close()
    with pytest.raises(QueueError, match="topics ensure"):
        await check_source(harness.settings, "other")
    assert await harness.names() == before


@pytest.mark.needs("a server")
async def test_a_pool_that_was_made_passes_the_check_of_a_cold_worker(harness):
    before = await harness.names()
    await check_source(harness.settings, harness.name)
    assert await harness.names() == before


@pytest.mark.needs("a server")
async def test_making_a_pool_again_changes_nothing(harness):
    before = await harness.names()
    assert len(before) == len(Lane)
    assert set(await ensure_topics(harness.settings, harness.name)) == before
    assert await harness.names() == before


@pytest.mark.needs("a server")
async def test_no_server_is_an_error_that_names_the_setting(harness):
    with PortLeases() as leases:
        nowhere = harness.settings.model_copy(update={"queue_url": harness.url_at(leases.take())})
        publisher = open_publisher(nowhere)
        with pytest.raises(QueueError, match="BACKBURNER_QUEUE_URL"):
            await _start_and_publish(publisher, harness.message(0))
        await publisher.close()
        source = open_source(nowhere, nowhere.source_options, pool=harness.name, worker="test")
        with pytest.raises(QueueError, match="BACKBURNER_QUEUE_URL"):
            await source.start(_nothing)
        await source.close()
        with pytest.raises(QueueError, match="BACKBURNER_QUEUE_URL"):
            await ensure_topics(nowhere, harness.name)


async def test_a_publisher_that_is_not_open_says_so(harness):
    publisher = harness.publisher()
    with pytest.raises(QueueError, match="start it"):
        await publisher.publish([harness.message(0)])
    await publisher.start()
    await publisher.publish([harness.message(0)])
    await publisher.close()
    await publisher.close()
    with pytest.raises(QueueError, match="start it"):
        await publisher.publish([harness.message(0)])
    await until_left(harness, 1)


async def _start_and_publish(publisher, message):
    # Where nothing is connected, it is the first message that finds out.
    await publisher.start()
    await publisher.publish([message])


async def _nothing():
    """A revocation callback."""


async def until_left(harness, count):
    async def reached():
        return await harness.left() == count

    await until(reached, f"{count} messages on the queue")
