"""Sending a job's batches: what the broker has is known as soon as it has it."""

import asyncio

import pytest

from backburner.publishers.base import PublishFailed
from backburner.submission.sender import Sender
from backburner_schemas.job import Prefix


async def nothing():
    pass


async def turn():
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_was_acknowledged_counts_though_nothing_is_sent_after_it():
    sender = Sender(Prefix(5, "start"))
    await sender.send(nothing, Prefix(7, "one"))
    await sender.send(nothing, Prefix(9, "two"))
    await turn()
    assert sender.acknowledged == Prefix(9, "two")
    await sender.close()


async def test_a_gap_ends_the_prefix_that_the_broker_has():
    sender = Sender(Prefix())
    await sender.send(nothing, Prefix(1))
    await sender.send(asyncio.Event().wait, Prefix(2))
    await sender.send(nothing, Prefix(3))
    await turn()
    assert sender.acknowledged == Prefix(1)
    await sender.close()


async def test_a_batch_that_failed_ends_it_too_and_is_told_by_the_next_call():
    async def fails():
        raise PublishFailed([0], "away")

    sender = Sender(Prefix())
    await sender.send(nothing, Prefix(1))
    await sender.send(fails, Prefix(2))
    await turn()
    assert sender.acknowledged == Prefix(1)
    with pytest.raises(PublishFailed):
        await sender.drain()
    await sender.close()
