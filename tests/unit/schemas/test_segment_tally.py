"""A tally says of all digests together what a table of every record says, and holds no more than its bound."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.indexset import IndexSet
from backburner_schemas.segment import Line, SegmentDigest, digest_of
from backburner_schemas.segment_tally import SegmentTally

LINES = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from([None, "engine_error", "expired", "cancelled"])),
    max_size=6,
    # A segment holds one error record of an index at most.
    unique_by=lambda line: (line[0], line[1] is None),
)


def tally_of(digests, **bounds):
    tally = SegmentTally("batch_1", **bounds)
    for digest in digests:
        tally.add(digest)
    return tally


@given(st.lists(LINES, max_size=12), st.none() | st.integers(0, 14))
def test_it_counts_what_a_table_of_all_records_counts(segments, below):
    digests = [digest_of([Line(index, b"{}", code) for index, code in lines]) for lines in segments]
    ok, errors, records = set(), {}, 0
    for lines in segments:
        for index, code in lines:
            if below is not None and index >= below:
                continue
            records += 1
            if code is None:
                ok.add(index)
            else:
                errors.setdefault(index, code)
    tally = tally_of(digests, below=below)
    assert (set(tally.ok), set(tally.failed), tally.records) == (ok, set(errors), records)
    assert set(tally.expired) == {index for index, code in errors.items() if code == "expired"}
    assert set(tally.cancelled) == {index for index, code in errors.items() if code == "cancelled"}


def test_segments_that_say_the_same_many_times_take_the_room_of_one():
    scattered = IndexSet.of(range(0, 4_000, 2))
    tracemalloc.start()
    try:
        tally = tally_of(SegmentDigest(ok=IndexSet.parse(str(scattered))) for _ in range(50))
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tally.ok == scattered
    assert held < 200_000
    assert peak < 1_500_000


def test_more_separate_ranges_than_a_job_has_are_refused_with_the_job_named():
    digests = [SegmentDigest(failed=IndexSet.of(range(start, 10_000, 20))) for start in range(0, 20, 2)]
    with pytest.raises(StoredObjectBroken, match=r"job batch_1 name more than 100 separate"):
        tally_of(digests, max_ranges=100)
    # Those that the job cannot have do not count.
    assert len(tally_of(digests, max_ranges=100, below=150).failed) == 75
    # Nor does what the next segment joins.
    whole = tally_of([*digests, SegmentDigest(failed=IndexSet.below(10_000))], max_ranges=5_000)
    assert whole.failed == IndexSet.below(10_000)
