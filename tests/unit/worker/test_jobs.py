"""What a worker knows of its jobs: all that it holds requests of, and little of others."""

import gc
import secrets
import tracemalloc

import pytest
from pipeline_harness import TENANT, Harness, running
from waiting import until

from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import AnswerMode
from backburner_schemas.job import JobManifest, Sealed
from backburner_worker.jobs import JobCache, JobKey

_FEW = 3
"""Jobs that are remembered in these tests though nothing is held of them."""
_BYTES_PER_JOB = 1024
"""What a remembered job may take; a whole manifest and seal take five times as much."""


async def store_job(storage: Storage, name: str) -> JobKey:
    manifest = JobManifest(
        id=name,
        tenant=TENANT,
        created_at=1_700_000_000.25,
        deadline=4e9,
        pool="fake",
        metadata={f"key {one}": "v" * 100 for one in range(16)},
        input_file_id=keys.new_file_id(),
        created_by="key",
    )
    sealed = Sealed(total=1, sha256=secrets.token_hex(32), sealed_at=1_700_000_001.5)
    await storage.put(keys.manifest(TENANT, name), manifest.model_dump_json().encode())
    await storage.put(keys.sealed(TENANT, name), sealed.model_dump_json().encode())
    return TENANT, name


@pytest.fixture
def few_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backburner_worker.jobs._MAX_IDLE_JOBS", _FEW)


@pytest.mark.usefixtures("few_idle")
async def test_few_jobs_are_remembered_that_nothing_is_held_of(storage: Storage) -> None:
    jobs = JobCache(storage, 1.0)
    for number in range(10):
        await jobs.learn([(TENANT, f"batch_{number}")])
    assert len(jobs) == _FEW


@pytest.mark.usefixtures("few_idle")
async def test_a_job_that_is_held_stays_known_however_many_others_come(storage: Storage) -> None:
    """Judged without its manifest, its request would be stored apart, and the job never be whole."""
    jobs = JobCache(storage, 1.0)
    held = await store_job(storage, "batch_held")
    await jobs.learn([held])
    jobs.hold(held)
    jobs.hold(held)
    others = [await store_job(storage, f"batch_{number}") for number in range(10)]
    for other in others:
        await jobs.learn([other])
    jobs.let_go(held)
    for other in others:
        await jobs.learn([other])
    assert jobs.facts(held).has_manifest
    jobs.let_go(held)
    assert jobs.facts(held).has_manifest  # The last that was in use is the last to go.
    await jobs.learn(others)
    assert not jobs.facts(held).has_manifest
    assert len(jobs) == _FEW


@pytest.mark.usefixtures("few_idle")
async def test_a_job_that_is_held_before_it_is_read_stays_known(storage: Storage) -> None:
    jobs = JobCache(storage, 1.0)
    names = [await store_job(storage, f"batch_{number}") for number in range(10)]
    for name in names:
        jobs.hold(name)
    await jobs.learn(names)
    assert all(jobs.facts(name).has_manifest for name in names)


@pytest.mark.usefixtures("few_idle")
async def test_jobs_that_come_together_are_judged_by_their_manifests_however_many_they_are(harness: Harness) -> None:
    jobs = [await store_job(harness.storage, f"batch_{number}") for number in range(10)]
    for _, name in jobs:
        # Only of a job with a manifest it goes into a segment.
        harness.send(0, job=name, answer=AnswerMode.OBJECT)
    async with running(harness):
        await until(lambda: harness.queue.unsettled == 0)
        for _, name in jobs:
            assert await harness.codes(name) == {0: None}


@pytest.mark.usefixtures("few_idle")
async def test_a_worker_keeps_little_of_jobs_that_ended(harness: Harness) -> None:
    async with running(harness):
        for number in range(10):
            _, name = await store_job(harness.storage, f"batch_{number}")
            harness.send(0, job=name)
            await until(lambda name=name: harness.storage.modified(keys.summary(TENANT, name)))
        assert len(harness.worker.parts.jobs) == _FEW


async def test_a_remembered_job_takes_less_than_a_kilobyte(storage: Storage) -> None:
    jobs = JobCache(storage, 1.0)
    names = [await store_job(storage, keys.new_job_id()) for _ in range(200)]
    await jobs.learn(names[:100])
    gc.collect()
    tracemalloc.start()
    try:
        for name in names[100:]:
            await jobs.learn([name])
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(jobs) == 200
    assert taken < 100 * _BYTES_PER_JOB
