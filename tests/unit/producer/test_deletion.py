"""A job that is deleted: nothing of it is left, and nothing brings it back."""

import pytest
from dead_letters import all_keys, line

from backburner import JobConflict, JobNotFound
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreError


async def test_a_deleted_job_is_gone_with_its_letters_and_its_id_stays_taken(system, failed):
    other = await system.client.submit([line("a")], job_id="other")
    before = {key for key in await all_keys(system) if "other" in key}
    await failed.delete()
    left = [key for key in await all_keys(system) if failed.id in key]
    assert left == [keys.summary("default", failed.id)]
    assert {key for key in await all_keys(system) if "other" in key} == before
    for gone in (failed.status, failed.delete, failed.wait):
        with pytest.raises(JobNotFound):
            await gone()
    assert [one.id async for one in system.client.jobs()] == [other.id]
    for stored in (False, True):
        with pytest.raises(JobConflict, match="another job id"):
            await system.client.submit([line("a")], job_id=failed.id, stored=stored)


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
    assert [key for key in await all_keys(system) if failed.id in key] == [keys.summary("default", failed.id)]


async def test_a_single_request_is_no_job_to_delete(system):
    handle = await system.client.enqueue("hello")
    with pytest.raises(JobNotFound, match="single request"):
        await system.client.job(handle.job).delete()
    assert (await handle.result(timeout=5)).ok
