"""What a source promises, on real brokers."""

import asyncio
import time

import pytest
from aiokafka import TopicPartition

from backburner.publishers.kafka import KafkaPublisher
from backburner_schemas import routing
from backburner_schemas.codec import Refused, Rules, Unaddressed
from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane

pytestmark = pytest.mark.broker

TOLERANT = 60.0


async def test_every_message_comes_once(pool):
    await pool.publish(300)
    source = await pool.member()
    found = await pool.pull(source, 300)
    assert sorted(one.message.index for one in found) == list(range(300))
    assert await source.pull(dict.fromkeys(Lane, 10)) == []


async def test_a_delivery_says_where_it_came_from(pool):
    offset = await pool.send(b"raw", lane=Lane.LOW, partition=2)
    source = await pool.member()
    (found,) = await pool.pull(source, 1)
    assert found.lane is Lane.LOW
    assert found.origin.queue == routing.topic(pool.settings.prefix, pool.name, Lane.LOW)
    assert found.origin.position == f"2-{offset}"
    assert abs(found.origin.timestamp - time.time()) < 600
    assert found.raw == b"raw"


async def test_the_budget_of_each_lane_is_kept(pool):
    await pool.publish(20, lane=Lane.HIGH)
    await pool.publish(20, lane=Lane.LOW)
    source = await pool.member()
    budget = {Lane.HIGH: 5, Lane.NORMAL: 0, Lane.LOW: 3, Lane.RETRY: 0}
    assert {one.lane for one in await pool.pull(source, 8, budget)} <= {Lane.HIGH, Lane.LOW}
    batch = await source.pull({Lane.HIGH: 5})
    assert [one.lane for one in batch] == [Lane.HIGH] * len(batch)
    assert len(batch) <= 5


async def test_a_lane_without_a_budget_is_held_back_and_comes_later(pool):
    await pool.publish(5, lane=Lane.LOW)
    await pool.publish(5, lane=Lane.HIGH)
    source = await pool.member()
    assert {one.lane for one in await pool.pull(source, 5, {Lane.HIGH: 100})} == {Lane.HIGH}
    assert await source.pull({Lane.HIGH: 100}) == []
    assert len(await pool.pull(source, 5, {Lane.LOW: 100})) == 5


async def test_messages_that_cannot_be_run_come_out_judged(pool):
    envelope = b'"job": "j", "index": 1, "custom_id": "c", "url": "/v1/completions", "body": {"model": "m"}'
    await pool.send(None)
    await pool.send(b"\xff not json")
    await pool.send(b'{"v": 99, "tenant": "t", ' + envelope + b"}")
    await pool.send(b'{"v": 1, "tenant": "../up", ' + envelope + b"}")
    await pool.send(b'{"v": 1, "tenant": "stranger", ' + envelope + b"}")
    await pool.send(b'{"v": 1, "tenant": "t", ' + envelope + b"}")
    await pool.send(b'{"custom_id": "c", "url": "/v1/nowhere", "body": {}}')
    await pool.send(b"{}", headers=[("attempt", b"many"), ("not_before", b"\xff")])
    source = await pool.member(rules=Rules(tenants_allowed=frozenset({"t"})))
    found = await pool.pull(source, 8)
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


async def test_a_record_that_the_client_library_cannot_decode_stops_nobody(pool):
    await pool.send(b"before", partition=1)
    await pool.send(b"elsewhere", partition=0)
    await pool.send_with_bad_header(partition=1)
    await pool.send(b"after", partition=1)
    source = await pool.member()
    found = await pool.pull(source, 4)
    assert sorted(one.raw for one in found) == [b"", b"after", b"before", b"elsewhere"]
    assert all(isinstance(one.message, Unaddressed) for one in found)
    for one in found:
        await source.settle(one)
    await source.close()
    assert sum((await pool.committed()).values()) == 4


async def test_a_large_record_comes_through(pool):
    await pool.send(b"x" * 7_000_000)
    await pool.publish(3)
    source = await pool.member()
    assert max(len(one.raw) for one in await pool.pull(source, 4)) == 7_000_000


async def test_what_was_settled_is_committed_and_not_given_again(pool):
    await pool.publish(50)
    first = await pool.member()
    for one in await pool.pull(first, 50):
        await first.settle(one)
    await first.close()
    assert sum((await pool.committed()).values()) == 50
    await pool.publish(1, first=50)
    second = await pool.member()
    assert [one.message.index for one in await pool.pull(second, 1)] == [50]


async def test_settled_work_is_committed_while_the_source_goes_on(pool):
    await pool.publish(10)
    source = await pool.member()
    for one in await pool.pull(source, 10):
        await source.settle(one)
    async with asyncio.timeout(TOLERANT):
        while sum((await pool.committed()).values()) < 10:
            assert await source.pull({Lane.NORMAL: 1}) == []


async def test_only_what_lies_below_everything_unsettled_is_committed(pool):
    for number in range(6):
        await pool.send(b"%d" % number, partition=0)
    first = await pool.member()
    found = await pool.pull(first, 6)
    for one in found:
        if one.raw not in {b"2", b"4"}:
            await first.settle(one)
    await first.close()
    assert sum((await pool.committed()).values()) == 2


async def test_closing_loses_the_leases_of_what_is_not_settled(pool):
    await pool.publish(2)
    source = await pool.member()
    settled, held = await pool.pull(source, 2)
    lost = asyncio.Event()
    held.lease.on_lost(lost.set)
    await source.settle(settled)
    await source.close()
    assert lost.is_set()
    await source.settle(held)  # void, and no error
    await source.close()
    with pytest.raises(QueueError):
        await source.pull({Lane.NORMAL: 1})


async def test_a_cancelled_pull_loses_nothing(pool):
    source = await pool.member()
    pulling = asyncio.create_task(source.pull({Lane.NORMAL: 100}))
    await asyncio.sleep(0)
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    await pool.publish(40)
    found = []
    async with asyncio.timeout(TOLERANT):
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
    assert sorted(one.message.index for one in found) == list(range(40))


async def test_a_stopped_source_gives_nothing_but_takes_settles(pool):
    await pool.publish(10)
    source = await pool.member()
    (held,) = await pool.pull(source, 1, {Lane.NORMAL: 1})
    await source.stop()
    assert await source.pull({Lane.NORMAL: 100}) == []
    assert not held.lease.lost
    await source.settle(held)
    await source.close()
    assert sum((await pool.committed()).values()) == 1


async def test_a_retry_is_held_until_it_is_due_and_others_are_not(pool):
    due = time.time() + 4.0
    await pool.send(b"later", lane=Lane.RETRY, partition=0, headers=[("not_before", repr(due).encode())])
    await pool.send(b"behind", lane=Lane.RETRY, partition=0)
    await pool.send(b"now", lane=Lane.RETRY, partition=1)
    source = await pool.member()
    found = await pool.pull(source, 1)
    assert [one.raw for one in found] == [b"now"]
    found = await pool.pull(source, 2)
    assert time.time() >= due
    assert [one.raw for one in found] == [b"later", b"behind"]


async def test_lag_counts_what_is_not_settled(pool):
    await pool.publish(30)
    source = await pool.member()
    found = await pool.pull(source, 30)
    assert source.lag()[Lane.NORMAL] == 30
    for one in found:
        await source.settle(one)
    assert source.lag() == dict.fromkeys(Lane, 0)


async def test_more_than_one_buffer_of_messages_flows_through_while_pulling_is_slow(pool):
    body = {"model": "fake", "prompt": "x" * 200_000}
    publisher = KafkaPublisher(pool.settings)
    await publisher.start()
    for block in range(4):
        await publisher.publish(
            [
                type(pool.message(0))(
                    "fake",
                    Lane.NORMAL,
                    Envelope(
                        tenant="t",
                        job="j",
                        index=(block * 50 + number) * 64,
                        custom_id="c",
                        url="/v1/completions",
                        body=body,
                    ),
                )
                for number in range(50)
            ]
        )
    await publisher.close()
    source = await pool.member()
    found = await pool.pull(source, 200, {Lane.NORMAL: 7})
    assert len({one.message.index for one in found}) == 200


def test_partitions_are_named_as_the_client_library_does():
    assert TopicPartition("t", 1) == ("t", 1)
    assert hash(TopicPartition("t", 1)) == hash(("t", 1))
