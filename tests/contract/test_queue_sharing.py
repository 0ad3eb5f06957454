"""Several members of a pool: who gets what, what is taken away while it runs, what goes on. On every queue."""

import asyncio
import contextlib

import pytest
from queues.harness import SPREAD
from waiting import until

from backburner_schemas.names import Lane

pytestmark = pytest.mark.broker

ALL = dict.fromkeys(Lane, 50)


class Worker:
    """Pulls from a source and holds everything, until told to settle it."""

    def __init__(self, source):
        self.source = source
        self.given = []

    async def run(self):
        while True:
            self.given += await self.source.pull(ALL)

    def held(self):
        return [one for one in self.given if not one.lease.lost]


@contextlib.asynccontextmanager
async def working(*sources):
    """Workers that pull all the time; what one of them raises fails the test."""
    workers = [Worker(source) for source in sources]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(worker.run()) for worker in workers]
        yield workers
        for task in tasks:
            task.cancel()


def indices(deliveries):
    return {one.message.index for one in deliveries}


def kept(held, other):
    """What of it is still its holder's: not lost, as far as that is told, and not in the other's hands."""
    elsewhere = indices(other.given)
    return [one for one in held if not one.lease.lost and one.message.index not in elsewhere]


async def test_two_members_share_and_nothing_comes_to_both(harness):
    first, second = await harness.member(), await harness.member()
    async with working(first, second) as (one, two):
        wanted = await harness.publish(40, step=SPREAD)
        await until(lambda: wanted <= indices(one.held() + two.held()), "everything is held by one of them")
        for worker in (one, two):
            await harness.settle(worker.source, worker.held())
        await harness.owes(0)
    assert len(one.held()) + len(two.held()) == 40


async def test_what_is_taken_away_comes_to_another_and_what_is_left_goes_on(harness):
    wanted = await harness.publish(20, step=SPREAD)
    first = await harness.member()
    held = await harness.pull(first, 20)
    second = await harness.take_away(first, held)
    async with working(second) as (two,):
        await until(lambda: two.given and wanted <= indices(kept(held, two)) | indices(two.held()), "all is held")
        assert 0 < len(two.given) < 20
        await harness.settle(first, kept(held, two))
        await harness.settle(second, two.held())
        await harness.owes(0)
        assert await first.pull(ALL) == [], "the first was given again what it had"


@pytest.mark.needs("tells expiry")
async def test_the_one_who_loses_a_delivery_is_told_at_once(harness):
    await harness.publish(20, step=SPREAD)
    first = await harness.member()
    held = await harness.pull(first, 20)
    told = []
    for one in held:
        one.lease.on_lost(lambda one=one: told.append(one.message.index))
    second = await harness.take_away(first, held)
    async with working(second) as (two,):
        await until(lambda: two.given and set(told) >= indices(two.given), "the first was told")
    assert sorted(told) == sorted(one.message.index for one in held if one.lease.lost)


async def test_settling_what_was_lost_takes_it_from_nobody(harness):
    wanted = await harness.publish(20, step=SPREAD)
    first = await harness.member()
    held = await harness.pull(first, 20)
    second = await harness.take_away(first, held)
    async with working(second) as (two,):
        await until(lambda: two.given and wanted <= indices(kept(held, two)) | indices(two.held()), "all is held")
        got = indices(two.given)
        # What is lost first, so that it has gone through when the rest has.
        await harness.settle(first, sorted(held, key=lambda one: one.message.index not in got))
        await harness.owes(len(got))
        await harness.settle(second, two.given)
        await harness.owes(0)


async def test_what_is_held_for_long_stays_ours(harness):
    """Longer than the queue lends to a silent member: heartbeats, of a group or of each message, keep it."""
    wanted = await harness.publish(10, step=SPREAD)
    first = await harness.member()
    held = await harness.pull(first, 10)
    second = await harness.member()
    async with working(second) as (two,):
        await asyncio.sleep(harness.lends * 1.5)
        await until(lambda: wanted <= indices(kept(held, two)) | indices(two.held()), "all is held")
        mine = [one for one in held if not one.lease.lost]
        assert mine
        assert not indices(mine) & indices(two.given)
        await harness.settle(first, mine)
        await harness.settle(second, two.held())
        await harness.owes(0)


async def test_a_second_member_takes_over_when_the_first_closes(harness):
    wanted = await harness.publish(30, step=SPREAD)
    first = await harness.member()
    found = await harness.pull(first, 30)
    settled = found[:7]
    await harness.settle(first, settled)
    await first.close()
    second = await harness.member()
    async with working(second) as (two,):
        left = wanted - indices(settled)
        await until(lambda: left <= indices(two.given), "the second has what the first left")
        await harness.settle(second, two.held())
        await harness.owes(0)
