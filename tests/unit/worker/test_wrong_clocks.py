"""A worker on a machine whose clock is wrong: it expires, freezes and removes nothing, and says so."""

import time

import pytest
from clock import Clock
from pipeline_harness import JOB, TENANT, Harness, MoodyEngine, running
from prometheus_client import CollectorRegistry
from waiting import until
from wrong_clock import SHIFTS, set_clock, store_elsewhere

from backburner.jobs.job_watch import JobWatch
from backburner_schemas import keys
from backburner_schemas.job import JobManifest, Sealed
from backburner_schemas.pool import WorkerAnnouncement
from backburner_worker.intervals import SweepIntervals
from backburner_worker.sweep import Sweep
from backburner_worker.telemetry.telemetry import Telemetry

HOUR_SECONDS = 3_600.0
true_time = time.time
every_shift = pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)


@pytest.fixture
async def storage(monkeypatch, shift):
    set_clock(monkeypatch, shift)
    made = store_elsewhere()
    await made.measure_clock()
    return made


@every_shift
async def test_it_answers_what_is_not_expired(storage):
    harness = Harness(storage)
    await harness.make_job(total=3, deadline=true_time() + HOUR_SECONDS)
    for index in range(3):
        harness.send(index, deadline=true_time() + HOUR_SECONDS)
    async with running(harness):

        async def answered():
            return len(await harness.codes()) == 3

        await until(answered, "the records")
    assert await harness.codes() == dict.fromkeys(range(3))


@pytest.mark.parametrize("shift", [0.0])
async def test_it_expires_what_is_late_where_clocks_agree(storage):
    harness = Harness(storage)
    await harness.make_job(total=1)
    harness.send(0, deadline=true_time() - 5)
    async with running(harness):

        async def answered():
            return await harness.codes() == {0: "expired"}

        await until(answered, "the record")


@every_shift
async def test_what_fails_for_now_is_tried_again_before_a_deadline_that_its_own_clock_calls_over(storage):
    harness = Harness(storage, MoodyEngine(refusals=1))
    async with running(harness):
        harness.send(0, job="single-a", deadline=true_time() + HOUR_SECONDS)
        await until(lambda: harness.queue.published and len(harness.queue.settled) == 1, "the retry")
        harness.queue.advance(61)
        await until(lambda: harness.engine.answered == 1, "the answer")
    assert await harness.letter(job="single-a") is None


@pytest.fixture
def watch_clock():
    return Clock()


@pytest.fixture
async def sweep(storage, watch_clock):
    harness = Harness(storage)
    await harness.build()
    return Sweep(
        storage,
        intervals=SweepIntervals(sweep=60.0, grace=180.0, marker_life=7 * 86_400.0),
        announcement=lambda: harness.worker.identity.announcement(storage.clock.now()),
        on_frozen=lambda _: None,
        refresh_names=harness.worker.parts.model_names.refresh,
        telemetry=Telemetry(CollectorRegistry()),
        watch=JobWatch(watch_clock),
    )


@every_shift
async def test_it_removes_no_live_announcement_and_no_marker(storage, sweep):
    # As old as they get where the clocks are right.
    sweep._marker_life = 100.0
    there = {
        keys.worker("fake", "other"),
        keys.cancelled(TENANT, JOB),
        keys.suspect(TENANT, JOB, 0),
        keys.deleted(TENANT, JOB),
    }
    for key in there:
        await storage.put(key, b"{}")
    # One of the turns at which those are looked at that were deleted.
    sweep._turn = 10
    await sweep._sweep_markers()
    await sweep._sweep_deleted()
    await sweep._sweep_announcements()
    assert there <= {one.key async for one in storage.scan("")}


@every_shift
async def test_it_freezes_no_job_that_goes_on(storage, sweep, watch_clock):
    manifest = JobManifest(id=JOB, tenant=TENANT, created_at=0, deadline=true_time() + HOUR_SECONDS)
    await storage.put(keys.open_job(TENANT, JOB), b"")
    await storage.put(keys.manifest(TENANT, JOB), manifest.model_dump_json().encode())
    await storage.put(keys.sealed(TENANT, JOB), Sealed(total=1, sha256="", sealed_at=0).model_dump_json().encode())
    for _ in range(2):
        await sweep._sweep_open()
        watch_clock.now += HOUR_SECONDS
    await storage.put(keys.cancelled(TENANT, JOB), b"")
    for _ in range(2):
        await sweep._sweep_open()
        watch_clock.now += HOUR_SECONDS
    assert await storage.modified(keys.summary(TENANT, JOB)) is None


@every_shift
async def test_it_announces_itself_by_the_stores_clock(storage):
    harness = Harness(storage)
    await harness.build()
    await harness.worker.parts.sweep._announce()
    [key] = [one.key async for one in storage.scan(keys.workers("fake"))]
    announced = WorkerAnnouncement.model_validate_json((await storage.get(key)).data)
    assert announced.seen_at == pytest.approx(true_time(), abs=60)
