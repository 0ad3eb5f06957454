"""Calls that are made together: the first error ends all of them, and so does who waits for them."""

import asyncio

import pytest

from backburner.runtime.together import all_of


async def number(value):
    return value


class Endless:
    """A call that lasts until it is cancelled, and then takes a moment to end."""

    def __init__(self):
        self.begun, self.ended = asyncio.Event(), False

    async def call(self):
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended = True


async def test_results_come_in_the_order_of_their_calls():
    assert await all_of(number(value) for value in range(5)) == [0, 1, 2, 3, 4]
    assert await all_of([]) == []


async def test_the_first_error_is_raised_once_all_others_have_ended():
    others = Endless(), Endless()

    async def failing():
        await others[1].begun.wait()
        raise KeyError

    with pytest.raises(KeyError):
        await all_of([others[0].call(), failing(), others[1].call()])
    assert others[0].ended
    assert others[1].ended


async def test_who_is_cancelled_leaves_none_of_the_calls_behind():
    one = Endless()
    waiting = asyncio.create_task(all_of([one.call(), number(1)]))
    await one.begun.wait()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert one.ended
