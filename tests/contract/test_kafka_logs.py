"""What brokers do to logs: made anew, cut off, shortened by retention, with transactions, with more partitions."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete
from waiting import until

from apache_kafka import segments
from backburner_schemas import routing
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, ReadsLogs, Source

pytestmark = pytest.mark.broker

LINE = b'{"custom_id": "c", "method": "POST", "url": "/v1/completions", "body": {"model": "fake", "prompt": "x"}}'


@pytest.fixture
async def pool(kafka_pool):
    return await kafka_pool("kafka-apache")


async def send(pool, count: int, first: int = 0, partition: int = 0) -> set[bytes]:
    """That many messages on one partition."""
    sent = [b"%d" % number for number in range(first, first + count)]
    async with AIOKafkaProducer(**pool.connection, acks="all") as producer:
        for value in sent:
            await producer.send_and_wait(pool.topic(), value, partition=partition)
    return set(sent)


def values(deliveries: list[Delivery]) -> list[bytes]:
    return sorted(one.raw for one in deliveries)


async def pull_settled(pool, source: Source, count: int) -> list[bytes]:
    found = await pool.pull(source, count)
    await pool.settle(source, found)
    return values(found)


async def until_committed(pool, offset: int, partition: int = 0) -> None:
    async def reached() -> bool:
        return (await pool.committed()).get((pool.topic(), partition)) == offset

    await until(reached, f"offset {offset} committed")


async def run_until_committed(pool, source: Source, offset: int, due: set[bytes]) -> set[bytes]:
    """Pull and settle, until all that is due came and so much of partition 0 is committed. Returns what came.

    What is read before the log's loss is found out loses its lease then, and comes again; it may be committed before.
    """
    ran: set[bytes] = set()

    async def reached() -> bool:
        found = await source.pull({Lane.NORMAL: 50})
        await pool.settle(source, found)
        ran.update(one.raw for one in found)
        return ran >= due and (await pool.committed()).get((pool.topic(), 0)) == offset

    await until(reached, f"{len(due)} messages, and offset {offset} committed")
    return ran


# --- topics made anew ---


async def test_a_topic_made_anew_under_a_worker_is_read_from_its_beginning(pool):
    source = await pool.member()
    await send(pool, 20)
    await pull_settled(pool, source, 20)
    await until_committed(pool, 20)
    await pool.make_anew()
    # It grows past the old one's end before the worker looks: no offset is out of range.
    sent = await send(pool, 30, first=100)
    assert await run_until_committed(pool, source, 30, sent) == sent
    assert await source.pull({Lane.NORMAL: 10}) == []


async def test_the_answers_of_a_topic_made_anew_have_addresses_of_their_own(pool):
    source = await pool.member()
    await pool.send(LINE, partition=0)
    (before,) = await pool.pull(source, 1)
    await source.settle(before)
    await until_committed(pool, 1)
    await pool.make_anew()
    await pool.send(LINE, partition=0)
    (after,) = await pool.pull(source, 1)
    assert after.address.job == before.address.job
    assert after.address.index != before.address.index
    # Whoever gets it next finds the same.
    await source.close()
    (again,) = await pool.pull(await pool.member(), 1)
    assert again.address == after.address


@pytest.mark.parametrize("offsets_stay", [False, True], ids=["offsets deleted with it", "offsets left behind"])
async def test_a_topic_made_anew_while_nobody_works_is_read_from_its_beginning(pool, offsets_stay):
    source = await pool.member()
    await send(pool, 20)
    await pull_settled(pool, source, 20)
    await source.close()
    at = TopicPartition(pool.topic(), 0)
    async with pool.admin() as admin:
        group = routing.group(pool.settings.prefix, pool.name)
        left = (await admin.list_consumer_group_offsets(group, partitions=[at]))[at]
    assert left.offset == 20
    await pool.make_anew()
    sent = await send(pool, 30, first=100)
    if offsets_stay:  # As where the group's coordinator was away when the topic was deleted.
        async with AIOKafkaConsumer(**pool.connection, group_id=group, enable_auto_commit=False) as consumer:
            consumer.assign([at])
            await consumer.commit({at: OffsetAndMetadata(left.offset, left.metadata)})
    second = await pool.member()
    assert await pull_settled(pool, second, 30) == sorted(sent)
    await until_committed(pool, 30)


# --- logs that lose their end ---


@pytest.mark.parametrize("sent_count", [3, 30], ids=["shorter than before", "grown past what was read"])
async def test_what_a_log_that_lost_its_end_has_there_now_is_run_and_nothing_else_again(
    spare_apache, spare_pool, sent_count
):
    pool = spare_pool
    source = await pool.member()
    await send(pool, 20)
    await pull_settled(pool, source, 20)
    await until_committed(pool, 20)
    await until(lambda: source._assignment.log((pool.topic(), 0)).checked == 20, "a look at the log")
    spare_apache.kill()
    segments.lose_end(spare_apache.data, pool.topic(), 0, 10)
    spare_apache.start()
    sent = await send(pool, sent_count, first=100)
    assert await run_until_committed(pool, source, 10 + sent_count, sent) == sent
    assert source.log_losses().logs_restarted == {pool.topic(): 1}


async def test_the_next_owner_of_a_log_that_lost_its_end_learns_of_it_from_the_marks(spare_apache, spare_pool):
    pool = spare_pool
    source = await pool.member()
    await send(pool, 20)
    found = await pool.pull(source, 20)
    await pool.settle(source, [one for one in found if one.raw not in {b"5", b"15"}])
    await until(lambda: source._assignment.log((pool.topic(), 0)).checked == 20, "a look at the log")
    await source.close()
    spare_apache.kill()
    segments.lose_end(spare_apache.data, pool.topic(), 0, 10)
    spare_apache.start()
    sent = await send(pool, 30, first=100)
    second = await pool.member()
    assert await pull_settled(pool, second, 31) == sorted({b"5", *sent})
    await until_committed(pool, 40)


async def test_what_is_read_while_its_log_is_found_to_have_lost_its_end_is_read_again(pool, monkeypatch):
    source = await pool.member()
    await send(pool, 20)
    await pull_settled(pool, source, 20)
    await until_committed(pool, 20)
    partition, read, cut = (pool.topic(), 0), source._reader.read, asyncio.Event()

    async def reading(wanted):
        # What is wanted was decided before the cut, and records of there come before a commit tells of it.
        if partition in wanted and not cut.is_set():
            cut.set()
            source._assignment.cut(partition, 10, source._assignment.log(partition))
            source._moved(partition)
            found = {}
            while TopicPartition(*partition) not in found:
                found = await read(wanted)
            return found
        return await read(wanted)

    monkeypatch.setattr(source._reader, "read", reading)
    due = {b"%d" % number for number in range(10, 20)}
    assert await run_until_committed(pool, source, 20, due) == due


# --- retention ---


async def test_what_retention_took_before_it_was_read_is_counted_and_reading_goes_on_behind_it(pool):
    await send(pool, 20)
    source = await pool.member()
    await pull_settled(pool, source, 5)
    await source.close()
    low = (await pool.committed())[pool.topic(), 0]
    async with pool.admin() as admin:
        await admin.delete_records({TopicPartition(pool.topic(), 0): RecordsToDelete(15)})
    second = await pool.member()
    assert await pull_settled(pool, second, 5) == [b"15", b"16", b"17", b"18", b"19"]
    await until_committed(pool, 20)
    assert isinstance(second, ReadsLogs)
    assert second.log_losses().records_lost == {pool.topic(): 15 - low}


# --- transactions ---


@contextlib.asynccontextmanager
async def transactional(pool, name: str) -> AsyncIterator[AIOKafkaProducer]:
    connection = {**pool.connection, "enable_idempotence": True}
    async with AIOKafkaProducer(**connection, transactional_id=f"{pool.settings.prefix}-{name}") as producer:
        yield producer


async def send_block(pool, producer: AIOKafkaProducer, block: int) -> set[bytes]:
    sent = {b"%d-%d" % (block, number) for number in range(10)}
    for value in sent:
        await producer.send_and_wait(pool.topic(), value, partition=0)
    return sent


async def test_what_a_producer_took_back_is_never_run_and_nothing_is_left_over(pool):
    kept = set()
    async with transactional(pool, "raw") as producer:
        for block in range(6):
            await producer.begin_transaction()
            sent = await send_block(pool, producer, block)
            if block % 2:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()
                kept |= sent
    source = await pool.member()
    assert await pull_settled(pool, source, 30) == sorted(kept)
    await pool.owes(0)
    assert await source.pull({Lane.NORMAL: 10}) == []


async def test_an_open_transaction_holds_its_partition_until_it_ends(pool):
    source = await pool.member()
    async with transactional(pool, "slow") as producer:
        await producer.begin_transaction()
        sent = await send_block(pool, producer, 0)
        sent |= await send(pool, 3)
        await pool.send(b"elsewhere", partition=1)
        (found,) = await pool.pull(source, 1)
        assert found.raw == b"elsewhere"
        await source.settle(found)
        assert await source.pull({Lane.NORMAL: 10}) == []
        await producer.commit_transaction()
    assert await pull_settled(pool, source, 13) == sorted(sent)
    await pool.owes(0)


# --- partitions and members ---


async def test_partitions_that_are_added_are_read_without_a_restart(pool):
    source = await pool.member()
    await pool.send(b"before", partition=0)
    await pull_settled(pool, source, 1)
    async with pool.admin() as admin:
        await admin.create_partitions({pool.topic(): NewPartitions(6)})

    async def sent() -> bool:
        with contextlib.suppress(AssertionError):  # The producer's broker may not know of the partition yet.
            await pool.send(b"added", partition=5)
            return True
        return False

    await until(sent)
    assert await pull_settled(pool, source, 1) == [b"added"]


async def test_of_two_workers_with_one_name_one_ends_and_names_the_setting(pool):
    first, second = await pool.member(name="same"), await pool.member(name="same")

    async def work(source: Source) -> None:
        while True:
            await pool.settle(source, await source.pull({Lane.NORMAL: 10}))

    tasks = [asyncio.create_task(work(source)) for source in (first, second)]
    try:
        ended, going = await asyncio.wait(tasks, timeout=60.0, return_when=asyncio.FIRST_COMPLETED)
        (error,) = [task.exception() for task in ended]
        assert isinstance(error, QueueError)
        assert "BACKBURNER_WORKER_ID" in str(error)
        await (first if tasks[0] in ended else second).close()
        await send(pool, 5)
        await pool.owes(0)
        assert all(not task.done() for task in going)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
