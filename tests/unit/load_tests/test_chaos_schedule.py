"""The fault harness's schedule: a pure function of the seed, in which every kind of fault has its turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.schedule import Kind, schedule


def test_a_seed_always_gives_the_same_faults():
    assert schedule(7, 40, tuple(Kind)) == schedule(7, 40, tuple(Kind))
    assert schedule(7, 40, tuple(Kind)) != schedule(8, 40, tuple(Kind))


def test_a_longer_schedule_begins_like_a_shorter_one():
    assert schedule(7, 40, tuple(Kind))[:10] == schedule(7, 10, tuple(Kind))


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_comes_before_any_comes_twice_as_often(seed):
    kinds = [fault.kind for fault in schedule(seed, 4 * len(Kind), tuple(Kind))]
    assert {kinds.count(kind) for kind in Kind if kind not in {Kind.JOIN, Kind.LEAVE}} <= {3, 4, 5}


@given(st.integers(), st.integers(0, 60))
def test_joins_and_leaves_take_turns(seed, count):
    joined = False
    for fault in schedule(seed, count, tuple(Kind)):
        if fault.kind in {Kind.JOIN, Kind.LEAVE}:
            assert joined is (fault.kind is Kind.LEAVE)
            joined = not joined
