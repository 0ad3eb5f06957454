"""Counts of running batches: each request once, what was read once, and no more kept than the bound."""

import pytest

from backburner.gateway.batches.running_counts import RunningCounts
from backburner_schemas import keys
from backburner_schemas.job import Counts, Cursor, JobManifest
from backburner_schemas.keys import SegmentName
from backburner_schemas.segment import Line, encode_segment
from backburner_schemas.status import JobView

RECORD = b'{"id":"x"}'


async def put(storage, job, number, indexes):
    """Store a segment with these responses; its name."""
    name = str(SegmentName("0" * 26, number, len(indexes), 0, 1, 1, 1))
    await storage.put(keys.segments("t", job) + name, encode_segment([Line(index, RECORD) for index in indexes]))
    return name


def view(job, *segments):
    manifest = JobManifest(id=job, tenant="t", created_at=1.0, deadline=2.0)
    return JobView(manifest, cursor=Cursor(count=10, total=10), segments=segments)


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
    counts = RunningCounts(max_units=12)
    scattered = {job: await put(storage, job, 0, [0, 2, 4, 6, 8]) for job in "abc"}
    for job in "abcba":
        assert (await counts.of(storage, view(job, scattered[job]))).completed == 5
    # Two fit: the one that was asked for longest ago was read anew.
    assert len(read) == 4
