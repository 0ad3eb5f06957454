"""Cutting an ordered job into groups: they end where the least is shared, and none is too large."""

from hypothesis import given
from hypothesis import strategies as st

from backburner.ordering.groups import APART_CODE, cut_groups, largest_group

DEPTHS = st.lists(st.sampled_from([APART_CODE, 0, 0, 1, 2, 2, 2, 3]), min_size=1, max_size=120)


def cut(depths, largest):
    return [*cut_groups(((depth, place) for place, depth in enumerate(depths)), largest)]


@given(DEPTHS, st.integers(1, 20))
def test_groups_are_the_entries_in_order_and_none_is_too_large(depths, largest):
    groups = cut(depths, largest)
    assert [place for group in groups for place in group] == [*range(len(depths))]
    assert all(0 < len(group) <= largest for group in groups)


@given(DEPTHS, st.integers(1, 20))
def test_a_group_ends_where_the_least_is_shared_within_its_reach(depths, largest):
    for group, following in zip(groups := cut(depths, largest), groups[1:], strict=False):
        reach = depths[group[0] + 1 : group[0] + 1 + largest]
        if APART_CODE in reach:
            assert depths[following[0]] == APART_CODE or APART_CODE not in depths[group[0] + 1 : following[0]]
        else:
            assert depths[following[0]] == min(reach)


@given(DEPTHS, st.integers(1, 20))
def test_what_is_apart_is_in_no_group_with_what_is_before(depths, largest):
    for group in cut(depths, largest):
        assert APART_CODE not in [depths[place] for place in group[1:]]


def test_what_shares_the_most_stays_together():
    depths = [0] + [5] * 9 + [2] + [5] * 9
    assert [len(group) for group in cut(depths, 16)] == [10, 10]


def test_small_groups_that_share_nothing_are_sent_as_one():
    assert [len(group) for group in cut([0, 4, 0, 4] * 10, 16)] == [16, 16, 8]


def test_a_small_job_has_groups_for_several_workers_and_a_large_one_no_huge_ones():
    assert [largest_group(count) for count in (1, 1280, 20_000, 1_000_000)] == [16, 20, 312, 512]
