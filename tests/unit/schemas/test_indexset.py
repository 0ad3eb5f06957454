"""IndexSet does what a set of integers does, in the room of its ranges."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from backburner_schemas.indexset import IndexSet
from backburner_schemas.names import MAX_INDEX

# Close together, so that ranges touch and overlap.
SETS = st.frozensets(st.integers(0, 40) | st.integers(MAX_INDEX - 3, MAX_INDEX))
ADAPTER = TypeAdapter(IndexSet)


@given(SETS)
def test_it_holds_what_it_was_given_in_order(plain):
    indexes = IndexSet.of(plain)
    assert list(indexes) == sorted(plain)
    assert len(indexes) == len(plain)
    assert bool(indexes) == bool(plain)
    assert indexes.stop == max(plain, default=-1) + 1
    assert all((index in indexes) == (index in plain) for index in [*range(-1, 45), *plain])


@given(SETS, SETS)
def test_its_operations_are_those_of_sets(one, other):
    left, right = IndexSet.of(one), IndexSet.of(other)
    assert set(left | right) == one | other
    assert set(left & right) == one & other
    assert set(left - right) == one - other
    assert (left == right) == (one == other)
    if one == other:
        assert hash(left) == hash(right)


@given(st.lists(SETS, max_size=5))
def test_a_union_is_all_of_them(sets):
    assert set(IndexSet.union(IndexSet.of(one) for one in sets)) == frozenset().union(*sets)


@given(SETS)
def test_its_ranges_are_sorted_and_neither_touch_nor_overlap(plain):
    ranges = IndexSet.of(plain).ranges
    assert all(start < stop for start, stop in ranges)
    assert all(stop < start for (_, stop), (start, _) in pairwise(ranges))


@given(SETS)
def test_its_text_is_read_back_by_itself_and_by_pydantic(plain):
    indexes = IndexSet.of(plain)
    assert IndexSet.parse(str(indexes)) == indexes
    assert ADAPTER.validate_json(ADAPTER.dump_json(indexes)) == indexes
    assert eval(repr(indexes)) == indexes  # a representation that can be pasted


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6))
def test_it_takes_half_open_ranges_in_any_order(ranges):
    assert set(IndexSet(ranges)) == {index for start, stop in ranges for index in range(start, stop)}


def test_a_long_job_costs_one_range():
    everything = IndexSet.below(10**12)
    assert everything.ranges == ((0, 10**12),)
    assert str(everything - IndexSet.of([5])) == "0-4,6-999999999999"
    assert IndexSet.below(0) == IndexSet()


@given(st.text("0123456789-, ", max_size=20) | st.text(max_size=20))
def test_any_text_is_a_set_or_a_value_error(text):
    try:
        found = IndexSet.parse(text)
    except ValueError:
        return
    assert IndexSet.parse(str(found)) == found


@pytest.mark.parametrize(
    "text", [" ", ",", "1,", "-1", "1-", "3-1", "1--2", "a", "1 2", "0x1", "\u0661", "9" * 17, "1\n"]
)
def test_what_is_no_set_is_refused(text):
    with pytest.raises(ValueError, match="range"):
        IndexSet.parse(text)


@pytest.mark.parametrize("value", [5, None, [], {}, ["0-1"], True, "x"])
def test_pydantic_refuses_what_is_no_set(value):
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(value)


def test_text_whose_ranges_do_not_ascend_was_not_written_by_it_and_names_the_place():
    with pytest.raises(ValueError, match="'3-4'"):
        IndexSet.parse("0,7,3-4,9")
