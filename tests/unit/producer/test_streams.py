"""Streams of raw producers: what there is of them, from the names of their segments alone."""

import pytest

from backburner import JobError, JobNotFound
from backburner.storage import Storage
from backburner.testing import FakeSystem
from backburner_schemas import keys


@pytest.fixture
async def system():
    async with FakeSystem() as system:
        yield system


async def store(system, name, *, ok=1, failed=0, tenant="default"):
    segment = keys.SegmentName(keys.new_ulid(), 0, ok, failed, 10 * ok, 5 * ok, 1500)
    await system.storage.put(keys.segment(tenant, name, segment), b"")


async def test_streams_are_listed_with_their_counts_the_latest_day_first(system):
    old, new, own = "stream-t.normal-2026-01-01", "stream-t.low-2026-01-02", "stream-mine"
    await store(system, old, ok=3)
    await store(system, old, ok=1, failed=2)
    for name in (new, own, "batch_1", "single-1", "streamer"):
        await store(system, name)
    await store(system, old, ok=50, tenant="other")
    found = [stream async for stream in system.client.streams()]
    assert [stream.id for stream in found] == [new, old, own]
    counts, usage = found[1].request_counts, found[1].usage
    assert (counts.total, counts.completed, counts.failed) == (6, 4, 2)
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens, usage.engine_seconds) == (40, 20, 60, 3.0)
    assert 0 < found[1].first_record_at <= found[1].last_record_at
    assert [stream.id async for stream in system.client.streams(limit=1)] == [new]
    assert [stream.id async for stream in system.client.streams(after=new)] == [old, own]
    with pytest.raises(JobNotFound, match="stream-gone"):
        [stream.id async for stream in system.client.streams(after="stream-gone")]
    assert [stream.id async for stream in system.client.streams(tenant="other")] == [old]
    assert await system.client.stream(old) == found[1]


async def test_listing_streams_does_not_ask_for_each_single_request(system, monkeypatch):
    await store(system, "stream-t.normal-2026-01-01")
    for _ in range(50):
        await system.client.enqueue("hello")
    asked = []
    for name in ("folders", "scan", "get", "modified", "head"):
        call = getattr(Storage, name)

        def counted(self, *given, call=call, **named):
            asked.append(given)
            return call(self, *given, **named)

        monkeypatch.setattr(Storage, name, counted)
    assert len([stream async for stream in system.client.streams()]) == 1
    assert len(asked) == 2


async def test_what_is_no_stream_or_holds_nothing_is_told(system):
    with pytest.raises(JobNotFound, match="stream-nothing"):
        await system.client.stream("stream-nothing")
    with pytest.raises(JobError, match="begins with stream-"):
        await system.client.stream("batch_1")
    await store(system, "stream-mine")
    with pytest.raises(JobNotFound, match=r"backburner status stream-mine"):
        await system.client.job("stream-mine").status()
