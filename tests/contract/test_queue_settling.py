"""What it means to settle, and what comes again when a member closes or is killed. On every queue."""

import asyncio
import random

import pytest
from queues.harness import SPREAD
from waiting import until

from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane

pytestmark = pytest.mark.broker

ALL = dict.fromkeys(Lane, 100)


def indices(deliveries):
    return sorted(one.message.index for one in deliveries)


async def test_what_was_settled_in_any_order_is_not_given_again(harness):
    await harness.publish(50)
    first = await harness.member(name="one")
    found = await harness.pull(first, 50)
    random.Random(5).shuffle(found)
    await harness.settle(first, found)
    await first.close()
    await harness.owes(0)
    await harness.publish(1, first=50)
    second = await harness.member(name="one")
    assert indices(await harness.pull(second, 1)) == [50]


async def test_settled_work_ends_on_the_queue_while_the_source_goes_on(harness):
    await harness.publish(10)
    source = await harness.member()
    await harness.settle(source, await harness.pull(source, 10))
    await harness.owes(0)
    assert await source.pull({Lane.NORMAL: 1}) == []


async def test_what_was_not_settled_comes_again_after_a_close(harness):
    await harness.publish(20, step=SPREAD)
    first = await harness.member(name="one")
    found = await harness.pull(first, 20)
    held = [one for one in found if one.message.index % 3 == 0]
    await harness.settle(first, [one for one in found if one not in held])
    await first.close()
    second = await harness.member(name="one")
    again = await harness.pull(second, len(held))
    await until_given(harness, second, again, set(indices(held)))
    assert len(indices(again)) == len(set(indices(again)))
    await harness.settle(second, again)
    await harness.owes(0)


@pytest.mark.needs("commit metadata")
async def test_only_what_was_not_settled_comes_again_after_a_close(harness):
    await harness.publish(30)
    first = await harness.member(name="one")
    found = await harness.pull(first, 30)
    held = [one for one in found if one.message.index % 3 == 0]
    await harness.settle(first, [one for one in found if one not in held])
    await first.close()
    second = await harness.member(name="one")
    again = await harness.pull(second, len(held))
    assert indices(again) == indices(held)
    assert await second.pull(ALL) == []


async def test_closing_ends_the_leases_and_a_settle_after_it_is_void(harness):
    await harness.publish(2)
    source = await harness.member()
    settled, held = await harness.pull(source, 2)
    if settled.message.index > held.message.index:
        settled, held = held, settled
    lost = asyncio.Event()
    held.lease.on_lost(lost.set)
    await source.settle(settled)
    await source.close()
    assert lost.is_set()
    await source.settle(held)
    await source.close()
    await harness.owes(1)
    with pytest.raises(QueueError):
        await source.pull({Lane.NORMAL: 1})


async def test_a_settle_that_comes_twice_ends_one_message(harness):
    await harness.publish(3)
    source = await harness.member()
    first, *_ = sorted(await harness.pull(source, 3), key=lambda one: one.message.index)
    await source.settle(first)
    await source.settle(first)
    await source.close()
    await harness.owes(2)


async def test_what_a_killed_worker_held_comes_again_to_its_successor(harness):
    await harness.publish(60)
    dead = await harness.killed_member(settled=20, name="one")
    source = await harness.member(name="one")
    found = []
    await until_given(harness, source, found, set(range(60)) - dead.settled)
    assert len(indices(found)) == len(set(indices(found))), "something came twice"
    await harness.settle(source, found)
    await harness.owes(0)


@pytest.mark.needs("tells redelivery")
async def test_the_queue_tells_what_was_given_before(harness):
    await harness.publish(10)
    dead = await harness.killed_member(settled=5, name="one")
    source = await harness.member(name="one")
    found = []
    await until_given(harness, source, found, {*range(10)} - dead.settled)
    # Not before: a poll that the dead member left open may still take a message to nobody.
    await harness.publish(1, first=1000)
    await until_given(harness, source, found, {1000})
    told = {one.message.index: one.redelivered for one in found}
    assert told.pop(1000) is False
    # What it settled right before its death may not have ended on the queue.
    assert told.keys() >= dead.held
    assert all(told.values())


async def test_what_a_killed_worker_held_goes_to_another(harness):
    await harness.publish(60)
    dead = await harness.killed_member(settled=20, name="one")
    source = await harness.member(name="two")
    found = []
    await until_given(harness, source, found, set(range(60)) - dead.settled)
    await harness.settle(source, found)
    await harness.owes(0)


async def test_closing_gives_back_at_once(harness):
    await harness.publish(10, step=SPREAD)
    first = await harness.member()
    await harness.pull(first, 10)
    second = await harness.member()
    await first.close()
    found = []
    await until_given(harness, second, found, {number * SPREAD for number in range(10)})


async def until_given(harness, source, found, wanted):
    """Pull until all of these indices were given."""

    async def given():
        found.extend(one for one in await source.pull(ALL))
        return wanted <= {one.message.index for one in found}

    await until(given, f"all of {len(wanted)} messages")
