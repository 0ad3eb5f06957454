"""What a list of jobs costs, and how it goes on: also where users chose the ids, which tell no time."""

import itertools

import pytest
from dead_letters import line

from backburner import JobNotFound
from backburner.jobs.named import note_named
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreDenied
from backburner_schemas.job import Counts, JobManifest, JobState, Summary
from measuring.store_requests import counted_requests

CHOSEN_COUNT = 40


async def listed(system, **options):
    return [one.id async for one in system.client.jobs(**options)]


@pytest.fixture
async def ids(system):
    """Ids of many jobs, the newest first: users chose them, but for some, and a day lies between any two."""
    made, days = [], itertools.count(1_767_225_600.0, 86_400.0)
    for number in range(CHOSEN_COUNT):
        made.insert(0, await create(system, f"chosen-{number * 7 % CHOSEN_COUNT}", next(days)))
        if number % 10 == 0:
            now = next(days)
            made.insert(0, await create(system, keys.new_job_id(now), now))
    return made


async def create(system, job_id, now):
    """A job that ended at once; its id."""
    manifest = JobManifest(id=job_id, tenant="default", created_at=now, deadline=now + 60)
    await system.storage.put(keys.manifest("default", job_id), manifest.model_dump_json().encode())
    await note_named(system.storage, manifest)
    ended = Summary(state=JobState.CANCELLED, counts=Counts(), finalized_at=now)
    await system.storage.put(keys.summary("default", job_id), ended.model_dump_json().encode())
    return job_id


async def entries(system):
    return [one.key async for one in system.storage.scan(keys.named_jobs("default"))]


async def test_a_page_costs_the_same_however_many_ids_were_chosen(system, ids):
    with counted_requests() as page:
        assert await listed(system, limit=3) == ids[:3]
    with counted_requests() as three:
        for name in ids[:3]:
            await system.client.job(name).status()
    assert page.reads <= three.reads
    assert page.lists <= 2 + three.lists
    assert await listed(system, limit=1000) == ids


async def test_jobs_of_earlier_releases_are_read_once(system, ids):
    await system.storage.delete(await entries(system))
    with counted_requests() as first:
        assert await listed(system, limit=3) == ids[:3]
    with counted_requests() as second:
        assert await listed(system, limit=3) == ids[:3]
    assert first.reads - second.reads == CHOSEN_COUNT
    assert len(await entries(system)) == CHOSEN_COUNT


async def test_whoever_may_only_read_lists_jobs_of_earlier_releases_too(system, ids, monkeypatch):
    await system.storage.delete(await entries(system))
    tried = []

    async def refuse(_self, key, _data):
        tried.append(key)
        raise StoreDenied

    monkeypatch.setattr(Storage, "put", refuse)
    assert await listed(system, limit=1000) == ids
    assert 0 < len(tried) < CHOSEN_COUNT


async def test_a_job_that_was_submitted_again_is_listed_once(system):
    await system.client.submit([line("a")], job_id="mine")
    await system.storage.delete(await entries(system))
    await system.client.submit([line("a")], job_id="mine")
    assert len(await entries(system)) == 1
    assert await listed(system) == ["mine"]


async def test_a_stored_job_is_entered_too(system):
    await system.client.submit([line("a")], job_id="mine", stored=True)
    assert [keys.named_job_of(key)[0] for key in await entries(system)] == ["mine"]


async def test_a_deleted_job_is_no_longer_listed_and_nothing_is_read_of_it(system, ids):
    await system.client.job(ids[-1]).delete()
    assert await listed(system, limit=1000) == ids[:-1]
    with counted_requests() as page:
        await listed(system, limit=1)
    with counted_requests() as one:
        await system.client.job(ids[0]).status()
    assert page.reads <= one.reads


async def test_entries_of_others_and_of_no_job_are_passed_over(system):
    await system.client.submit([line("a")], job_id="mine")
    for key in ("named/nonsense", "named/0123456789-", "named/0123456789-gone", "named/0123456789-a..b"):
        await system.storage.put(f"tenants/default/{key}", b"")
    assert await listed(system) == ["mine"]


@pytest.mark.parametrize("kind", ["jobs", "streams"])
async def test_a_list_does_not_go_on_behind_what_is_not_in_it(system, kind):
    await system.client.submit([line("a")], job_id="mine")
    unknown = "stream-unknown" if kind == "streams" else "unknown"
    with pytest.raises(JobNotFound, match=f"there is no {unknown} behind which") as raised:
        [one async for one in getattr(system.client, kind)(after=unknown)]
    assert raised.value.job_id == unknown
