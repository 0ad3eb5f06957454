"""Hostile objects in the store, read through the SDK: told to whoever asks for that job, and nobody else's trouble."""

import asyncio
import json
import tracemalloc
from contextlib import aclosing
from itertools import count

import pytest
from hostile_objects import HOSTILE_BYTES, LARGE_BYTES, hostile_documents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backburner.jobs.finalizer import finalize, read_digests
from backburner.jobs.seen_indexes import SeenIndexes
from backburner.settings import Settings
from backburner.storage import Storage
from backburner.storage.errors import ObjectTooLarge
from backburner_schemas import keys, segment_tally
from backburner_schemas.errors import BackburnerError, StoredObjectBroken
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import Counts, Cursor, JobManifest, JobState, Sealed, Summary
from backburner_schemas.segment import SegmentDigest

TENANT = "default"
LINE = {"custom_id": "r", "url": "/v1/chat/completions", "body": {"model": "fake", "messages": []}}
SEGMENT = f"{'0' * 26}-{0:08d}-1ok-0err-1in-1out-1ms.jsonl"
EXAMPLES = min(60, settings.default.max_examples)
READ_RECORDS = 1000
"""Of a hostile job, which may have any number."""

VALID = {
    keys.manifest: JobManifest(id="evil", tenant=TENANT, created_at=1, deadline=2),
    keys.cursor: Cursor(count=3),
    keys.sealed: Sealed(total=3, sha256="", sealed_at=1),
    keys.summary: Summary(
        state=JobState.EXPIRED,
        counts=Counts(total=3, failed=3),
        segments=(SEGMENT,),
        missing=IndexSet.below(3),
        missing_code="expired",
        finalized_at=1,
    ),
}


@pytest.fixture
def storage():
    return Storage.open(Settings(store_url="memory:///"))


async def look_at(system, job):
    """All that a user may ask of a job; what it says is its own affair, as long as it says it by an error of ours."""
    for ask in (job.status, job.reconcile):
        try:
            await ask()
        except BackburnerError as error:
            assert len(str(error)) < 2000  # noqa: PT017 - either way is right
    try:
        seen = count(1)
        async for _ in job.results(follow=False):
            if next(seen) >= READ_RECORDS:
                break
    except BackburnerError:
        pass


async def listed(system):
    return [one.id async for one in system.client.jobs()]


@pytest.mark.parametrize("key", VALID)
@pytest.mark.parametrize("data", HOSTILE_BYTES.values(), ids=HOSTILE_BYTES)
async def test_bytes_of_any_kind_in_the_place_of_a_jobs_object_hurt_that_job_alone(system, key, data):
    good = await system.client.submit([LINE])
    for maker, model in VALID.items():
        await system.storage.put(maker(TENANT, "evil"), model.model_dump_json().encode())
    await system.storage.put(key(TENANT, "evil"), data)
    await look_at(system, system.client.job("evil"))
    assert good.id in await listed(system)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=EXAMPLES)
@given(st.data())
async def test_values_of_any_kind_in_a_jobs_objects_hurt_that_job_alone(system, data):
    for maker, model in VALID.items():
        document = data.draw(hostile_documents(json.loads(model.model_dump_json())))
        await system.storage.put(maker(TENANT, "evil"), document)
    await system.storage.put(keys.segments(TENANT, "evil") + SEGMENT, data.draw(st.binary(max_size=64)))
    await look_at(system, system.client.job("evil"))
    await listed(system)


@pytest.mark.parametrize("read", ["get", "view"])
async def test_an_object_over_its_bound_is_not_read_and_is_named(storage, read):
    await storage.put("pools/x.json", b"x" * 100)
    assert bytes((await storage.get("pools/x.json", max_bytes=100)).data) == b"x" * 100
    with pytest.raises(ObjectTooLarge, match=r"pools/x\.json has 100 bytes"):
        await getattr(storage, read)("pools/x.json", max_bytes=99)
    assert issubclass(ObjectTooLarge, StoredObjectBroken)
    assert storage.unavailable_reason() is None


async def test_a_pool_that_is_too_large_to_be_one_keeps_nobody_from_the_others(system):
    await system.storage.put(keys.pool("evil"), b"x" * LARGE_BYTES)
    await system.storage.put(keys.worker("fake", "evil"), b"x" * LARGE_BYTES)
    assert [pool.pool for pool in await system.client.pools()] == ["fake"]
    assert (await (await system.client.enqueue("hello")).result(timeout=10)).ok


async def test_a_digest_without_an_end_is_not_looked_for_to_the_segments_end(storage, monkeypatch):
    asked = []
    head = storage.head

    async def seen(key, length):
        asked.append(length)
        return await head(key, length)

    monkeypatch.setattr(storage, "head", seen)
    await storage.put(keys.segments(TENANT, "evil") + SEGMENT, b'{"segment":' + b"9" * (20 << 20))
    assert [one async for one in read_digests(storage, TENANT, "evil", (SEGMENT,))] == [SegmentDigest()]
    assert sum(asked) < 4 << 20


async def test_digests_are_read_some_ahead_of_who_folds_them(storage, monkeypatch):
    asked = []

    async def seen(key, _length):
        asked.append(key)
        return b'{"segment":{"v":1,"ok":"%d"},' % len(asked)

    monkeypatch.setattr(storage, "head", seen)
    async with aclosing(read_digests(storage, TENANT, "evil", (f"{number}" for number in range(10_000)))) as digests:
        assert [str((await anext(digests)).ok) for _ in range(100)] == [f"{number}" for number in range(1, 101)]
    assert len(asked) < 120


async def test_a_job_whose_segments_name_more_ranges_than_any_has_ends_nothing_and_is_named(storage, monkeypatch):
    monkeypatch.setattr(segment_tally.SegmentTally.__init__, "__kwdefaults__", {"below": None, "max_ranges": 100})
    await storage.put(keys.manifest(TENANT, "evil"), VALID[keys.manifest].model_dump_json().encode())
    sealed = Sealed(total=10_000, sha256="", sealed_at=1)
    await storage.put(keys.sealed(TENANT, "evil"), sealed.model_dump_json().encode())
    digest = SegmentDigest(ok=IndexSet.of(range(0, 10_000, 2))).model_dump_json().encode()
    await storage.put(keys.segments(TENANT, "evil") + SEGMENT, b'{"segment":%b,"id":"x"}' % digest)
    with pytest.raises(StoredObjectBroken, match="job evil name more than 100"):
        await finalize(storage, TENANT, "evil", grace=0.0)
    assert await storage.get(keys.summary(TENANT, "evil")) is None


async def test_all_below_a_prefix_is_removed_some_at_a_time(storage, monkeypatch):
    monkeypatch.setattr("backburner.storage.storage._REMOVED_TOGETHER_COUNT", 4)
    for number in range(10):
        await storage.put(f"old/{number}", b"")
    removed, delete = [], storage.delete

    async def seen(some):
        removed.append(len(some))
        await delete(some)

    monkeypatch.setattr(storage, "delete", seen)
    assert await storage.delete_all("old/", before=1.0) == 0
    assert await storage.delete_all("old/") == 10
    assert removed == [0, 4, 4, 2]
    assert [one async for one in storage.scan("old/")] == []


def test_records_far_from_all_others_cost_no_more_memory_than_they_are_long():
    seen = SeenIndexes()
    tracemalloc.start()
    try:
        for number in range(2000):
            assert seen.add(number << 30)
        assert tracemalloc.get_traced_memory()[1] <= 2000 * 300
    finally:
        tracemalloc.stop()


async def test_a_manifest_that_names_another_tenants_job_ends_and_touches_nothing_of_that_job(storage):
    theirs = JobManifest(id="batch_theirs", tenant="victim", created_at=1, deadline=4e9)
    forged = theirs.model_copy(update={"deadline": 2.0})
    await storage.put(keys.open_job("victim", theirs.id), b"")
    await storage.put(keys.manifest("victim", theirs.id), theirs.model_dump_json().encode())
    await storage.put(keys.open_job("evil", "batch_mine"), b"")
    await storage.put(keys.manifest("evil", "batch_mine"), forged.model_dump_json().encode())
    await storage.put(keys.cancelled("evil", "batch_mine"), b"")
    (ended,) = await asyncio.gather(finalize(storage, "evil", "batch_mine", grace=0.0), return_exceptions=True)
    assert await storage.modified(keys.summary("victim", theirs.id)) is None
    assert await storage.modified(keys.open_job("victim", theirs.id)) is not None
    assert isinstance(ended, StoredObjectBroken)
