"""What is Kafka's own in a source: partitions, offsets, records that other clients write."""

import time

import pytest
from aiokafka import TopicPartition

from backburner.publishers.kafka.publisher import KafkaPublisher
from backburner_schemas.envelope import Envelope
from backburner_schemas.names import Lane

pytestmark = pytest.mark.broker


async def test_a_header_that_the_client_library_cannot_decode_costs_no_record_of_its_batch(pool):
    await pool.send(b"before", partition=1)
    await pool.send(b"elsewhere", partition=0)
    await pool.send_around_a_bad_header(b"bad", b"beside", b"last", partition=1)
    await pool.send(b"after", partition=1)
    source = await pool.member()
    found = await pool.pull(source, 6)
    assert sorted(one.raw for one in found) == [b"after", b"bad", b"before", b"beside", b"elsewhere", b"last"]
    for one in found:
        await source.settle(one)
    await source.close()
    assert sum((await pool.committed()).values()) == 6


async def test_a_large_record_comes_through(pool):
    await pool.send(b"x" * 7_000_000)
    await pool.publish(3)
    source = await pool.member()
    assert max(len(one.raw) for one in await pool.pull(source, 4)) == 7_000_000


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


async def test_a_retry_holds_up_its_own_partition_alone(pool):
    source = await pool.member()
    await pool.send(b"first", partition=2)
    await pool.pull(source, 1)  # It has joined: from here on nothing that takes long is in between.

    async def retry(value: bytes, partition: int, seconds: float | None = None) -> float:
        due = time.time() + (seconds or 0.0)
        headers = [] if seconds is None else [("not_before", repr(due).encode())]
        await pool.send(value, lane=Lane.RETRY, partition=partition, headers=headers)
        return due

    await retry(b"much later", 0, seconds=50.0)
    await retry(b"behind that", 0)
    due = await retry(b"later", 1, seconds=1.0)
    await retry(b"behind it", 1)
    await retry(b"now", 3)
    found = await pool.pull(source, 3)
    assert time.time() >= due
    assert sorted(one.raw for one in found) == [b"behind it", b"later", b"now"]
    assert [one.raw for one in found if one.raw != b"now"] == [b"later", b"behind it"]
    assert await source.pull({Lane.RETRY: 10}) == []


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
