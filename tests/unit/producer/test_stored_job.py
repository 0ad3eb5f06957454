"""Making a stored job: what is written, in which order, and what is refused."""

import pytest

from backburner.settings import Settings
from backburner.storage import Storage
from backburner.submission.stored_job import create_stored_job
from backburner_schemas import keys
from backburner_schemas.errors import JobConflict
from backburner_schemas.job import JobManifest, JobState, StoredInput, Summary

T = "tenant"


def manifest(key=None, job="batch_1"):
    stored = StoredInput(key=key or keys.content(T, "file-1"), bytes=3)
    return JobManifest(id=job, tenant=T, created_at=1.0, deadline=2.0, stored=stored)


@pytest.fixture
def storage():
    return Storage.open(Settings(store_url="memory:///r"))


async def test_a_stored_job_is_open_before_it_is_there_and_pending_after(storage, monkeypatch):
    written = []
    put, create = storage.put, storage.create

    async def noted_put(key, data):
        written.append(key)
        await put(key, data)

    async def noted_create(key, data):
        written.append(key)
        return await create(key, data)

    monkeypatch.setattr(storage, "put", noted_put)
    monkeypatch.setattr(storage, "create", noted_create)
    assert await create_stored_job(storage, manifest())
    entry = keys.named_job(T, "batch_1", manifest().created_at)
    assert written == [keys.open_job(T, "batch_1"), keys.manifest(T, "batch_1"), keys.pending(T, "batch_1"), entry]


async def test_making_it_again_goes_on_where_a_crash_left_it(storage):
    await create_stored_job(storage, manifest())
    await storage.delete([keys.pending(T, "batch_1")])
    assert not await create_stored_job(storage, manifest())
    assert await storage.get(keys.pending(T, "batch_1")) is not None


async def test_a_sealed_job_does_not_become_pending_again(storage):
    await create_stored_job(storage, manifest())
    await storage.put(keys.sealed(T, "batch_1"), b"{}")
    await storage.delete([keys.pending(T, "batch_1")])
    await create_stored_job(storage, manifest())
    assert await storage.get(keys.pending(T, "batch_1")) is None


async def test_an_id_belongs_to_one_input(storage):
    await create_stored_job(storage, manifest())
    with pytest.raises(JobConflict, match="another input"):
        await create_stored_job(storage, manifest(keys.content(T, "file-2")))


async def test_an_ended_job_is_not_made_again(storage):
    await create_stored_job(storage, manifest())
    ended = Summary(state=JobState.FAILED, counts={}, finalized_at=1.0)
    await storage.put(keys.summary(T, "batch_1"), ended.model_dump_json().encode())
    with pytest.raises(JobConflict, match="ended"):
        await create_stored_job(storage, manifest())


async def test_another_tenants_file_is_no_input(storage):
    with pytest.raises(ValueError, match="file of its tenant"):
        await create_stored_job(storage, manifest(keys.content("other", "file-1")))
    assert [one async for one in storage.scan("")] == []
