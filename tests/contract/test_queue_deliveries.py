"""What a source gives: each message once, judged, with its facts, and no more than was asked for. On every queue."""

import asyncio
import time

import pytest
from waiting import PATIENCE, until

from backburner_schemas.codec import Refused, Unaddressed
from backburner_schemas.envelope import MAX_ATTEMPTS, DeliveryFacts, Envelope
from backburner_schemas.names import Lane

pytestmark = pytest.mark.broker

ALL = dict.fromkeys(Lane, 100)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_every_message_comes_once(harness):
    wanted = await harness.publish(120)
    wanted |= await harness.publish(5, lane=Lane.LOW, first=1000)
    source = await harness.member()
    found = await harness.pull(source, 125)
    assert sorted(one.message.index for one in found) == sorted(wanted)
    assert await source.pull(ALL) == []
    assert not any(one.redelivered for one in found)


async def test_a_delivery_says_where_it_came_from(harness):
    position = await harness.send(b'"raw"', lane=Lane.LOW)
    source = await harness.member()
    (found,) = await harness.pull(source, 1)
    assert found.lane is Lane.LOW
    assert found.origin.queue.endswith("low")
    assert found.origin.position.endswith(position)
    assert abs(found.origin.timestamp - time.time()) < 600
    assert found.raw == b'"raw"'


async def test_no_more_comes_than_the_budget_of_each_lane(harness):
    await harness.publish(8, lane=Lane.HIGH)
    await harness.publish(8, lane=Lane.LOW, first=100)
    source = await harness.member()
    found = []
    async with asyncio.timeout(PATIENCE):
        while not {one.lane for one in found} >= {Lane.HIGH, Lane.LOW}:
            batch = await source.pull({Lane.HIGH: 2, Lane.NORMAL: 0, Lane.LOW: 1, Lane.RETRY: 0})
            assert sum(one.lane is Lane.HIGH for one in batch) <= 2
            assert sum(one.lane is Lane.LOW for one in batch) <= 1
            found += batch


async def test_a_lane_without_a_budget_is_held_back_and_comes_later(harness):
    await harness.publish(5, lane=Lane.LOW)
    await harness.publish(5, lane=Lane.HIGH, first=100)
    source = await harness.member()
    assert {one.lane for one in await harness.pull(source, 5, {Lane.HIGH: 100})} == {Lane.HIGH}
    assert await source.pull({Lane.HIGH: 100}) == []
    assert {one.lane for one in await harness.pull(source, 5, {Lane.LOW: 100})} == {Lane.LOW}


async def test_messages_that_cannot_be_run_come_out_judged(harness):
    rest = b'"job": "j", "index": 1, "custom_id": "c", "url": "/v1/completions", "body": {"model": "m"}'
    await harness.send(b"{ not json")
    await harness.send(b"[1]")
    await harness.send(b'{"v": 99, "tenant": "t", ' + rest + b"}")
    await harness.send(b'{"v": 1, "tenant": "../up", ' + rest + b"}")
    await harness.send(b'{"v": 1, "tenant": "stranger", ' + rest + b"}")
    await harness.send(b'{"v": 1, "tenant": "t", ' + rest + b"}")
    await harness.send(b'{"custom_id": "c", "url": "/v1/nowhere", "body": {}}')
    await harness.send(b"{}")
    source = await harness.member(allowed_tenants="t")
    found = await harness.pull(source, 8)
    codes = sorted(
        (type(one.message).__name__, one.message.error.code)
        for one in found
        if isinstance(one.message, (Refused, Unaddressed))
    )
    assert codes == [
        ("Refused", "invalid_request"),
        ("Refused", "invalid_request"),
        ("Refused", "unknown_endpoint"),
        ("Unaddressed", "tenant_not_allowed"),
        ("Unaddressed", "unaddressable"),
        ("Unaddressed", "unaddressable"),
        ("Unaddressed", "unaddressable"),
        ("Unaddressed", "unsupported_version"),
    ]
    await harness.settle(source, found)
    await harness.owes(0)


@pytest.mark.needs("raw bytes")
async def test_bytes_that_are_no_text_come_out_judged(harness):
    junk = [b"\xff\xfe not utf-8", bytes(range(256)), b"\x00" * 64]
    for value in [None, b"", *junk]:
        await harness.send(value)
    source = await harness.member()
    found = await harness.pull(source, 5)
    assert all(isinstance(one.message, Unaddressed) for one in found)
    assert sorted(one.raw for one in found) == sorted([b"", b"", *junk])


async def test_facts_come_as_they_were_published(harness):
    wanted = {
        0: DeliveryFacts(),
        64: DeliveryFacts(attempt=3, traceparent=TRACE, failed_at=("gpu%20a/3f9a1c20be", "b/")),
        128: DeliveryFacts(attempt=2, suspect=True, among=32),
        192: DeliveryFacts(attempt=4, not_before=time.time() - 1.5),
    }
    publisher = await harness.started_publisher()
    await publisher.publish([harness.message(index, lane=Lane.RETRY, facts=facts) for index, facts in wanted.items()])
    source = await harness.member()
    found = await harness.pull(source, 4)
    assert {one.message.index: one.facts for one in found} == wanted


async def test_facts_are_cut_to_their_bounds(harness):
    async def send(value: bytes, **headers: bytes) -> None:
        await harness.send(value, headers=[*headers.items()], lane=Lane.RETRY)

    await send(b"1", attempt=b"1000000")
    await send(b"2", attempt=b"-7", traceparent=b"t" * 300)
    await send(b"3", attempt=b"many", not_before=b"soon", suspect=b"yes")
    await send(b"4", attempt=b"nan", not_before=b"-inf", unknown=b"x")
    await send(b"5", suspect=b"1", not_before=b"-99999999999")
    source = await harness.member()
    facts = {one.raw: one.facts for one in await harness.pull(source, 5)}
    assert facts == {
        b"1": DeliveryFacts(attempt=MAX_ATTEMPTS),
        b"2": DeliveryFacts(),
        b"3": DeliveryFacts(),
        b"4": DeliveryFacts(),
        b"5": DeliveryFacts(suspect=True, not_before=-99999999999.0),
    }


async def test_what_a_sender_claims_of_its_own_message_is_believed_only_on_retry(harness):
    claims = {"attempt": b"9", "suspect": b"1", "not_before": b"99999999999", "failed_at": b"a/1"}
    await harness.send(b"1", headers=[*claims.items(), ("traceparent", TRACE.encode())])
    source = await harness.member()
    (found,) = await harness.pull(source, 1)
    assert found.facts == DeliveryFacts(traceparent=TRACE)


async def test_a_cancelled_pull_loses_nothing(harness):
    source = await harness.member()
    pulling = asyncio.create_task(source.pull(ALL))
    await asyncio.sleep(0)
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    wanted = await harness.publish(40)
    found = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < 40:
            pulling = asyncio.create_task(source.pull({Lane.NORMAL: 3}))
            await asyncio.sleep(0.001 * (len(found) % 3))
            if not pulling.cancel():
                found += pulling.result()
                continue
            try:
                found += await pulling
            except asyncio.CancelledError:
                found += await source.pull({Lane.NORMAL: 3})
    assert sorted(one.message.index for one in found) == sorted(wanted)


async def test_a_stopped_source_gives_nothing_but_takes_settles(harness):
    await harness.publish(10)
    source = await harness.member()
    (held,) = await harness.pull(source, 1, {Lane.NORMAL: 1})
    await source.stop()
    assert await source.pull({Lane.NORMAL: 100}) == []
    assert not held.lease.lost
    await source.settle(held)
    await source.close()
    await harness.owes(9)


async def test_lag_counts_what_is_not_settled(harness):
    await harness.publish(30)
    source = await harness.member()
    found = await harness.pull(source, 30)
    await until(lambda: source.lag().get(Lane.NORMAL) == 30, "a lag of 30")
    await harness.settle(source, found)
    await until(lambda: not any(source.lag().values()), "no lag")


async def test_a_source_tells_how_much_it_holds_that_is_not_ended(harness):
    await harness.publish(6)
    source = await harness.member()
    found = await harness.pull(source, 6)
    assert source.uncommitted() == 6
    assert source.unavailable_reason() is None
    await harness.settle(source, found)
    await until(lambda: source.uncommitted() == 0, "everything has ended on the queue")
    await harness.owes(0)


async def test_text_of_every_script_comes_through(harness):
    prompt = "naïve \u4e16\u754c \U0001f525 \u202e \x00\x1f\x7f \ud7ff\ufffd \\u0000 "
    await harness.publish(1, prompt=prompt)
    source = await harness.member()
    (found,) = await harness.pull(source, 1)
    assert isinstance(found.message, Envelope)
    assert found.message.body["messages"][0]["content"] == f"{prompt} 0"
