"""A client or gateway on a machine whose clock is wrong: it ends, expires and removes nothing of anybody's."""

import asyncio
import math
import time
from dataclasses import replace
from functools import partial

import pytest
from clock import Clock
from dead_letters import line
from gateway import batch_lines, gateway_over
from obstore.store import MemoryStore
from wrong_clock import SHIFTS, set_clock, store_elsewhere

from backburner.client import Client
from backburner.gateway.sweep import GatewaySweep
from backburner.jobs.finalizer import clock_of, finalize, view_job
from backburner.jobs.job_watch import JobWatch
from backburner.pools import LIVE_SECONDS, PoolDirectory
from backburner.settings import Settings
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import FileNotFound, ResultTimeout, StoreDenied
from backburner_schemas.job import JobManifest, JobState, Sealed
from backburner_schemas.pool import PoolManifest, WorkerAnnouncement
from backburner_schemas.status import must_read_digests

JOB = ("default", "batch_x")
GRACE_SECONDS = 180.0
DAY_SECONDS = 86_400.0

true_time = time.time
every_shift = pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)


@pytest.fixture
def objects():
    return MemoryStore()


@pytest.fixture
def storage(objects):
    return store_elsewhere(objects)


async def make_job(storage, *, deadline, cancelled=False, total=2, grace_seconds=None):
    manifest = JobManifest(id=JOB[1], tenant=JOB[0], created_at=0, deadline=deadline, grace_seconds=grace_seconds)
    await storage.put(keys.open_job(*JOB), b"")
    await storage.put(keys.manifest(*JOB), manifest.model_dump_json().encode())
    sealed = Sealed(total=total, sha256="", sealed_at=0)
    await storage.put(keys.sealed(*JOB), sealed.model_dump_json().encode())
    if cancelled:
        await storage.put(keys.cancelled(*JOB), b"")


def client_on(storage, **settings):
    made = Settings(store_url="memory:///", queue_url="kafka://none:1", **settings)
    return Client.from_parts(made, storage, None)


async def is_frozen(storage):
    return await storage.modified(keys.summary(*JOB)) is not None


@every_shift
async def test_a_client_that_waits_ends_nobodys_running_job(storage, monkeypatch, shift):
    set_clock(monkeypatch, shift)
    await make_job(storage, deadline=true_time() + DAY_SECONDS)
    # Its own smaller grace is nothing to the job either.
    async with client_on(storage, freeze_grace_seconds=0.0) as client:
        with pytest.raises(ResultTimeout):
            await client.job(JOB[1]).wait(timeout=0.01)
    assert not await is_frozen(storage)


@every_shift
async def test_a_cancelled_job_keeps_its_grace_whoever_looks(storage, monkeypatch, shift):
    set_clock(monkeypatch, shift)
    await make_job(storage, deadline=true_time() + DAY_SECONDS, cancelled=True, grace_seconds=GRACE_SECONDS)
    clock = Clock()
    watch = JobWatch(clock)
    assert await finalize(storage, *JOB, grace=0.0, watch=watch) is None
    # Not even once it has watched for long: the store's clock tells that the cancel is young.
    clock.now += 10 * GRACE_SECONDS
    assert await finalize(storage, *JOB, grace=0.0, watch=watch) is None


@pytest.mark.parametrize("passed", [GRACE_SECONDS - 1, GRACE_SECONDS + 1])
async def test_the_end_of_a_job_comes_by_the_stores_clock_and_a_whole_grace_later(storage, passed):
    await make_job(storage, deadline=true_time() - 2 * GRACE_SECONDS, grace_seconds=GRACE_SECONDS)
    clock = Clock()
    watch = JobWatch(clock)
    assert await finalize(storage, *JOB, grace=0.0, watch=watch) is None
    clock.now += passed
    ending = await finalize(storage, *JOB, grace=0.0, watch=watch)
    assert (ending is not None) == (passed > GRACE_SECONDS)


async def test_a_clock_that_is_set_ahead_while_a_client_waits_ends_nothing(storage, monkeypatch):
    await make_job(storage, deadline=true_time() + 3_600, grace_seconds=0.0)
    async with client_on(storage) as client:
        await client.job(JOB[1]).status()
        set_clock(monkeypatch, 2 * DAY_SECONDS)
        with pytest.raises(ResultTimeout):
            await client.job(JOB[1]).wait(timeout=0.01)
    assert not await is_frozen(storage)


async def test_the_grace_of_a_job_is_its_makers_and_goes_into_its_manifest():
    async with FakeSystem() as system:
        system.settings = system.settings.model_copy(update={"freeze_grace_seconds": 77.0})
        system.hold()
        async with system.new_client() as client:
            for stored in (False, True):
                job = await client.submit([line("a")], stored=stored)
                found = await system.storage.get(keys.manifest(job.tenant, job.id))
                assert JobManifest.model_validate_json(found.data).grace_seconds == 77.0


@pytest.mark.parametrize(("made_with", "reads_with"), [(None, 60.0), (5.0, 60.0), (60.0, 5.0)])
async def test_the_longer_grace_counts_of_the_makers_and_the_readers(storage, made_with, reads_with):
    await make_job(storage, deadline=true_time() - 1_000, grace_seconds=made_with)
    clock = Clock()
    end = partial(finalize, storage, *JOB, grace=reads_with, watch=JobWatch(clock))
    assert await end() is None
    clock.now += 59
    assert await end() is None
    clock.now += 2
    assert await end() is not None


@every_shift
async def test_a_deadline_is_told_by_the_stores_clock(storage, monkeypatch, shift):
    set_clock(monkeypatch, shift)
    await storage.put(
        keys.pool("fake"), PoolManifest(pool="fake", model="fake", created_at=0).model_dump_json().encode()
    )
    async with client_on(storage) as client:
        job = await client.submit([line("a")], stored=True, deadline=3_600)
    found = await storage.get(keys.manifest(job.tenant, job.id))
    manifest = JobManifest.model_validate_json(found.data)
    assert manifest.deadline == pytest.approx(true_time() + 3_600, abs=60)
    assert manifest.created_at == pytest.approx(true_time(), abs=60)


@every_shift
async def test_a_redrive_is_not_over_before_the_stores_clock_says_so(monkeypatch, shift):
    async with FakeSystem() as system:
        system.storage = store_elsewhere(system.storage._store)
        system.fail(["a"])
        job = await system.client.submit([line("a"), line("b")])
        system.mend()
        set_clock(monkeypatch, shift)
        (made,) = (await system.new_client().redrive(job=job.id, deadline=3_600)).jobs
        assert made.requests == 1
        found = await system.storage.get(keys.manifest("default", made.id))
        assert JobManifest.model_validate_json(found.data).deadline == pytest.approx(true_time() + 3_600, abs=60)


@every_shift
async def test_who_lives_is_told_by_the_stores_clock(storage, monkeypatch, shift):
    set_clock(monkeypatch, shift)
    now = true_time()
    await storage.put(
        keys.pool("fake"), PoolManifest(pool="fake", model="fake", created_at=0).model_dump_json().encode()
    )
    for name, seen_at in {"lives": now, "gone": now - LIVE_SECONDS - 130}.items():
        worker = WorkerAnnouncement(
            worker=name, pool="fake", models=("fake",), group="g", version="", started_at=now, seen_at=seen_at
        )
        await storage.put(keys.worker("fake", name), worker.model_dump_json().encode())
    [status] = await PoolDirectory(storage).read()
    assert [worker.worker for worker in status.workers] == ["lives"]
    # By a clock that is behind, the one that is gone would seem to live: alone, it shows nothing of that.
    await storage.delete([keys.worker("fake", "lives")])
    await storage.measure_clock()
    [status] = await PoolDirectory(storage).read()
    assert status.workers == ()


@every_shift
async def test_a_gateway_keeps_files_keys_of_calls_and_batches(objects, monkeypatch, shift):
    async with FakeSystem() as system:
        system.storage = store_elsewhere(system.storage._store)
        async with gateway_over(system) as gateway:
            client = await gateway.client()
            hour = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
            sent = {"files": {"file": ("a", batch_lines(1))}, "data": {"purpose": "batch", **hour}}
            once = {"Idempotency-Key": "k"}
            file = (await client.post("/v1/files", headers=once, **sent)).json()
            whole = {"filename": "b", "bytes": 2, "purpose": "batch", "mime_type": "application/jsonl"}
            upload = (await client.post("/v1/uploads", json=whole)).json()
            set_clock(monkeypatch, shift)
            await system.storage.measure_clock(anew=True)
            await GatewaySweep(system.storage, seconds=1.0).sweep()
            assert (await client.get(f"/v1/files/{file['id']}")).status_code == 200
            assert (await client.post("/v1/files", headers=once, **sent)).json()["id"] == file["id"]
            part = await client.post(f"/v1/uploads/{upload['id']}/parts", files={"data": ("b", b"{}")})
            assert part.status_code == 200, part.text
            batch = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            made = (await client.post("/v1/batches", json=batch)).json()
            assert made["expires_at"] == pytest.approx(true_time() + DAY_SECONDS, abs=60)
            assert (await client.get(f"/v1/batches/{made['id']}")).json()["status"] == "validating"


async def test_an_expired_file_is_still_gone_where_clocks_agree():
    async with FakeSystem() as system:
        system.storage = store_elsewhere(system.storage._store)
        async with gateway_over(system) as gateway:
            client = await gateway.client()
            await system.storage.measure_clock()
            file = (
                await client.post("/v1/files", files={"file": ("a", batch_lines(1))}, data={"purpose": "batch"})
            ).json()
            files = gateway.parts.files("default")
            stored = await files.find(file["id"])
            key = keys.file("default", stored.id)
            await system.storage.put(key, stored.model_copy(update={"expires_at": 1.0}).model_dump_json().encode())
            with pytest.raises(FileNotFound):
                await files.find(file["id"])


async def test_a_job_that_was_cancelled_before_it_was_sent_needs_no_clock(storage, monkeypatch):
    set_clock(monkeypatch, 2 * DAY_SECONDS)
    await make_job(storage, deadline=true_time() + DAY_SECONDS, cancelled=True, grace_seconds=GRACE_SECONDS)
    ending = await finalize(storage, *JOB, grace=GRACE_SECONDS, at_once=True)
    assert ending.summary.state is JobState.CANCELLED


@pytest.mark.parametrize("cancelled", [False, True])
async def test_who_cannot_ask_the_store_for_its_time_ends_nothing(storage, monkeypatch, cancelled):
    set_clock(monkeypatch, 2 * DAY_SECONDS)
    await make_job(storage, deadline=true_time() + DAY_SECONDS, cancelled=cancelled, grace_seconds=GRACE_SECONDS)
    clock = Clock()
    watch = JobWatch(clock)

    async def denied(*_):
        raise StoreDenied

    monkeypatch.setattr(type(storage), "put", denied)
    # Even what needs no grace by the observer's own clock.
    view = await view_job(storage, *JOB)
    for _ in range(2):
        judged = await clock_of(storage, view, watch, grace=0.0)
        assert not must_read_digests(view, replace(judged, overdue_for=math.inf))
        clock.now += 10 * GRACE_SECONDS


async def test_many_looks_measure_once(storage, monkeypatch):
    await make_job(storage, deadline=true_time() - 10, grace_seconds=GRACE_SECONDS)
    writes = []
    put = type(storage).put

    async def noted(self, key, data):
        writes.append(key)
        await put(self, key, data)

    monkeypatch.setattr(type(storage), "put", noted)
    watch = JobWatch()
    await asyncio.gather(*(finalize(storage, *JOB, grace=0.0, watch=watch) for _ in range(5)))
    assert len([key for key in writes if key.startswith(keys.CLOCK)]) == 1
