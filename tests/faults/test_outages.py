"""Broker or object store away in the middle of a job: intake stops, nothing is dropped, and it goes on by itself."""

import asyncio
import logging
import os
import signal

import pytest
from live import lines
from waiting import until

from backburner.local.programs import probe

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
async def halfway(stack, client):
    """A job that a worker is in the middle of."""

    async def begin(model, **settings):
        await stack.make_pool(model)
        worker = stack.worker(model, **settings)
        await stack.warm(worker)
        job = await client.submit(lines(COUNT, "{} [[slow:0.3]]", model=model))
        await until(lambda: settled(job, 500), "the first results")
        return worker, job

    return begin


async def test_a_job_completes_after_the_store_was_killed_and_came_back(stack, halfway):
    worker, job = await halfway("storeless")
    assert worker.metric('backburner_dependency_up{dependency="store"}') == 1
    assert stack.store.child.pid is not None
    os.kill(stack.store.child.pid, signal.SIGKILL)
    await until(lambda: not stack.store.child.running, "the store's end")
    try:
        # It waits with what it has, settles nothing, and says so, once.
        await until(lambda: worker.page("/readyz")[0] == 503, "a worker that is not ready")
        # Until then it settled what the store had answered before its end.
        settled_before = worker.metric("backburner_deliveries_settled_total")
        await until(lambda: "store: " in worker.page("/readyz")[1], "a page that names the store")
        assert worker.metric('backburner_dependency_up{dependency="store"}') == 0
        assert worker.metric("backburner_deliveries_settled_total") == settled_before
        assert worker.metric("backburner_deliveries_in_flight") > 0
    finally:
        stack.store.start()
    await until(lambda: worker.page("/readyz")[0] == 200, "a worker that is ready again")
    await assert_whole(job)
    assert worker.exit_status is None
    # This broker keeps its log in the same store, so that the queue may have been away too.
    said = [line["event"] for line in worker.said("dependency ") if line["dependency"] == "store"]
    assert said == ["dependency unavailable; work waits", "dependency available again"]
    assert worker.metric('backburner_dependency_up{dependency="store"}') == 1


async def test_a_job_completes_after_the_store_hung(stack, halfway):
    worker, job = await halfway("hanging")
    os.kill(stack.store.child.pid, signal.SIGSTOP)
    try:
        # The engine works off what is held, be it the whole window or less, since this broker keeps its log in the same
        # store; and all of it waits for the store.
        await until(
            lambda: (
                worker.metric("backburner_deliveries_in_flight")
                == worker.metric('backburner_deliveries_in_flight{stage="storing"}')
                > 0
            ),
            "outcomes that wait",
        )
        # Until then it settled what the store had answered before it hung.
        settled_before = worker.metric("backburner_deliveries_settled_total")
        await until(lambda: "store: " in worker.page("/readyz")[1], "a page that names the store")
        assert worker.metric("backburner_deliveries_settled_total") == settled_before
    finally:
        os.kill(stack.store.child.pid, signal.SIGCONT)
    await assert_whole(job)
    assert worker.exit_status is None


@pytest.mark.parametrize(
    "refusal",
    [
        # The client's own retries of a 507 take about 15 s.
        ("PUT", "/segments/", 507, "XMinioStorageFull", "store_full"),
        ("GET", "markers%2Fcancelled", 403, "AccessDenied", "store_denied"),
    ],
)
async def test_a_store_that_refuses_stops_the_worker_loudly_and_everything_unsettled_is_kept(
    stack, halfway, refusing_store, refusal
):
    method, part, status, code, told = refusal
    model = f"refused-{code}-{told}-{method}".lower()
    worker, job = await halfway(model, BACKBURNER_STORE_ENDPOINT=refusing_store.endpoint)
    refusing_store.refuse(lambda asked, path: asked == method and part in path, status, code)
    await until(lambda: worker.exit_status is not None, "its end")
    assert worker.exit_status == 1
    (end,) = worker.said("process failed")
    assert end["code"] == told
    assert ("make room" if told == "store_full" else "AWS_SECRET_ACCESS_KEY") in end["error"]
    assert not await settled(job, COUNT)
    stack.worker(model)
    await assert_whole(job)


async def test_a_job_completes_after_the_broker_was_killed_and_came_back(stack, halfway):
    worker, job = await halfway("brokerless")
    assert stack.broker.child.pid is not None
    os.kill(stack.broker.child.pid, signal.SIGKILL)
    await until(lambda: not probe.speaks_kafka(stack.broker.port), "the broker's end")
    # What it holds it still answers.
    await until(lambda: worker.metric("backburner_deliveries_in_flight") == 0, "the end of all that was held")
    await until(lambda: "queue: " in worker.page("/readyz")[1], "a page that names the queue")
    assert worker.page("/readyz")[0] == 503
    assert worker.exit_status is None
    stack.broker.start()
    await until(lambda: worker.page("/readyz")[0] == 200, "a worker that is ready again")
    await assert_whole(job)
    assert worker.exit_status is None


async def test_a_submit_goes_on_after_the_broker_was_away(stack, client, caplog):
    # The command line, which other tests run in this process, silences the client library.
    caplog.set_level(logging.INFO, logger="aiokafka")
    await stack.make_pool("interrupted")
    await stack.warm(stack.worker("interrupted"))
    sent = []

    async def source():
        requests = lines(COUNT, model="interrupted")
        for request in requests[: COUNT // 2]:
            yield request
        await until(lambda: any(sent), "the first acknowledged requests")
        stack.broker.stop()
        for request in requests[COUNT // 2 :]:
            yield request

    async def bring_back():
        # The client library says so when it has noticed. Not in the source: the submit stops asking it for more.
        await until(lambda: [one for one in caplog.records if one.name.startswith("aiokafka")], "a broken connection")
        stack.broker.start()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bring_back())
        job = await client.submit(source(), on_progress=lambda progress: sent.append(progress.sent))
    await assert_whole(job)
