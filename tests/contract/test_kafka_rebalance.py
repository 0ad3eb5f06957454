"""Members that come, go and die: what happens to what they hold."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection

import pytest
from aiokafka import TopicPartition

from backburner_schemas import routing
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.kafka.source import KafkaSource

pytestmark = pytest.mark.broker

PATIENCE = 90.0
SPREAD = routing.NEIGHBOUR_REQUESTS
"""Indices this far apart have partition keys of their own."""


class Worker:
    """Pulls from a source and holds everything, until told to settle it."""

    def __init__(self, source: KafkaSource) -> None:
        self.source = source
        self.given: list[Delivery] = []

    async def run(self) -> None:
        while True:
            self.given += await self.source.pull(dict.fromkeys(Lane, 50))

    def held(self) -> list[Delivery]:
        return [one for one in self.given if not one.lease.lost]


@contextlib.asynccontextmanager
async def working(*sources: KafkaSource) -> AsyncIterator[list[Worker]]:
    """Workers that pull all the time; what one of them raises fails the test."""
    workers = [Worker(source) for source in sources]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker.run()) for worker in workers]
        yield workers
        for task in tasks:
            task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that sources bring about in this process."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - deep inside the client library nothing tells
            await asyncio.sleep(0.02)


def indices(deliveries: list[Delivery]) -> Counter[int]:
    return Counter(one.message.index for one in deliveries)  # type: ignore[union-attr]


def home(delivery: Delivery) -> int:
    """The delivery's partition."""
    return int(delivery.origin.position.split("-")[0])


async def publish_spread(pool, count: int) -> set[int]:
    """Requests that lie on all partitions."""
    await pool.publish(count, step=SPREAD)
    return {number * SPREAD for number in range(count)}


async def test_what_is_settled_in_the_revocation_is_committed_before_it_goes(pool):
    await publish_spread(pool, 40)
    first, second = pool.source(), pool.source()
    holding: list[Delivery] = []
    calls = 0

    async def revoked() -> None:
        nonlocal calls
        calls += 1
        for delivery in holding:
            await first.settle(delivery)

    await first.start(revoked)
    async with working(first) as (one,):
        await until(lambda: len(one.given) == 40)
        holding += one.given
        await second.start(nothing)
        async with working(second) as (two,):
            await pool.publish(SPREAD * 20, first=100 * SPREAD)
            await until(lambda: len(two.given) > 0)
            assert calls
            assert not indices(two.given).keys() & indices(holding).keys()


async def test_what_is_settled_between_two_assignments_counts(pool):
    await publish_spread(pool, 40)
    first, second = pool.source(), pool.source()
    await first.start(nothing)
    async with working(first) as (one,):
        await until(lambda: len(one.given) == 40)
        take = first.on_partitions_assigned

        async def settle_and_take(assigned: Collection[TopicPartition]) -> None:
            assert not first._assignment.partitions
            for delivery in one.given:
                await first.settle(delivery)
            first.on_partitions_assigned = take
            await take(assigned)

        first.on_partitions_assigned = settle_and_take
        await second.start(nothing)
        async with working(second) as (two,):
            await until(lambda: bool(first._assignment.partitions) and bool(second._assignment.partitions))
            mine = {number for topic, number in first._assignment.partitions if topic.endswith("normal")}
            kept = [delivery for delivery in one.given if home(delivery) in mine]
            assert 0 < len(kept) < 40
            await until(lambda: len(two.given) == 40 - len(kept))
            assert not indices(two.given).keys() & indices(kept).keys()
    await first.close()
    committed = await pool.committed()
    homes = Counter(map(home, kept))
    topic = routing.topic(pool.settings.prefix, pool.name, Lane.NORMAL)
    assert {number: committed.get((topic, number)) for number in homes} == homes


async def test_a_revocation_that_fails_stops_the_source(pool):
    await publish_spread(pool, 10)
    first, second = pool.source(), pool.source()

    async def revoked() -> None:
        raise RuntimeError("the store said no")

    await first.start(revoked)
    await pool.pull(first, 10)
    await second.start(nothing)
    with pytest.raises(RuntimeError, match="the store said no"):
        await pool.pull(first, 1_000_000)


async def test_nothing_is_lost_while_members_come_and_go(pool):
    total = SPREAD * 30
    await pool.publish(total)
    dice = random.Random(7)
    settled: Counter[int] = Counter()

    async def work(source: KafkaSource) -> None:
        held: list[Delivery] = []
        while True:
            held += await source.pull({Lane.NORMAL: 40})
            dice.shuffle(held)
            for delivery in held[: len(held) // 2 + 1]:
                if not delivery.lease.lost:
                    settled.update([delivery.message.index])  # type: ignore[union-attr]
                    await source.settle(delivery)
            del held[: len(held) // 2 + 1]
            await asyncio.sleep(0.005)

    sources = [pool.source() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        tasks = []
        for source in sources:
            await source.start(nothing)
            tasks.append(group.create_task(work(source)))
            seen = len(settled)
            await until(lambda seen=seen: len(settled) > min(seen + 100, total - 1))
        tasks.pop(0).cancel()
        await sources[0].close()
        await until(lambda: len(settled) == total)
        for task in tasks:
            task.cancel()
    for source in sources:
        await source.close()
    rest = pool.source()
    await rest.start(nothing)
    async with asyncio.timeout(PATIENCE):
        while sum((await pool.committed()).values()) < total:
            for delivery in await rest.pull({Lane.NORMAL: 100}):
                await rest.settle(delivery)
    assert settled.keys() == set(range(total))


async def nothing() -> None:
    """A revocation callback for a pipeline that stores nothing."""
