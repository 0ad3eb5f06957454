"""A source whose broker is wrong, refuses, goes away or comes back: real brokers."""

import asyncio

import pytest

from backburner.publishers.kafka.publisher import KafkaPublisher
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane

pytestmark = pytest.mark.broker

TOLERANT = 60.0


@pytest.mark.needs("session limits")
async def test_a_session_that_the_broker_does_not_allow_is_an_error_that_names_the_setting(whole_pool):
    source = await whole_pool.member(session=1.0)
    with pytest.raises(QueueError, match="BACKBURNER_KAFKA_SESSION_SECONDS"):
        await whole_pool.pull(source, 1)


async def test_a_restart_of_the_broker_is_ridden_out(spare_apache, spare_pool):
    pool = spare_pool
    publisher = KafkaPublisher(pool.settings)
    await publisher.start()
    await publisher.publish([pool.message(index) for index in range(20)])
    source = await pool.member()
    found = await pool.pull(source, 10)
    await asyncio.to_thread(spare_apache.stop)
    for one in found:
        await source.settle(one)
    assert await source.pull({}) == []
    spare_apache.start()
    await publisher.publish([pool.message(index) for index in range(20, 40)])
    await publisher.close()
    seen = {one.message.index for one in found}
    async with asyncio.timeout(TOLERANT):
        # What was settled while nobody was there is committed when the broker is back.
        while len(seen) < 40 or sum((await pool.committed()).values()) < 40:
            for one in await source.pull({Lane.NORMAL: 100}):
                seen.add(one.message.index)
                await source.settle(one)
    assert seen == set(range(40))


async def until_trouble(source, *, is_there: bool) -> str | None:
    async with asyncio.timeout(TOLERANT):
        while (source.unavailable_reason() is not None) is not is_there:
            await source.pull({Lane.NORMAL: 1})
    return source.unavailable_reason()


@pytest.mark.parametrize("how", ["gone", "silent"])
async def test_a_broker_that_does_not_answer_is_told_until_it_does_again(spare_apache, spare_pool, how):
    pool = spare_pool
    source = await pool.member()
    assert await source.pull({Lane.NORMAL: 1}) == []
    assert source.unavailable_reason() is None
    if how == "gone":
        await asyncio.to_thread(spare_apache.stop)
        assert "not answered" in await until_trouble(source, is_there=True)
        spare_apache.start()
    else:
        with spare_apache.paused():
            assert "not answered" in await until_trouble(source, is_there=True)
    await until_trouble(source, is_there=False)
    await pool.publish(1)
    assert len(await pool.pull(source, 1)) == 1
    await source.close()
    assert source.unavailable_reason() is None


async def test_a_group_that_gives_no_share_is_told(whole_pool, monkeypatch):
    source = whole_pool.source()
    monkeypatch.setattr(source, "on_partitions_assigned", lambda _: None)
    monkeypatch.setattr(source._availability, "_patience_seconds", 1.0)
    await source.start(nothing)
    assert "no share" in await until_trouble(source, is_there=True)


async def test_a_rebalance_that_takes_long_is_no_outage(whole_pool):
    """The group waits for its slowest member, and lets nobody ask for offsets meanwhile."""
    pool = whole_pool
    letting_go, go = asyncio.Event(), asyncio.Event()

    async def revoked() -> None:
        letting_go.set()
        await go.wait()

    first = await pool.member(revoked)
    await pool.publish(64 * 20)
    await pool.pull(first, 1, {Lane.NORMAL: 1})
    second = await pool.member()
    await letting_go.wait()
    reasons = set()
    for _ in range(8):  # Seconds: longer than a broker may be silent, shorter than the group waits.
        await asyncio.gather(first.pull({}), second.pull({Lane.NORMAL: 1}))
        reasons.update([first.unavailable_reason(), second.unavailable_reason()])
    assert reasons == {None}
    go.set()
    await pool.pull(second, 1, {Lane.NORMAL: 1})


async def nothing() -> None:
    """A revocation callback for a pipeline that holds nothing."""


async def test_closing_without_a_broker_is_bounded_and_raises_nothing(spare_apache, spare_pool):
    pool = spare_pool
    await pool.publish(5)
    source = await pool.member()
    held, *_ = await pool.pull(source, 5)
    await asyncio.to_thread(spare_apache.stop)
    await source.close()
    assert held.lease.lost


@pytest.mark.needs("static membership")
async def test_a_static_member_that_returns_takes_its_partitions_without_a_rebalance(whole_pool):
    pool = whole_pool
    calls = 0

    async def revoked() -> None:
        nonlocal calls
        calls += 1

    await pool.publish(64 * 20)
    other = await pool.member(revoked, instance_id="other")
    first = await pool.member(instance_id="first")
    await settle_some(pool, first, other)
    before = calls
    await first.close()
    again = await pool.member(instance_id="first")
    await pool.publish(64 * 20, first=64 * 20)
    await settle_some(pool, again, other)
    assert calls == before


async def settle_some(pool, *sources) -> None:
    """Wait until each of them has had a delivery."""

    async def one(source) -> None:
        for found in await pool.pull(source, 1, {Lane.NORMAL: 1}):
            await source.settle(found)

    await asyncio.gather(*(one(source) for source in sources))
