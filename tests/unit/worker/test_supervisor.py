"""What the sources on real queues share: a pull that news wakes, and that raises what ended the source."""

import asyncio
import time

import pytest

from backburner_schemas.errors import QueueError
from backburner_worker.sources.supervisor import Supervisor

BOUND_SECONDS = 30.0


@pytest.fixture
def supervisor():
    return Supervisor()


async def for_ever():
    await asyncio.Event().wait()


async def raises(error):
    raise error


async def raises_from_a_group(error):
    async with asyncio.TaskGroup() as group:
        group.create_task(for_ever())
        group.create_task(raises(error))


async def ends():
    """As a task that was to run for ever and does not."""


async def started(supervisor, work):
    supervisor.start(work, name="work")
    async with asyncio.timeout(BOUND_SECONDS):
        await supervisor.news.wait()


async def test_a_source_that_runs_can_be_pulled_from(supervisor):
    supervisor.start(for_ever(), name="work")
    assert supervisor.running
    supervisor.check()
    await supervisor.end()


async def test_before_the_start_and_after_the_end_a_pull_is_told_to_start_a_new_one(supervisor):
    with pytest.raises(QueueError, match="closed"):
        supervisor.check()
    supervisor.start(for_ever(), name="work")
    assert await supervisor.end()
    assert not supervisor.running
    with pytest.raises(QueueError, match="closed"):
        supervisor.check()


async def test_ending_twice_finds_nothing_to_end(supervisor):
    supervisor.start(for_ever(), name="work")
    assert await supervisor.end()
    assert not await supervisor.end()


@pytest.mark.parametrize("work", [raises, raises_from_a_group])
async def test_what_ended_the_task_wakes_a_pull_and_is_raised_from_every_further_one(supervisor, work):
    error = QueueError("the topic is gone")
    await started(supervisor, work(error))
    for _ in range(2):
        with pytest.raises(QueueError) as raised:
            supervisor.check()
        assert raised.value is error


async def test_a_task_that_ends_without_an_error_is_a_failure_too(supervisor):
    await started(supervisor, ends())
    with pytest.raises(QueueError, match="task ended"):
        supervisor.check()


async def test_the_first_of_several_failures_counts_also_after_the_end(supervisor):
    supervisor.start(for_ever(), name="work")
    first = QueueError("first")
    supervisor.fail(first)
    supervisor.fail(QueueError("second"))
    await supervisor.end()
    with pytest.raises(QueueError) as raised:
        supervisor.check()
    assert raised.value is first


async def test_the_end_raises_nothing_of_what_ended_the_task(supervisor):
    await started(supervisor, raises(QueueError("the topic is gone")))
    assert await supervisor.end()


async def test_news_ends_the_wait(supervisor):
    waiting = asyncio.create_task(supervisor.news_until(time.monotonic() + BOUND_SECONDS * 2, None))
    supervisor.news.set()
    async with asyncio.timeout(BOUND_SECONDS):
        assert await waiting


async def test_what_is_due_ends_the_wait_without_news(supervisor):
    async with asyncio.timeout(BOUND_SECONDS):
        assert await supervisor.news_until(time.monotonic() + BOUND_SECONDS * 2, time.monotonic() - 1)
    assert not supervisor.news.is_set()


async def test_once_the_pulls_time_is_over_it_waits_no_more(supervisor):
    assert not await supervisor.news_until(time.monotonic(), None)
