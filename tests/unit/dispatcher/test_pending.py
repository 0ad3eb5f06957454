"""Which stored jobs are known: a tenant with very many keeps no other's from being seen."""

import pytest
from obstore.store import MemoryStore

from backburner.dispatcher import pending
from backburner.dispatcher.pending import PendingJobs
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.job import JobManifest, StoredInput


@pytest.fixture
def storage():
    return Storage(MemoryStore())


async def store(storage, tenant, job):
    manifest = JobManifest(
        id=job,
        tenant=tenant,
        created_at=1.0,
        deadline=2.0,
        stored=StoredInput(key=keys.stored_input(tenant, job), bytes=1),
    )
    await storage.put(keys.manifest(tenant, job), manifest.model_dump_json().encode())
    await storage.put(keys.pending(tenant, job), b"")


def known(jobs):
    return {job.key for job in jobs}


@pytest.mark.parametrize("bound", ["_MAX_READS", "_MAX_KNOWN_JOBS"])
async def test_a_tenant_with_very_many_jobs_leaves_each_other_tenant_its_place(storage, monkeypatch, bound):
    monkeypatch.setattr(pending, bound, 4)
    for number in range(20):
        await store(storage, "zoe", f"job-{number:02}")
    for tenant in ("amy", "bob"):
        await store(storage, tenant, "job")
    jobs = PendingJobs(storage)
    await jobs.look()
    assert known(jobs) >= {("amy", "job"), ("bob", "job")}
    # Of its own, the oldest, whose names are the last.
    assert known(jobs) >= {("zoe", "job-19"), ("zoe", "job-18")}


async def test_a_late_tenant_takes_the_place_of_one_with_many_but_never_that_of_a_job_that_runs(storage, monkeypatch):
    monkeypatch.setattr(pending, "_MAX_KNOWN_JOBS", 3)
    for number in range(3):
        await store(storage, "zoe", f"job-{number}")
    jobs = PendingJobs(storage)
    await jobs.look()
    assert known(jobs) == {("zoe", f"job-{number}") for number in range(3)}
    running = [("zoe", "job-0")]
    await store(storage, "amy", "job")
    await jobs.look(running)
    assert known(jobs) == {("amy", "job"), ("zoe", "job-2"), ("zoe", "job-1"), ("zoe", "job-0")}
    await storage.put(keys.paused("zoe", "job-0"), b"")
    await jobs.look(running)
    assert {job.key: job.paused for job in jobs}["zoe", "job-0"]
    await jobs.look()
    assert ("zoe", "job-0") not in known(jobs)


async def test_a_job_whose_manifest_cannot_be_read_is_left_alone_and_leaves_the_list_once_it_has_ended(storage):
    await store(storage, "amy", "job")
    await storage.put(keys.manifest("amy", "job"), b"{")
    await PendingJobs(storage).look()
    assert await storage.modified(keys.pending("amy", "job")) is not None
    await storage.put(keys.summary("amy", "job"), b"{}")
    await PendingJobs(storage).look()
    assert await storage.modified(keys.pending("amy", "job")) is None
