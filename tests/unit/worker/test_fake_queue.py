"""The queue in memory: what the conformance suite cannot ask of a real one, its faults."""

import asyncio

import pytest

from backburner.publishers.base import Message, PublishFailed
from backburner_schemas import codec
from backburner_schemas.envelope import DeliveryFacts, Envelope
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.fake.source import FakePublisher, FakeQueue, FakeSource

ALL = dict.fromkeys(Lane, 100)


def envelope(index: int = 0) -> Envelope:
    return Envelope(
        tenant="t", job="batch_1", index=index, custom_id="c", url="/v1/completions", body={"model": "m", "prompt": "p"}
    )


def message(index: int = 0, lane: Lane = Lane.NORMAL, **facts: object) -> Message:
    return Message("fake", lane, envelope(index), DeliveryFacts(**facts))


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


async def opened(queue: FakeQueue) -> FakePublisher:
    publisher = queue.publisher()
    await publisher.start()
    return publisher


async def pulled(source: FakeSource) -> list[Delivery]:
    async with asyncio.timeout(60):
        while True:
            if found := await source.pull(ALL):
                return found


async def test_what_is_published_comes_as_a_broker_would_give_it(queue: FakeQueue) -> None:
    publisher, source = await opened(queue), queue.source()
    await publisher.publish([message(1, Lane.RETRY, attempt=3, suspect=True, traceparent="tp")])
    [delivery] = await pulled(source)
    assert delivery.message == envelope(1)
    assert delivery.raw == codec.encode(envelope(1))
    assert delivery.lane is Lane.RETRY
    assert delivery.facts == DeliveryFacts(attempt=3, suspect=True, traceparent="tp")
    assert not delivery.redelivered
    await source.settle(delivery)
    assert queue.settled == [delivery]
    assert queue.unsettled == 0


async def test_a_message_is_with_one_source_at_a_time_and_with_another_when_that_closes(queue: FakeQueue) -> None:
    first, second = queue.source(), queue.source()
    queue.send(codec.encode(envelope()))
    [delivery] = await pulled(first)
    assert await second.pull(ALL) == []
    assert (first.uncommitted(), second.uncommitted()) == (1, 0)
    assert (first.lag()[Lane.NORMAL], second.lag()[Lane.NORMAL]) == (1, 0)
    await first.close()
    assert delivery.lease.lost
    [again] = await pulled(second)
    assert again.redelivered
    await first.settle(delivery)
    assert queue.unsettled == 1


async def test_a_message_that_was_given_three_times_is_a_suspect_where_that_was_asked_for() -> None:
    queue = FakeQueue(suspect_receives=3)
    source = queue.source()
    queue.send(codec.encode(envelope()), Lane.RETRY, (("not_before", b"1"),))
    suspects = []
    for _ in range(3):
        [delivery] = await pulled(source)
        suspects.append(delivery.facts.suspect)
        queue.lose(delivery)
    assert suspects == [False, False, True]
    assert delivery.facts.not_before is None


async def test_what_is_not_due_is_not_given_and_comes_by_itself(queue: FakeQueue) -> None:
    publisher, source = await opened(queue), queue.source()
    await publisher.publish(
        [message(number, Lane.RETRY, not_before=queue.now() + wait) for number, wait in enumerate([0.05, 50])]
    )
    assert queue.delayed == 2
    assert source.lag()[Lane.RETRY] == 2
    [first] = await pulled(source)
    assert first.message.index == 0
    queue.advance(51)
    [second] = await pulled(source)
    assert second.message.index == 1


async def test_publishes_fail_as_asked(queue: FakeQueue) -> None:
    publisher = await opened(queue)
    queue.fail_publishes(1)
    with pytest.raises(PublishFailed) as caught:
        await publisher.publish([message(0), message(1)])
    assert caught.value.failed == (0, 1)
    queue.fail_publishes(1, in_doubt=True)
    with pytest.raises(PublishFailed):
        await publisher.publish([message(2)])
    queue.refuse(lambda one: one.envelope.index == 3)
    with pytest.raises(PublishFailed) as caught:
        await publisher.publish([message(3), message(4)])
    assert caught.value.failed == (0,)
    assert [one.envelope.index for one in queue.published] == [2, 4]


async def test_what_is_too_large_is_not_taken() -> None:
    queue = FakeQueue(max_bytes=10)
    with pytest.raises(PublishFailed):
        await (await opened(queue)).publish([message()])
    assert queue.unsettled == 0


async def test_an_outage_gives_and_takes_nothing_and_ends(queue: FakeQueue) -> None:
    publisher, source = await opened(queue), queue.source()
    queue.send(codec.encode(envelope(0)))
    queue.send(codec.encode(envelope(1)))
    [held] = await source.pull({Lane.NORMAL: 1})
    queue.outage("away")
    assert source.unavailable_reason() == "away"
    assert await source.pull(ALL) == []
    with pytest.raises(QueueError):
        await publisher.publish([message()])
    with pytest.raises(QueueError):
        await queue.publisher().start()
    await source.settle(held)
    assert queue.unsettled == 2
    queue.outage(None)
    assert queue.settled == [held]
    assert len(await pulled(source)) == 1
    assert source.unavailable_reason() is None


async def test_what_was_settled_in_an_outage_is_given_again_if_its_source_closed_before_the_end(
    queue: FakeQueue,
) -> None:
    source = queue.source()
    queue.send(codec.encode(envelope()))
    [held] = await pulled(source)
    queue.outage("away")
    await source.settle(held)
    await source.close()
    queue.outage(None)
    assert queue.settled == []
    assert len(await pulled(queue.source())) == 1


async def test_a_closed_publisher_takes_nothing(queue: FakeQueue) -> None:
    publisher = await opened(queue)
    await publisher.close()
    with pytest.raises(QueueError):
        await publisher.publish([message()])
