"""The fault harness's own reading of what is committed beside an offset, held against what the worker writes there."""

from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.indexset import IndexSet
from backburner_worker.sources.kafka.marks import Marks, encode
from chaos.commits import completed


def offsets(low):
    return st.sets(st.integers(low, low + 3000), max_size=200).map(IndexSet.of)


@given(st.integers(0, 1 << 40).flatmap(lambda low: st.tuples(st.just(low), offsets(low), offsets(low), offsets(low))))
def test_the_harness_reads_the_completed_set_that_the_worker_wrote(found):
    low, done, started, suspects = found
    text, held = encode(
        Marks(incarnation=7, completed=done, started=started, suspects=suspects, write_ahead_until=low + 9), low
    )
    assert completed(low, text) == {offset for first, stop in held.completed.ranges for offset in range(first, stop)}


def test_text_of_others_tells_nothing():
    assert completed(5, "") == completed(5, "somebody's") == frozenset()
