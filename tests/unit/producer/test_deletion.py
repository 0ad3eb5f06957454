"""A job that is deleted: nothing of it is left, and nothing brings it back."""

import math

import pytest
from dead_letters import all_keys, line
from segments import answered, store

from backburner import JobConflict, JobNotFound
from backburner.jobs.deletion import forget_deleted
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreDenied, StoreError


def left_of(job):
    return [keys.deleted("default", job.id), keys.summary("default", job.id)]


async def test_a_deleted_job_is_gone_with_its_letters_and_its_id_stays_taken(system, failed):
    other = await system.client.submit([line("a")], job_id="other")
    before = {key for key in await all_keys(system) if "other" in key}
    await failed.delete()
    left = [key for key in await all_keys(system) if failed.id in key]
    assert left == left_of(failed)
    assert {key for key in await all_keys(system) if "other" in key} == before
    for gone in (failed.status, failed.delete, failed.wait):
        with pytest.raises(JobNotFound):
            await gone()
    assert [one.id async for one in system.client.jobs()] == [other.id]
    for stored in (False, True):
        with pytest.raises(JobConflict, match="another job id"):
            await system.client.submit([line("a")], job_id=failed.id, stored=stored)


async def test_nothing_is_left_of_a_deleted_job_whose_id_a_user_chose(system):
    job = await system.client.submit([line("a")], job_id="nightly")
    await job.wait(timeout=5)
    await job.delete()
    await forget_deleted(system.storage, before=math.inf)
    assert not [key for key in await all_keys(system) if job.id in key]


async def test_a_running_job_is_not_deleted(system):
    system.hold()
    job = await system.client.submit([line("a")])
    with pytest.raises(JobConflict, match="cancel"):
        await job.delete()
    await system.release()
    assert (await job.wait(timeout=5)).request_counts.completed == 1


async def test_a_delete_that_was_broken_off_is_completed_by_the_next(system, failed, monkeypatch):
    real, left = Storage.delete, [1]

    async def delete(self, keys_):
        if not left:
            raise StoreError
        left.pop()
        await real(self, keys_)

    monkeypatch.setattr(Storage, "delete", delete)
    with pytest.raises(StoreError):
        await failed.delete()
    monkeypatch.setattr(Storage, "delete", real)
    with pytest.raises(JobNotFound):
        await failed.status()
    await failed.delete()
    assert [key for key in await all_keys(system) if failed.id in key] == left_of(failed)


async def test_a_single_request_is_no_job_to_delete(system):
    handle = await system.client.enqueue("hello")
    with pytest.raises(JobNotFound, match="single request"):
        await system.client.job(handle.job).delete()
    assert (await handle.result(timeout=5)).ok


async def test_the_id_of_a_deleted_job_is_free_once_no_queue_holds_anything_of_it(system, failed):
    await failed.delete()
    await forget_deleted(system.storage, before=0)
    assert [key for key in await all_keys(system) if failed.id in key] == left_of(failed)
    # What a worker still held of it when it was deleted.
    await store(system, [answered(0)], job=failed.id)
    await forget_deleted(system.storage, before=math.inf)
    assert [key for key in await all_keys(system) if failed.id in key] == []
    again = await system.client.submit([line("a")], job_id=failed.id)
    assert (await again.wait(timeout=5)).request_counts.completed == 1


@pytest.mark.parametrize("job", ["job", "stream-x", "single-x"])
async def test_what_was_not_deleted_is_not_forgotten_whatever_a_marker_says(system, job):
    if job == "job":
        await system.client.submit([line("a")], job_id=job)
    else:
        await store(system, [answered(0)], job=job)
    before = await all_keys(system)
    await system.storage.create(keys.deleted("default", job), b"")
    await forget_deleted(system.storage, before=math.inf)
    assert await all_keys(system) == before


async def test_a_deleted_job_that_cannot_be_removed_keeps_no_other_from_it(system, monkeypatch):
    for name in ("a", "b"):
        await (await system.client.submit([line("r")], job_id=name)).delete()
    real = Storage.delete

    async def delete(self, keys_):
        if keys.summary("default", "a") in keys_:
            raise StoreDenied
        await real(self, keys_)

    monkeypatch.setattr(Storage, "delete", delete)
    await forget_deleted(system.storage, before=math.inf)
    assert await all_keys(system, keys.DELETED) == [keys.deleted("default", "a")]
    assert await all_keys(system, keys.jobs("default")) == [keys.summary("default", "a")]
