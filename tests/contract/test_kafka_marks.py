"""What a partition's next owner learns from the marks beside its offset, and what becomes of it on a broker without.

Most successors of the dead have their name here, so that they need not wait until the group has given up the dead.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from backburner.publishers.kafka.publisher import kafka_connection
from backburner_schemas import routing
from backburner_schemas.indexset import IndexSet
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, KeepsOffsetMetadata
from backburner_worker.sources.kafka.marks import Marks, decode
from backburner_worker.sources.kafka.source import KafkaSource

pytestmark = [pytest.mark.broker, pytest.mark.needs("commit metadata", "static membership")]

PATIENCE = 60.0
MEMBER = Path(__file__).parent / "programs" / "kafka_member.py"
NAME = "the-one"


@pytest.fixture
def pool(whole_pool):
    return whole_pool


async def committed(pool, partition: int = 0, lane: Lane = Lane.NORMAL) -> tuple[int, Marks]:
    """What the broker has of a partition."""
    at = TopicPartition(routing.topic(pool.settings.prefix, pool.name, lane), partition)
    admin = AIOKafkaAdminClient(**kafka_connection(pool.settings))
    await admin.start()
    try:
        group = routing.group(pool.settings.prefix, pool.name)
        found = (await admin.list_consumer_group_offsets(group, partitions=[at]))[at]
    finally:
        await admin.close()
    return found.offset, decode(found.metadata, found.offset)


async def until_committed(pool, condition: Callable[[int, Marks], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition(*await committed(pool)):  # noqa: ASYNC110 - only the broker knows
            await asyncio.sleep(0.05)


async def until_covered(source: KafkaSource, but: int) -> None:
    """Wait until commits cover all that was handed out, but for so many."""
    async with asyncio.timeout(PATIENCE):
        while source.uncommitted() > but:  # noqa: ASYNC110 - the source tells nobody when it commits
            await asyncio.sleep(0.05)


async def send(pool, count: int, first: int = 0) -> None:
    """That many messages, all on partition 0, so that they are their offsets."""
    for number in range(first, first + count):
        await pool.send(b"%d" % number, partition=0)


def numbers(deliveries: list[Delivery]) -> list[int]:
    return sorted(int(one.raw) for one in deliveries)


async def pull_begun(pool, source: KafkaSource, count: int) -> list[Delivery]:
    found = await pool.pull(source, count)
    for one in found:
        await source.begin(one)
    return found


async def crash(source: KafkaSource) -> None:
    """End a source as a kill -9 would: nothing more is committed, and nobody is told."""
    consumer, source._consumer = source._consumer, None
    assert consumer is not None
    assert await source._supervisor.end()
    consumer._coordinator.reset_generation()
    source.on_partitions_revoked = _nothing  # type: ignore[method-assign, assignment]
    await consumer.stop()


async def _nothing(*_: object) -> None: ...


async def test_after_a_close_only_what_was_not_done_comes_again(pool):
    await send(pool, 6)
    first = await pool.member()
    for one in await pool.pull(first, 6):
        if one.raw not in {b"0", b"3"}:
            await first.settle(one)
    await first.close()
    offset, marks = await committed(pool)
    assert (offset, marks.clean, marks.completed) == (0, True, IndexSet.of([1, 2, 4, 5]))
    await send(pool, 1, first=6)
    second = await pool.member()
    assert numbers(await pool.pull(second, 3)) == [0, 3, 6]
    assert await second.pull({Lane.NORMAL: 10}) == []
    assert isinstance(second, KeepsOffsetMetadata)
    assert second.offset_metadata().supported is True


@pytest.mark.parametrize("name", [NAME, None], ids=["by its name", "after the group gave it up"])
async def test_after_a_crash_only_what_was_not_committed_as_done_comes_again(pool, name):
    await send(pool, 6)
    first = await pool.member(instance_id=name)
    found = await pool.pull(first, 6)
    assert first.uncommitted() == 6
    for one in found:
        if one.raw not in {b"0", b"3"}:
            await first.settle(one)
    await until_committed(pool, lambda _, marks: len(marks.completed) == 4)
    await until_covered(first, but=2)
    await crash(first)
    second = await pool.member(instance_id=name)
    assert numbers(await pool.pull(second, 2)) == [0, 3]
    assert await second.pull({Lane.NORMAL: 10}) == []


@contextlib.asynccontextmanager
async def killed_member(pool, *name: str) -> AsyncIterator[list[list[str]]]:
    """What a member in a process of its own tells, until it has saved something; then it is killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(MEMBER), pool.settings.queue_url, pool.settings.prefix, pool.name, "6.0", *name),
        stdout=asyncio.subprocess.PIPE,
    )
    told: list[list[str]] = []
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while not told or told[-1] != ["saved", "20"]:
                told.append((await process.stdout.readline()).decode().split())
        yield told
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("name", [(NAME,), ()], ids=["by its name", "after the group gave it up"])
async def test_a_killed_process_has_nothing_done_again_and_kills_twice_before_it_is_suspected(pool, name):
    await pool.publish(40)
    evens = set(range(0, 40, 2))
    async with killed_member(pool, *name) as told:
        assert {int(line[1]) for line in told if line[0] == "holds"} == evens
    for blamed in ("innocent", "suspect"):
        async with killed_member(pool, *name) as told:
            assert {int(line[1]) for line in told if line[0] == "holds"} == evens
            assert {line[2] for line in told if line[0] == "holds"} == {blamed}
            assert not any(line[0] == "settled" for line in told)


async def test_an_open_mark_is_there_before_anything_is_handed_out(pool):
    source = await pool.member()
    for lane in Lane:
        await pool.send(b"{}", lane=lane, partition=3)
    await pool.pull(source, len(Lane))
    for lane in Lane:
        offset, marks = await committed(pool, partition=3, lane=lane)
        assert (offset, marks.clean) == (0, False)
    await source.close()
    assert (await committed(pool, partition=3))[1].clean


async def test_a_clean_end_blames_nobody_but_tells_what_was_begun(pool):
    await send(pool, 3)
    for incarnation in range(4):
        source = await pool.member()
        found = await pull_begun(pool, source, 3)
        assert not any(one.facts.suspect for one in found)
        assert all(one.redelivered is (incarnation > 0) for one in found)
        await source.close()


async def test_an_end_that_is_told_to_be_unclean_blames_what_was_begun(pool):
    await send(pool, 3)
    for suspect in (False, False, True):
        source = await pool.member()
        found = await pull_begun(pool, source, 3)
        assert [one.facts.suspect for one in found] == [suspect] * 3
        await source.close(clean=False)
        assert not (await committed(pool))[1].clean


async def test_what_was_begun_at_two_unclean_ends_is_suspect_and_nothing_else(pool):
    await send(pool, 3)
    first = await pool.member(instance_id=NAME)
    found = await pool.pull(first, 3)
    await first.begin(found[1])
    await until_committed(pool, lambda _, marks: marks.started == IndexSet.of([1]))
    await crash(first)

    second = await pool.member(instance_id=NAME)
    found = await pool.pull(second, 3)
    assert [(one.redelivered, one.facts.suspect) for one in found] == [(False, False), (True, False), (False, False)]
    # After an unclean end a start is committed before it is made.
    await second.begin(found[1])
    assert (await committed(pool))[1].started == IndexSet.of([1])
    await asyncio.gather(*(second.begin(one) for one in found))
    assert (await committed(pool))[1].started == IndexSet.of([0, 1, 2])
    await crash(second)

    third = await pool.member(instance_id=NAME)
    found = await pool.pull(third, 3)
    assert [one.facts.suspect for one in found] == [False, True, False]
    assert all(one.redelivered for one in found)
    for one in found:
        await third.settle(one)
    await third.close()
    offset, marks = await committed(pool)
    assert (offset, marks.suspects, marks.earlier) == (3, IndexSet(), IndexSet())


async def test_a_crash_that_follows_a_crash_before_anything_was_begun_blames_nobody_twice(pool):
    await send(pool, 1)
    first = await pool.member(instance_id=NAME)
    await pull_begun(pool, first, 1)
    await until_committed(pool, lambda _, marks: bool(marks.started))
    await crash(first)
    for _ in range(2):
        idle = await pool.member(instance_id=NAME)
        await pool.pull(idle, 1)
        await crash(idle)
    last = await pool.member(instance_id=NAME)
    assert [one.facts.suspect for one in await pool.pull(last, 1)] == [False]


async def test_starts_are_free_again_when_all_is_past_that_could_have_been_begun(pool):
    await send(pool, 2)
    first = await pool.member(instance_id=NAME)
    await pool.pull(first, 2)
    await crash(first)
    second = await pool.member(instance_id=NAME)
    found = await pull_begun(pool, second, 2)
    await until_committed(pool, lambda _, marks: marks.write_ahead_until == 2)
    for one in found:
        await second.settle(one)
    await send(pool, 1, first=2)
    (one,) = await pool.pull(second, 1)
    assert not second._assignment.begin(one)


async def test_a_broker_that_drops_marks_is_found_out_and_all_else_goes_on(kafka_pool, caplog):
    caplog.set_level(logging.WARNING)
    pool = await kafka_pool("kafka-tansu")
    await send(pool, 4)
    first = await pool.member()
    found = await pool.pull(first, 4)
    assert first.offset_metadata().supported is False
    assert caplog.text.count("broker stores no offset metadata") == 1
    await asyncio.gather(*(first.begin(one) for one in found))
    for one in found:
        if one.raw != b"1":
            await first.settle(one)
    await until_covered(first, but=3)
    await first.close()
    second = await pool.member()
    found = await pool.pull(second, 3)
    assert numbers(found) == [1, 2, 3]
    assert not any(one.facts.suspect for one in found)
