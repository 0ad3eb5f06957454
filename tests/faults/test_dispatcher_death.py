"""Dispatchers that die, leave or are robbed in the middle of a job: it goes on, nothing is lost, each is seen once."""

import json
import os
import signal
from pathlib import Path

import pytest
from live import lines
from waiting import until

from backburner.dispatcher.sharing.scheduler import TURN_REQUESTS
from backburner.dispatcher.stream import MAX_TURNS_IN_FLIGHT
from backburner_schemas import keys
from backburner_schemas.job import Cursor

pytestmark = [pytest.mark.broker, pytest.mark.store]

BOUND = 120


async def cursor_of(stack, job):
    stored = await stack.storage().get(keys.cursor(job.tenant, job.id))
    return Cursor() if stored is None else Cursor.model_validate_json(stored.data)


async def sent(stack, job, count):
    """Wait until the cursor tells of so many requests."""

    async def there():
        return (await cursor_of(stack, job)).count >= count

    await until(there, f"{count:,} requests sent", BOUND)


async def killed(process):
    process.send(signal.SIGKILL)
    await until(lambda: process.exit_status is not None, "its end")


def files_in(process, folder):
    """What the process has open there, with or without a name."""
    open_files = [str(file.readlink()) for file in Path("/proc", str(process.pid), "fd").iterdir()]
    return [name for name in open_files if name.startswith(str(folder))]


async def assert_whole(job, count):
    """Completed, reconciled, each request seen once. Returns how many were answered twice unseen."""
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed) == ("completed", count)
    found = [record.custom_id async for record in job.results()]
    assert len(found) == len(set(found)) == count
    books = await job.reconcile()
    assert books.agrees
    assert (books.ok, books.failed, books.pending) == (count, 0, 0)
    return books.duplicates


async def test_a_job_survives_three_kills_of_its_dispatcher(stack, client):
    await stack.make_pool("killed-dispatcher")
    worker = stack.worker("killed-dispatcher", BACKBURNER_FAKE_LATENCY_SECONDS="0.01")
    await stack.warm(worker)
    bound = 3_000
    folder = stack.folder / "spools"
    folder.mkdir()
    settings = {"BACKBURNER_DISPATCH_BACKLOG": str(bound), "TMPDIR": str(folder)}
    dispatcher = stack.dispatcher(**settings)
    job = await client.submit(lines(50_000, model="killed-dispatcher"), stored=True)
    for count in (5_000, 20_000, 35_000):
        await sent(stack, job, count)
        assert (await cursor_of(stack, job)).count < 50_000
        assert files_in(dispatcher, folder)
        await killed(dispatcher)
        # Its lines went with it.
        assert not [*folder.iterdir()]
        dispatcher = stack.dispatcher(**settings)
    duplicates = await assert_whole(job, 50_000)
    # Each time at most what was sent since the cursor was written, which the bound of the backlog limits here.
    assert duplicates <= 3 * (bound + MAX_TURNS_IN_FLIGHT * TURN_REQUESTS)
    # The last one read the plan of the first.
    assert dispatcher.said("claimed a job")[0]["sent"] >= 20_000


async def test_of_two_dispatchers_one_takes_over_what_the_other_had_when_it_was_killed(stack, client):
    await stack.make_pool("two-dispatchers")
    worker = stack.worker("two-dispatchers", BACKBURNER_FAKE_LATENCY_SECONDS="0.01")
    await stack.warm(worker)
    # One job each, and a bound that takes them some time.
    settings = {"BACKBURNER_DISPATCH_JOBS": "1", "BACKBURNER_DISPATCH_BACKLOG": "500"}
    both = [stack.dispatcher(**settings), stack.dispatcher(**settings)]
    jobs = [await client.submit(lines(3_000, model="two-dispatchers"), stored=True, tenant="default") for _ in range(2)]
    for job in jobs:
        await sent(stack, job, 500)
    owners = {(await cursor_of(stack, job)).owner for job in jobs}
    assert len(owners) == 2
    await killed(both[0])
    for job in jobs:
        await assert_whole(job, 3_000)
    assert len(both[1].said("job sent")) >= 1
    assert both[1].exit_status is None


async def test_sigterm_hands_a_job_back_and_another_goes_on_at_once(stack, client):
    await stack.make_pool("handed-back")
    worker = stack.worker("handed-back", BACKBURNER_FAKE_LATENCY_SECONDS="0.01")
    await stack.warm(worker)
    # A claim that nobody could wait for here.
    settings = {"BACKBURNER_DISPATCH_CLAIM_SECONDS": "3600", "BACKBURNER_DISPATCH_BACKLOG": "500"}
    first = stack.dispatcher(**settings)
    job = await client.submit(lines(3_000, model="handed-back"), stored=True)
    await sent(stack, job, 1_000)
    first.send(signal.SIGTERM)
    await until(lambda: first.exit_status is not None, "its end")
    assert first.exit_status == 0
    left = await cursor_of(stack, job)
    assert left.owner == ""
    assert 1_000 <= left.count < 3_000
    second = stack.dispatcher(**settings)
    # What is handed back is told to the last request, so none is sent twice.
    assert await assert_whole(job, 3_000) == 0
    assert second.said("claimed a job")[0]["sent"] == left.count


async def test_a_dispatcher_whose_claim_was_stolen_stops_and_takes_it_back_when_it_is_stale(stack, client):
    await stack.make_pool("stolen")
    worker = stack.worker("stolen", BACKBURNER_FAKE_LATENCY_SECONDS="0.01")
    await stack.warm(worker)
    dispatcher = stack.dispatcher(BACKBURNER_DISPATCH_BACKLOG="500")
    job = await client.submit(lines(3_000, model="stolen"), stored=True)
    await sent(stack, job, 1_000)
    storage, key = stack.storage(), keys.cursor(job.tenant, job.id)

    async def steal():
        found = await storage.get(key)
        thief = Cursor.model_validate_json(found.data).model_copy(update={"owner": "thief"})
        return await storage.replace(key, thief.model_dump_json().encode(), found.etag)

    await until(steal, "a theft")
    await until(lambda: dispatcher.said("another dispatcher has the job now"), "its notice")
    stolen = json.loads((await storage.get(key)).data)
    assert stolen["owner"] == "thief"
    await assert_whole(job, 3_000)
    assert len(dispatcher.said("claimed a job")) == 2


async def test_a_job_goes_on_by_itself_after_store_and_broker_were_killed_and_came_back(stack, client):
    await stack.make_pool("storeless-dispatch")
    worker = stack.worker("storeless-dispatch", BACKBURNER_FAKE_LATENCY_SECONDS="0.01")
    await stack.warm(worker)
    dispatcher = stack.dispatcher(BACKBURNER_DISPATCH_BACKLOG="1000")
    job = await client.submit(lines(5_000, model="storeless-dispatch"), stored=True)
    await sent(stack, job, 2_000)
    # This broker keeps its log in the same store, so neither answers.
    os.kill(stack.store.child.pid, signal.SIGKILL)
    await until(lambda: not stack.store.child.running, "the store's end")
    try:
        await until(lambda: dispatcher.page("/readyz")[0] == 503, "a dispatcher that is not ready")
    finally:
        stack.store.start()
    await until(lambda: dispatcher.page("/readyz")[0] == 200, "a dispatcher that is ready again")
    await assert_whole(job, 5_000)
    assert dispatcher.exit_status is None
