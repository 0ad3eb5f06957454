"""Counts of running batches: each request once, what was read once, and no more kept than the bound."""

import asyncio
from functools import partial

import pytest
from waiting import until

from backburner.gateway.batches import running_counts
from backburner.gateway.batches.running_counts import RunningCounts
from backburner_schemas import keys
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.job import Counts, Cursor, JobManifest, JobState, Summary
from backburner_schemas.keys import SegmentName
from backburner_schemas.segment import Line, SegmentDigest, encode_segment
from backburner_schemas.segment_tally import SegmentTally
from backburner_schemas.status import JobView

RECORD = b'{"id":"x"}'


async def put(storage, job, number, indexes):
    """Store a segment with these responses; its name."""
    name = str(SegmentName("0" * 26, number, len(indexes), 0, 1, 1, 1))
    await storage.put(keys.segments("t", job) + name, encode_segment([Line(index, RECORD) for index in indexes]))
    return name


def view(job, *segments, summary=None):
    manifest = JobManifest(id=job, tenant="t", created_at=1.0, deadline=2.0)
    return JobView(manifest, cursor=Cursor(count=10, total=10), segments=segments, summary=summary)


@pytest.fixture
def read(storage, monkeypatch):
    """The keys of which the first bytes were read."""
    asked, head = [], storage.head

    async def seen(key, length):
        asked.append(key.rpartition("/")[2])
        return await head(key, length)

    monkeypatch.setattr(storage, "head", seen)
    return asked


async def test_each_request_counts_once_and_each_segment_is_read_once(storage, read):
    counts = RunningCounts()
    first, second = await put(storage, "a", 0, [0, 1]), await put(storage, "a", 1, [1, 2, 99])
    assert await counts.of(storage, view("a", first)) == Counts(total=10, completed=2)
    assert await counts.of(storage, view("a", first, second)) == Counts(total=10, completed=3)
    assert read == [first, second]


async def test_what_is_kept_of_all_batches_is_bounded_by_what_it_takes_in_memory(storage, read):
    counts = RunningCounts(max_units=100)
    scattered = {job: await put(storage, job, 0, [0, 2, 4, 6, 8]) for job in "abc"}
    for job in "abcba":
        assert (await counts.of(storage, view(job, scattered[job]))).completed == 5
    # Two fit: the one that was asked for longest ago was read anew.
    assert len(read) == 4


async def test_a_batch_that_has_ended_is_forgotten(storage):
    counts = RunningCounts()
    name = await put(storage, "a", 0, range(10))
    await counts.of(storage, view("a", name))
    assert len(counts) == 1
    ended = Summary(state=JobState.COMPLETED, counts=Counts(total=10, completed=10), finalized_at=3.0)
    assert await counts.of(storage, view("a", name, summary=ended)) == ended.counts
    assert len(counts) == 0


async def test_a_batch_is_forgotten_that_nobody_asks_for_any_more(storage):
    """Its end may have been told by another gateway."""
    now = 0.0
    counts = RunningCounts(lambda: now)
    name = {job: await put(storage, job, 0, [0]) for job in "abc"}
    await counts.of(storage, view("a", name["a"]))
    now = 599.0
    await counts.of(storage, view("b", name["b"]))
    assert len(counts) == 2
    now = 601.0
    await counts.of(storage, view("c", name["c"]))
    assert len(counts) == 2


async def test_small_batches_count_with_what_each_takes_itself(storage):
    counts = RunningCounts(max_units=1000)
    for number in range(100):
        await counts.of(storage, view(f"batch_{number}"))
    assert len(counts) < 30


async def test_a_segment_that_cannot_be_read_is_not_read_at_each_look_and_what_was_counted_stays(
    storage, read, monkeypatch
):
    counts, head = RunningCounts(), storage.head
    first, bad, last = [await put(storage, "a", number, [number]) for number in range(3)]

    async def broken(key, length):
        found = await head(key, length)
        if key.endswith(bad):
            raise StoredObjectBroken("it is broken")
        return found

    monkeypatch.setattr(storage, "head", broken)
    for _ in range(3):
        with pytest.raises(StoredObjectBroken, match="it is broken"):
            await counts.of(storage, view("a", first, bad))
    assert read == [first, bad]
    # Somebody removed it.
    assert (await counts.of(storage, view("a", first, last))).completed == 2
    assert read == [first, bad, last]


@pytest.mark.parametrize("indexes", [[4, 8], [0, 2, 4, 6, 8]], ids=["once joined", "when added"])
async def test_segments_with_too_much_are_not_read_at_each_look(storage, read, monkeypatch, indexes):
    monkeypatch.setattr(running_counts, "SegmentTally", partial(SegmentTally, max_ranges=2))
    counts = RunningCounts()
    good, bad = await put(storage, "a", 0, [0, 1]), await put(storage, "a", 1, indexes)
    for _ in range(3):
        answers = await asyncio.gather(
            *(counts.of(storage, view("a", good, bad)) for _ in range(3)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [StoredObjectBroken] * 3
    assert read == [good, bad]
    assert (await counts.of(storage, view("a", good))).completed == 2
    assert read == [good, bad, good]


class SlowSegments:
    """Digests that come one by one, each when it is let through."""

    def __init__(self, monkeypatch):
        self.asked, self.given = [], 0
        self.room = asyncio.Semaphore(0)
        monkeypatch.setattr(running_counts, "read_digests", self._read)

    async def _read(self, _storage, tenant, job, names):
        self.asked.append((tenant, job, list(names)))
        for _ in names:
            if tenant == "large":
                await self.room.acquire()
            yield SegmentDigest()
            self.given += 1


def segments(tenant, job, count):
    manifest = JobManifest(id=job, tenant=tenant, created_at=1.0, deadline=2.0)
    names = tuple(f"s{number}" for number in range(count))
    return JobView(manifest, cursor=Cursor(count=10, total=10), segments=names)


async def test_a_count_that_is_given_up_is_gone_on_with(monkeypatch):
    slow, counts = SlowSegments(monkeypatch), RunningCounts()
    counting = asyncio.create_task(counts.of(None, segments("large", "j", 5)))
    for _ in range(3):
        slow.room.release()
    await until(lambda: slow.given == 3, "three digests")
    counting.cancel()
    await asyncio.wait([counting])
    slow.room.release()
    slow.room.release()
    await counts.of(None, segments("large", "j", 5))
    assert [len(names) for *_, names in slow.asked] == [5, 2]


async def test_one_tenants_counts_hold_up_no_others(monkeypatch):
    slow, counts = SlowSegments(monkeypatch), RunningCounts()
    large = [asyncio.create_task(counts.of(None, segments("large", f"j{number}", 5))) for number in range(12)]
    await until(lambda: slow.asked, "a count under way")
    async with asyncio.timeout(10):
        await counts.of(None, segments("small", "j", 5))
    for counting in large:
        counting.cancel()
    await asyncio.wait(large)


async def test_of_calls_at_once_for_a_batch_one_counts_it(monkeypatch):
    slow, counts = SlowSegments(monkeypatch), RunningCounts()
    calls = [asyncio.create_task(counts.of(None, segments("large", "j", 5))) for _ in range(3)]
    await until(lambda: slow.asked, "a count under way")
    for _ in range(5):
        slow.room.release()
    await asyncio.gather(*calls)
    assert sum(len(names) for *_, names in slow.asked) == 5
