"""Cutting an ordered job into groups: they end where the least is shared, and none is too large."""

from hypothesis import given
from hypothesis import strategies as st

from backburner.ordering.groups import APART_CODE, WHOLE_REQUESTS, cut_groups, largest_group

DEPTHS = st.lists(st.sampled_from([APART_CODE, 0, 0, 1, 2, 2, 2, 3]), min_size=1, max_size=120)


def cut(depths, largest):
    return [*cut_groups(((depth, place) for place, depth in enumerate(depths)), largest)]


def reach_of(depths, first, largest):
    """What a group that begins there is cut by: so many, or more of those that all share something."""
    for length in range(largest, WHOLE_REQUESTS):
        if min(reach := depths[first + 1 : first + 1 + length], default=0) <= 0:
            return reach
    return depths[first + 1 : first + 1 + max(largest, WHOLE_REQUESTS)]


@given(DEPTHS, st.integers(1, 40))
def test_groups_are_the_entries_in_order_and_none_is_too_large(depths, largest):
    groups = cut(depths, largest)
    assert [place for group in groups for place in group] == [*range(len(depths))]
    for group in groups:
        within = [depths[place] for place in group[1:]]
        assert len(group) <= (largest if 0 in within else max(largest, WHOLE_REQUESTS))


@given(DEPTHS, st.integers(1, 40))
def test_a_group_ends_where_the_least_is_shared_within_its_reach(depths, largest):
    for group, following in zip(groups := cut(depths, largest), groups[1:], strict=False):
        reach = reach_of(depths, group[0], largest)
        if APART_CODE in reach:
            assert depths[following[0]] == APART_CODE or APART_CODE not in depths[group[0] + 1 : following[0]]
        else:
            assert depths[following[0]] == min(reach)


@given(DEPTHS, st.integers(1, 20))
def test_what_is_apart_is_in_no_group_with_what_is_before(depths, largest):
    for group in cut(depths, largest):
        assert APART_CODE not in [depths[place] for place in group[1:]]


def test_what_shares_the_most_stays_together():
    depths = [0] + [5] * 19 + [2] + [5] * 19
    assert [len(group) for group in cut(depths, 16)] == [20, 20]


def test_twenty_that_share_a_beginning_stay_together_in_a_small_job():
    assert [len(group) for group in cut(([0] + [5] * 19) * 3, 16)] == [20, 20, 20]
    # What is shared by all is no reason to keep all together.
    assert max(len(group) for group in cut([0] + [3] * 99, 16)) == WHOLE_REQUESTS


def test_small_groups_that_share_nothing_are_sent_as_one():
    assert [len(group) for group in cut([0, 4, 0, 4] * 10, 16)] == [16, 16, 8]


def test_a_small_job_has_groups_for_several_workers_and_a_large_one_no_huge_ones():
    assert [largest_group(count) for count in (1, 1280, 20_000, 1_000_000)] == [16, 20, 312, 512]
