"""The sweep: ends what nobody else ends, and clears what nobody needs."""

import asyncio
import time

import pytest
from clock import Clock
from prometheus_client import CollectorRegistry

from backburner.jobs.job_watch import JobWatch
from backburner.pools import LIVE_SECONDS, PoolDirectory
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreDenied, StoreError, StoreFull
from backburner_schemas.job import Cursor, JobManifest, Sealed, Summary
from backburner_schemas.pool import WorkerAnnouncement
from backburner_schemas.segment import Line, encode_segment
from backburner_schemas.status import ABANDONED_AFTER_SECONDS
from backburner_worker import sweep as sweep_module
from backburner_worker.intervals import SweepIntervals
from backburner_worker.sweep import Sweep
from backburner_worker.telemetry.telemetry import Telemetry

JOB = ("t", "batch_x")


@pytest.fixture
def storage():
    return Storage.open(Settings(store_url="memory:///r"))


@pytest.fixture
def frozen():
    return []


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def telemetry(registry):
    return Telemetry(registry)


@pytest.fixture
def clock():
    """What the sweep watches jobs by."""
    return Clock()


@pytest.fixture
def make_sweep(storage, frozen, telemetry, clock):
    def make(worker, adapters=()):
        announcement = WorkerAnnouncement(
            worker=worker,
            pool="p",
            models=("m",),
            adapters=adapters,
            group="g",
            version="fake-1",
            started_at=1.0,
            seen_at=time.time(),
        )
        return Sweep(
            storage,
            intervals=SweepIntervals(sweep=60.0, grace=10.0, marker_life=1000.0),
            announcement=lambda: announcement,
            on_frozen=frozen.append,
            refresh_names=lambda: asyncio.sleep(0),
            telemetry=telemetry,
            watch=JobWatch(clock),
        )

    return make


@pytest.fixture
def sweep(make_sweep):
    return make_sweep("w1")


async def make_job(storage, *, sealed=None, deadline=4e9):
    manifest = JobManifest(id=JOB[1], tenant=JOB[0], created_at=0, deadline=deadline)
    await storage.put(keys.open_job(*JOB), b"")
    await storage.put(keys.manifest(*JOB), manifest.model_dump_json().encode())
    await storage.put(keys.cursor(*JOB), Cursor(count=3).model_dump_json().encode())
    if sealed is not None:
        seal = Sealed(total=sealed, sha256="", sealed_at=0)
        await storage.put(keys.sealed(*JOB), seal.model_dump_json().encode())


async def summary_of(storage):
    stored = await storage.get(keys.summary(*JOB))
    return Summary.model_validate_json(stored.data) if stored else None


async def test_a_job_past_its_deadline_ends_expired(storage, sweep, frozen, clock):
    await make_job(storage, sealed=3, deadline=time.time() - 20)
    await sweep._sweep_open()
    # Its grace begins when this worker sees it so.
    assert await summary_of(storage) is None
    clock.now += 10
    await sweep._sweep_open()
    summary = await summary_of(storage)
    assert (summary.state, summary.missing_code, summary.counts.failed) == ("expired", "expired", 3)
    assert frozen == [JOB]
    assert await storage.modified(keys.open_job(*JOB)) is None


async def test_a_job_that_may_go_on_is_left_alone(storage, sweep):
    await make_job(storage, deadline=time.time() - 5)  # within the grace
    await sweep._sweep_open()
    assert await summary_of(storage) is None


async def test_a_job_whose_producer_left_ends_expired_as_abandoned(storage, sweep, clock):
    await make_job(storage)
    await sweep._sweep_open()
    assert await summary_of(storage) is None
    clock.now += ABANDONED_AFTER_SECONDS + 1
    await sweep._sweep_open()
    summary = await summary_of(storage)
    assert (summary.state, summary.missing_code) == ("expired", "producer_abandoned")


async def test_a_cursor_that_moves_shows_that_its_producer_lives(storage, sweep, clock):
    await make_job(storage)
    await sweep._sweep_open()
    clock.now += ABANDONED_AFTER_SECONDS + 1
    await storage.put(keys.cursor(*JOB), Cursor(count=4).model_dump_json().encode())
    await sweep._sweep_open()
    assert await summary_of(storage) is None
    clock.now += ABANDONED_AFTER_SECONDS + 1
    await sweep._sweep_open()
    assert await summary_of(storage) is not None


async def test_an_open_marker_without_a_job_goes_in_the_end(storage, sweep, clock):
    await storage.put(keys.open_job(*JOB), b"")
    await sweep._sweep_open()
    assert await storage.modified(keys.open_job(*JOB)) is not None
    clock.now += ABANDONED_AFTER_SECONDS + 1
    await sweep._sweep_open()
    assert await storage.modified(keys.open_job(*JOB)) is None


async def test_markers_and_announcements_go_when_nobody_needs_them(storage, sweep, monkeypatch):
    await storage.put(keys.cancelled(*JOB), b"")
    await storage.put(keys.suspect(*JOB, 0), b"")
    await storage.put(keys.worker("p", "long-gone"), b"{}")
    await sweep._sweep_markers()
    await sweep._sweep_announcements()
    assert len([one async for one in storage.scan("")]) == 3
    monkeypatch.setattr(sweep_module, "_ANNOUNCEMENT_TTL_SECONDS", -10.0)
    sweep._marker_life = -10.0
    await sweep._sweep_markers()
    await sweep._sweep_announcements()
    assert [one async for one in storage.scan("")] == []


async def test_a_deleted_job_is_forgotten_by_each_tenth_sweep_once_no_queue_holds_anything_of_it(storage, sweep):
    await storage.put(keys.deleted(*JOB), b"")
    await storage.put(keys.summary(*JOB), b"{}")
    for life, turn, left in ((1000.0, 10, 2), (-10.0, 11, 2), (-10.0, 20, 0)):
        sweep._marker_life, sweep._turn = life, turn
        await sweep._sweep_deleted()
        assert len([one async for one in storage.scan("")]) == left


async def test_the_announcement_of_a_worker_with_adapters_stays_as_that_of_one_that_left(storage, make_sweep):
    await PoolDirectory(storage).register("p")
    sweep = make_sweep("w1", adapters=("legal",))
    await sweep._announce()
    (pool,) = await PoolDirectory(storage).read()
    assert pool.adapters == ("legal",)
    await sweep.close()
    directory = PoolDirectory(storage)
    (pool,) = await directory.read()
    assert not pool.live
    assert await directory.pool_for("legal") == "p"


async def test_a_worker_announces_itself_and_takes_it_back(storage, sweep):
    await sweep._announce()
    assert await storage.modified(keys.worker("p", "w1")) is not None
    await sweep.close()
    assert await storage.modified(keys.worker("p", "w1")) is None


async def store_segment(storage, sequence, *indexes):
    name = keys.SegmentName("0" * 26, sequence, len(indexes), 0, 0, 0, 0)
    data = encode_segment([Line(index, b"{}") for index in indexes])
    await storage.put(keys.segment(*JOB, name), data)


async def test_duplicates_are_counted_by_the_worker_that_froze_the_job_and_by_no_other(storage, sweep, registry):
    await make_job(storage, sealed=3)
    await store_segment(storage, 0, 0, 1)
    await store_segment(storage, 1, 1, 2)
    await sweep._sweep_open()
    assert (await summary_of(storage)).duplicates == 1
    assert registry.get_sample_value("backburner_results_duplicate_total") == 1
    # Another looks at it again, as after a crash between the summary and the removal of the open marker.
    await storage.put(keys.open_job(*JOB), b"")
    await sweep._sweep_open()
    assert await storage.modified(keys.open_job(*JOB)) is None
    assert registry.get_sample_value("backburner_results_duplicate_total") == 1


def refuse(monkeypatch, method, part, error):
    """Have the store refuse that method for keys with that part."""
    original = getattr(Storage, method)

    def refused(self, key, *arguments, **more):
        if part in (key if isinstance(key, str) else "".join(key)):
            raise error
        return original(self, key, *arguments, **more)

    monkeypatch.setattr(Storage, method, refused)


@pytest.mark.parametrize("error", [StoreDenied, StoreFull])
@pytest.mark.parametrize(
    "call", [("scan", keys.OPEN), ("scan", keys.CANCELLED), ("scan", "/workers/"), ("delete", "markers/")]
)
async def test_a_sweep_that_the_store_refuses_ends_the_worker(storage, sweep, monkeypatch, call, error):
    await storage.put(keys.cancelled(*JOB), b"")
    sweep._marker_life = -10.0
    refuse(monkeypatch, *call, error())
    async with asyncio.timeout(30):
        with pytest.raises(error):
            await sweep.run()


@pytest.mark.parametrize("error", [StoreDenied, StoreFull])
async def test_an_announcement_that_the_store_refuses_ends_the_worker(sweep, monkeypatch, error):
    refuse(monkeypatch, "put", "/workers/", error())
    async with asyncio.timeout(30):
        with pytest.raises(error):
            await sweep.announce()


async def announced_twice(sweep, monkeypatch, *, failing=None):
    """Return when the worker has announced itself twice; the store refuses the first time if it is told to."""
    turns, twice, original = [], asyncio.Event(), Storage.put

    async def put(self, key, data):
        turns.append(key)
        if len(turns) > 1:
            twice.set()
        elif failing is not None:
            raise failing
        await original(self, key, data)

    monkeypatch.setattr(Storage, "put", put)
    announcing = asyncio.create_task(sweep.announce())
    async with asyncio.timeout(30):
        await twice.wait()
    announcing.cancel()
    assert set(turns) == {keys.worker("p", "w1")}


async def test_a_worker_that_hardly_ever_sweeps_still_renews_its_announcement(sweep, monkeypatch):
    assert 2 * sweep_module._MAX_ANNOUNCEMENT_SECONDS <= LIVE_SECONDS
    sweep._seconds = 1e6
    monkeypatch.setattr(sweep_module, "_MAX_ANNOUNCEMENT_SECONDS", 0.0)
    await announced_twice(sweep, monkeypatch)


async def test_a_worker_that_sweeps_often_renews_its_announcement_as_often(sweep, monkeypatch):
    sweep._seconds = 0.0
    await announced_twice(sweep, monkeypatch)


async def test_a_worker_goes_on_announcing_itself_while_the_store_is_away(sweep, monkeypatch):
    sweep._seconds = 0.0
    await announced_twice(sweep, monkeypatch, failing=StoreError())


async def test_a_sweep_goes_on_while_the_store_is_away(storage, sweep, monkeypatch):
    refuse(monkeypatch, "scan", keys.OPEN, StoreError())
    swept = asyncio.Event()
    markers = sweep._sweep_announcements

    async def last_step():
        await markers()
        swept.set()

    sweep._sweep_announcements = last_step
    running = asyncio.create_task(sweep.run())
    async with asyncio.timeout(30):
        await swept.wait()
    assert not running.done()
    running.cancel()


async def test_a_denied_job_ends_the_worker_that_served_it_and_none_that_only_found_it(
    storage, sweep, monkeypatch, caplog
):
    await make_job(storage, sealed=0)
    refuse(monkeypatch, "create", "summary.json", StoreDenied())
    await sweep._sweep_open()
    assert "finalizing a job failed" in caplog.text
    sweep.soon(JOB)
    async with asyncio.timeout(30):
        with pytest.raises(StoreDenied):
            await sweep.finalize_named()


JOBS = [("t", f"batch_{number}") for number in range(300)]


async def test_workers_of_a_pool_share_the_open_jobs_out_and_leave_none_out(make_sweep):
    sweeps = [make_sweep(f"w{number}") for number in range(3)]
    for one in sweeps:
        one._turn = 0
        await one._announce()
    shares = [{job for job in JOBS if mine(job)} for mine in [await one._share() for one in sweeps]]
    assert sum(map(len, shares)) == len(set.union(*shares)) == len(JOBS)
    assert all(len(share) > 50 for share in shares)


async def test_the_share_of_a_worker_that_is_gone_goes_to_the_others(storage, make_sweep, monkeypatch):
    gone, here = make_sweep("w1"), make_sweep("w2")
    here._turn = 0
    await gone._announce()
    await here._announce()
    assert not all(map(await here._share(), JOBS))
    monkeypatch.setattr(sweep_module, "_MAX_MISSED_SWEEPS", 0)
    await asyncio.sleep(0.01)
    await here._announce()
    assert all(map(await here._share(), JOBS))


async def test_now_and_then_a_worker_looks_at_every_open_job(make_sweep):
    one, other = make_sweep("w1"), make_sweep("w2")
    await other._announce()
    whole = [all(map(await one._share(), JOBS)) for _ in range(2 * sweep_module._SWEEPS_PER_FULL_SWEEP)]
    assert sum(whole) == 2
