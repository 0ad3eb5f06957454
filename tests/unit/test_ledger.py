"""The ledger against a model of it: whatever comes in whatever order, the low-water mark is what it should be."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backburner_worker.ledger import Ledger


def test_nothing_is_known_before_the_first_offset():
    ledger = Ledger()
    assert ledger.low_water is None
    assert ledger.take(7)
    assert ledger.low_water == 7
    assert ledger.settle(7)
    assert ledger.low_water == 8


def test_the_mark_waits_for_the_slowest_and_then_jumps():
    ledger = Ledger(0)
    for offset in range(5):
        ledger.take(offset)
    for offset in (4, 2, 1):
        ledger.settle(offset)
    assert (ledger.low_water, ledger.ahead, ledger.completed) == (0, 3, frozenset({1, 2, 4}))
    ledger.settle(0)
    assert (ledger.low_water, ledger.ahead) == (3, 1)


def test_gaps_in_the_offsets_are_passed_over():
    ledger = Ledger(10)
    for offset in (12, 15, 90):
        ledger.take(offset)
    assert ledger.low_water == 12
    ledger.settle(12)
    assert ledger.low_water == 15
    ledger.settle(90)
    ledger.settle(15)
    assert ledger.low_water == 91


def test_an_offset_settles_once():
    ledger = Ledger(0)
    ledger.take(0)
    assert not ledger.settle(1)
    assert ledger.settle(0)
    assert not ledger.settle(0)


def test_a_copy_of_what_was_taken_is_no_news():
    ledger = Ledger(0)
    assert ledger.take(3)
    assert not ledger.take(3)
    assert not ledger.take(2)


def test_adopted_offsets_are_no_news_when_they_come_again():
    ledger = Ledger(10, running=[11, 14], done=[12, 9])
    assert [offset for offset in range(10, 16) if ledger.take(offset)] == [10, 13, 15]
    ledger.settle(10)
    assert ledger.low_water == 11
    ledger.settle(11)
    assert ledger.low_water == 13


def test_adopted_offsets_at_the_mark_need_not_come_again():
    ledger = Ledger(10, running=[10, 11, 13])
    for offset in (11, 13, 10):
        ledger.settle(offset)
    assert ledger.low_water == 12
    assert not ledger.take(10)
    assert ledger.take(12)
    ledger.settle(12)
    assert ledger.low_water == 14


def test_the_mark_does_not_pass_an_adopted_offset_that_is_gone_from_the_log():
    ledger = Ledger(10, running=[12])
    for offset in (10, 11, 20):
        ledger.take(offset)
    for offset in (10, 11, 20):
        ledger.settle(offset)
    assert ledger.low_water == 12
    ledger.settle(12)
    assert ledger.low_water == 21


def test_offsets_below_the_base_are_not_adopted():
    ledger = Ledger(10, running=[3], done=[4])
    assert ledger.low_water == 10
    assert not ledger.settle(3)
    assert ledger.completed == frozenset()


@given(st.lists(st.integers(0, 50), unique=True, min_size=1), st.randoms(use_true_random=False))
def test_when_all_is_settled_nothing_is_kept_in_mind(offsets, dice):
    ledger = Ledger(0)
    for offset in sorted(offsets):
        assert ledger.take(offset)
    dice.shuffle(offsets)
    for offset in offsets:
        assert ledger.settle(offset)
    assert (ledger.low_water, ledger.ahead, ledger.span) == (max(offsets) + 1, 0, 0)


class LedgerMachine(RuleBasedStateMachine):
    """Takes, settles and rebalances in any order, beside a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(0)
        self.taken: set[int] = set()
        self.done: set[int] = set()
        self.next = 0

    @rule(gap=st.integers(0, 3))
    def take(self, gap: int) -> None:
        offset = self.next + gap
        assert self.ledger.take(offset) is (offset not in self.taken)
        self.taken.add(offset)
        self.next = offset + 1

    @precondition(lambda self: self.taken - self.done)
    @rule(data=st.data())
    def settle(self, data: Any) -> None:
        offset = data.draw(st.sampled_from(sorted(self.taken - self.done)))
        assert self.ledger.settle(offset)
        self.done.add(offset)

    @rule(data=st.data())
    def come_back(self, data: Any) -> None:
        """The partition goes and comes back, with some of what was open still running, the rest forgotten."""
        low = self.ledger.low_water or 0
        still_open = sorted(self.taken - self.done)
        running = data.draw(st.sets(st.sampled_from(still_open))) if still_open else set()
        self.ledger = Ledger(low, running, self.ledger.completed)
        self.taken = running | self.done
        self.next = low

    @invariant()
    def mark_is_right(self) -> None:
        still_open = self.taken - self.done
        mark = self.ledger.low_water
        assert mark is not None
        assert all(offset >= mark for offset in still_open)
        passed = {offset for offset in still_open if offset < self.next}
        reached = self.next
        while reached in self.done:
            reached += 1
        assert mark == (min(passed) if passed else reached)


TestLedger = LedgerMachine.TestCase
