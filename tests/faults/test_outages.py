"""Broker or object store away in the middle of a job: intake stops, nothing is dropped, and it goes on by itself."""

import os
import signal

import pytest

from backburner.local import probe

pytestmark = [pytest.mark.broker, pytest.mark.store]

BOUND = 120
COUNT = 5_000


async def settled(job, count):
    counts = (await job.status()).request_counts
    return counts.completed + counts.failed >= count


async def assert_whole(job):
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed) == ("completed", COUNT)
    found = [record.custom_id async for record in job.results()]
    assert sorted(found) == sorted(f"r{number}" for number in range(COUNT))
    assert (await job.reconcile()).agrees


@pytest.fixture
async def halfway(stack, client, lines, until):
    """A job that a worker is in the middle of."""

    async def begin(model):
        await stack.make_pool(model)
        worker = stack.worker(model)
        await stack.warm(worker)
        job = await client.submit(lines(COUNT, "{} [[slow:0.3]]", model=model))
        await until(lambda: settled(job, 500), "the first results")
        return worker, job

    return begin


async def test_a_job_completes_after_the_store_was_killed_and_came_back(stack, halfway, until):
    worker, job = await halfway("storeless")
    assert stack.store.child.pid is not None
    os.kill(stack.store.child.pid, signal.SIGKILL)
    await until(lambda: not stack.store.child.running, "the store's end")
    # It goes on with what it holds, and then it stands: nothing is settled that is not durable.
    await until(lambda: worker.metric("backburner_held") > 0 and worker.said("partitions assigned"), "work")
    before = worker.metric("backburner_settled_total")
    await until(lambda: stands(worker), "an engine without work")
    assert worker.metric("backburner_settled_total") == before
    stack.store.start()
    await assert_whole(job)
    assert worker.exit_status is None


def stands(worker):
    """Whether the worker waits for the store with all that the engine gave it."""
    return worker.said("the object store is away")


async def test_a_job_completes_after_the_store_hung(stack, halfway, until):
    worker, job = await halfway("hanging")
    held = worker.metric("backburner_held")
    assert held > 0
    os.kill(stack.store.child.pid, signal.SIGSTOP)
    try:
        settled_before = worker.metric("backburner_settled_total")
        pulled = worker.metric("backburner_pulled_total")
        await until(lambda: worker.metric('backburner_held{stage="engine"}') == 0, "an engine without work")
        assert worker.metric("backburner_settled_total") - settled_before <= pulled
    finally:
        os.kill(stack.store.child.pid, signal.SIGCONT)
    await assert_whole(job)
    assert worker.exit_status is None


async def test_a_job_completes_after_the_broker_was_killed_and_came_back(stack, halfway, until):
    worker, job = await halfway("brokerless")
    assert stack.broker.child.pid is not None
    os.kill(stack.broker.child.pid, signal.SIGKILL)
    await until(lambda: not probe.speaks_kafka(stack.broker.port), "the broker's end")
    # What it holds it still answers.
    await until(lambda: worker.metric("backburner_held") == 0, "the end of all that was held")
    assert worker.exit_status is None
    stack.broker.start()
    await assert_whole(job)
    assert worker.exit_status is None


async def test_a_submit_goes_on_after_the_broker_was_away(stack, client, lines, until):
    await stack.make_pool("interrupted")
    stack.worker("interrupted")
    seen = []

    async def source():
        for number, request in enumerate(lines(COUNT, model="interrupted")):
            if number == COUNT // 2:
                stack.broker.stop()
                seen.append(probe.speaks_kafka(stack.broker.port))
                stack.broker.start()
            yield request

    job = await client.submit(source())
    assert seen == [False]
    await assert_whole(job)
