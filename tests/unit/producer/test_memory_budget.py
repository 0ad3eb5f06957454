"""A budget of memory: what does not fit waits, one always goes on, and nothing that was counted stays."""

import asyncio

import pytest

from backburner.runtime.memory_budget import MemoryBudget


async def settled(*tasks):
    """Whether each task has ended, once all that can go on has."""
    for _ in range(10):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


async def test_what_does_not_fit_waits_until_another_is_done_and_one_goes_on_all_the_same():
    budget = MemoryBudget(100)
    with budget.share() as first, budget.share() as large, budget.share() as third:
        await first.take(90)
        # Larger than the whole budget: it is the one.
        await large.take(500)
        waits = asyncio.ensure_future(third.take(20))
        assert await settled(waits) == [False]
        large.free()
        assert await settled(waits) == [True]
        assert budget.used == 110
    assert budget.used == 0


async def test_what_was_reserved_and_is_not_needed_lets_others_go_on():
    budget = MemoryBudget(100)
    with budget.share() as first, budget.share() as second, budget.share() as third:
        await first.take(80)
        await second.take(80)
        waits = asyncio.ensure_future(third.take(80))
        assert await settled(waits) == [False]
        first.settle(10)
        second.settle(10)
        assert await settled(waits) == [True]
        third.settle(95)
        assert budget.used == 115
    assert budget.used == 0


async def test_who_gives_up_waiting_holds_nothing():
    budget = MemoryBudget(10)
    with budget.share() as first, budget.share() as second:
        await first.take(20)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await second.take(20)
        assert budget.used == 20
    assert budget.used == 0


async def test_who_shares_a_part_waits_for_its_own_and_takes_no_room_of_others_beyond_it():
    whole = MemoryBudget(100)
    part, other = MemoryBudget(25, whole=whole), MemoryBudget(25, whole=whole)
    with part.share() as first, part.share() as large, part.share() as third, other.share() as elsewhere:
        await first.take(20)
        await large.take(500)
        assert (part.used, whole.used) == (520, 25)
        waits = asyncio.ensure_future(third.take(5))
        await elsewhere.take(25)
        assert await settled(waits) == [False]
        large.free()
        assert await settled(waits) == [True]
        assert whole.used == 50
    assert part.used == other.used == whole.used == 0


async def test_parts_that_fill_the_whole_make_another_wait_after_the_one_that_goes_on():
    whole = MemoryBudget(50)
    parts = [MemoryBudget(25, whole=whole) for _ in range(4)]
    with parts[0].share() as first, parts[1].share() as second, parts[2].share() as third, parts[3].share() as last:
        for share in (first, second, third):
            await share.take(20)
        waits = asyncio.ensure_future(last.take(20))
        assert await settled(waits) == [False]
        first.free()
        assert await settled(waits) == [False]
        third.free()
        assert await settled(waits) == [True]
    assert whole.used == 0
