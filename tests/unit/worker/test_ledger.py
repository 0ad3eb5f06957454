"""The ledger against a model of it: whatever comes in whatever order, the low-water mark is what it should be."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backburner_schemas.indexset import IndexSet
from backburner_worker.sources.kafka.ledger import Ledger


def test_the_mark_waits_for_the_slowest_and_then_jumps():
    ledger = Ledger(0)
    for offset in range(5):
        ledger.take(offset)
    for offset in (4, 2, 1):
        ledger.settle(offset)
    assert (ledger.low_water, ledger.completed) == (0, IndexSet.of([1, 2, 4]))
    ledger.settle(0)
    assert (ledger.low_water, ledger.completed) == (3, IndexSet.of([4]))


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


def test_what_was_begun_is_started_until_it_is_done():
    ledger = Ledger(0)
    ledger.take(0)
    ledger.take(1)
    ledger.begin(1)
    ledger.begin(7)
    assert ledger.started == IndexSet.of([1])
    ledger.settle(1)
    assert ledger.started == IndexSet()


def test_whatever_is_to_be_committed_counts_as_one_change():
    ledger = Ledger(0)
    ledger.take(0)
    ledger.take(1)
    assert ledger.changes == 0
    begin, settle = (lambda: ledger.begin(0)), (lambda: ledger.settle(1))
    for change in (begin, lambda: ledger.begin(1), settle, lambda: ledger.take(4)):
        before = ledger.changes
        change()
        assert ledger.changes == before + 1


def test_adopted_offsets_are_no_news_when_they_come_again():
    ledger = Ledger(10, running=[11, 14], done=IndexSet.of([9, 12]), started=[14, 12])
    assert ledger.started == IndexSet.of([14])
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


def test_what_is_done_at_the_mark_is_not_read_again():
    ledger = Ledger(10, done=IndexSet([(10, 500)]))
    assert (ledger.low_water, ledger.position, ledger.catching_up) == (500, 500, False)


def test_the_ledger_catches_up_until_all_that_it_knows_has_come_again():
    ledger = Ledger(0, running=[5], done=IndexSet.of([3]))
    for offset in range(6):
        assert ledger.catching_up
        ledger.take(offset)
    assert not ledger.catching_up


def test_what_is_done_right_behind_a_gap_is_no_news():
    ledger = Ledger(0, done=IndexSet.of([2, 3]))
    assert not ledger.take(2)
    assert (ledger.low_water, ledger.position) == (4, 4)
    assert ledger.take(4)


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
    ledger = Ledger(10, running=[3], done=IndexSet.of([4]))
    assert ledger.low_water == 10
    assert not ledger.settle(3)
    assert ledger.completed == IndexSet()


def test_a_million_done_behind_a_slow_one_cost_no_memory():
    ledger = Ledger(0)
    ledger.take(0)
    for offset in range(1, 100_000):
        ledger.take(offset)
        ledger.settle(offset)
    assert ledger.size == 2


def test_what_the_log_has_nothing_of_is_passed_by_without_a_record_behind_it():
    ledger = Ledger(0)
    for offset in (0, 4):  # 1 to 3 were compacted away.
        assert ledger.take(offset)
    assert ledger.reach(9) == 4  # 5 to 8 too, and nothing has come after them.
    ledger.settle(0)
    assert ledger.low_water == 4
    ledger.settle(4)
    assert (ledger.low_water, ledger.position, ledger.size) == (9, 9, 0)
    assert ledger.reach(9) == ledger.reach(2) == 0


def test_reaching_on_says_how_much_of_it_nobody_knew():
    ledger = Ledger(10, running=[12], done=IndexSet.of([14, 15]))
    assert ledger.reach(20) == 7
    assert ledger.settle(12)
    assert ledger.low_water == 20


def test_what_was_adopted_right_at_the_position_is_no_news_to_who_reaches_past_it():
    ledger = Ledger(0, running=[0])
    assert ledger.reach(5) == 4


def test_what_is_held_already_is_no_gap_and_what_came_beside_it_is_none_either():
    ledger = Ledger(10, running=[12, 14])
    assert ledger.reach(20) == 8
    ledger = Ledger(11, running=[11])
    for offset in (11, 12):
        ledger.take(offset)
    ledger.reach(20)
    ledger.settle(11)
    assert ledger.low_water == 12


def test_what_was_done_behind_a_gap_is_no_part_of_it():
    ledger = Ledger(10, done=IndexSet.of([20, 21]))
    assert ledger.reach(20) == 10
    assert (ledger.low_water, ledger.position, ledger.size) == (22, 22, 0)


def test_a_gap_of_nothing_takes_no_room():
    ledger = Ledger(10, running=[12])
    ledger.reach(13)
    assert (ledger.low_water, ledger.size) == (12, 1)


def test_a_held_offset_that_reading_has_come_up_to_is_still_to_be_caught_up_with():
    ledger = Ledger(0, running=[5])
    ledger.reach(5)
    assert ledger.catching_up
    assert not ledger.take(5)
    assert not ledger.catching_up


def test_a_gap_that_is_held_open_is_waited_for_and_filled():
    ledger = Ledger(0)
    assert ledger.take(0, hold_gaps=True)
    assert ledger.take(3, hold_gaps=True)
    ledger.settle(0)
    ledger.settle(3)
    assert (ledger.low_water, ledger.gaps, ledger.completed) == (1, (1, 3), IndexSet.of([3]))
    assert ledger.take(2, hold_gaps=True)
    assert not ledger.take(2, hold_gaps=True)
    assert not ledger.take(3, hold_gaps=True)
    ledger.settle(2)
    assert (ledger.low_water, ledger.gaps) == (1, (1, 2))
    assert ledger.take(1, hold_gaps=True)
    ledger.settle(1)
    assert (ledger.low_water, ledger.gaps, ledger.size) == (4, None, 0)


def test_a_gap_that_is_closed_counts_as_done_and_only_below_that_offset():
    ledger = Ledger(0)
    for offset in (2, 5, 9):
        ledger.take(offset, hold_gaps=True)
    for offset in (2, 5, 9):
        ledger.settle(offset)
    before = ledger.changes
    assert ledger.close_gaps(4) == 3
    assert ledger.changes == before + 1
    assert (ledger.low_water, ledger.gaps) == (4, (4, 9))
    assert ledger.close_gaps(100) == 4
    assert (ledger.low_water, ledger.gaps, ledger.size) == (10, None, 0)
    assert ledger.close_gaps(100) == 0


def test_what_is_known_in_a_gap_is_no_part_of_it():
    ledger = Ledger(0, running=[3], done=IndexSet.of([1, 5]))
    assert ledger.take(7, hold_gaps=True)
    assert [offset for offset in range(7) if ledger.take(offset, hold_gaps=True)] == [0, 2, 4, 6]


@given(st.lists(st.integers(0, 50), unique=True, min_size=1), st.randoms(use_true_random=False))
def test_when_all_is_settled_nothing_is_kept_in_mind(offsets, dice):
    ledger = Ledger(0)
    for offset in sorted(offsets):
        assert ledger.take(offset)
    dice.shuffle(offsets)
    for offset in offsets:
        assert ledger.settle(offset)
    assert (ledger.low_water, ledger.span, ledger.size) == (max(offsets) + 1, 0, 0)


class LedgerMachine(RuleBasedStateMachine):
    """Takes, begins, settles and rebalances in any order, beside a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(0)
        self.log: set[int] = set()
        self.end = 0
        self.next = 0
        self.waiting: set[int] = set()
        self.begun: set[int] = set()
        self.done: set[int] = set()
        self.late: set[int] = set()

    @rule(gap=st.integers(0, 3))
    def append(self, gap: int) -> None:
        """A producer writes, perhaps after offsets that hold nothing."""
        self.log.add(self.end + gap)
        self.end += gap + 1

    @precondition(lambda self: any(offset >= self.next for offset in self.log))
    @rule()
    def take(self) -> None:
        offset = min(offset for offset in self.log if offset >= self.next)
        assert self.ledger.take(offset) is (offset not in self.waiting | self.done)
        self.done |= set(range(self.next, offset)) - self.waiting
        if offset not in self.done:
            self.waiting.add(offset)
        self.next = offset + 1

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), begins=st.booleans())
    def settle(self, data: Any, begins: bool) -> None:
        offset = data.draw(st.sampled_from(sorted(self.waiting)))
        if begins:
            self.ledger.begin(offset)
            self.begun.add(offset)
        else:
            assert self.ledger.settle(offset)
            self.waiting.discard(offset)
            self.begun.discard(offset)
            self.done.add(offset)

    @rule(gap=st.integers(1, 3))
    def see_a_gap(self, gap: int) -> None:
        """A record comes before those in front of it: they may come later, or nobody waits for them any more."""
        last = self.end + gap
        self.end = last + 1
        passed = set(range(self.next, last)) - self.waiting - self.done
        self.late |= passed
        self.log |= {*passed, last}
        assert self.ledger.take(last, hold_gaps=True)
        self.waiting.add(last)
        self.next = last + 1

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def fill_a_gap(self, data: Any) -> None:
        offset = data.draw(st.sampled_from(sorted(self.late)))
        assert self.ledger.take(offset, hold_gaps=True)
        assert not self.ledger.take(offset, hold_gaps=True)
        self.late.discard(offset)
        self.waiting.add(offset)

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def close_gaps(self, data: Any) -> None:
        below = data.draw(st.sampled_from(sorted(self.late))) + 1
        closed = {offset for offset in self.late if offset < below}
        assert self.ledger.close_gaps(below) == len(closed)
        self.late -= closed
        self.done |= closed

    @rule(data=st.data())
    def come_back(self, data: Any) -> None:
        """The partition goes and comes back, with some of what was open still running, the rest forgotten."""
        self.late = set()
        running = data.draw(st.sets(st.sampled_from(sorted(self.waiting)))) if self.waiting else set()
        self.waiting, self.begun = running, self.begun & running
        self.ledger = Ledger(self.ledger.low_water, running, self.ledger.completed, self.begun)
        self.next = self.ledger.position

    @rule(data=st.data())
    def lose_a_record(self, data: Any) -> None:
        """Compaction takes what was not read yet out of the log."""
        if unread := sorted(offset for offset in self.log if offset >= self.next):
            self.log.discard(data.draw(st.sampled_from(unread)))

    @rule()
    def reach(self) -> None:
        """The broker has nothing more up to the next record, or to the log's end."""
        at = min((offset for offset in self.log if offset >= self.next), default=self.end)
        unknown = self.ledger.reach(at)
        assert unknown <= max(at - self.next, 0)
        self.done |= set(range(self.next, at)) - self.waiting
        self.next = max(self.next, at)

    @invariant()
    def mark_and_sets_are_right(self) -> None:
        mark, completed = self.ledger.low_water, self.ledger.completed
        need = {offset for offset in self.log if offset not in self.done} | self.waiting
        assert all(offset >= mark and offset not in completed for offset in need), "claims what is not true"
        assert all(offset < mark or offset in completed for offset in self.done), "forgets what is done"
        assert set(self.ledger.started) == self.begun
        reached = min((offset for offset in self.waiting | self.late if offset < self.next), default=self.next)
        assert self.ledger.gaps == ((min(self.late), max(self.late) + 1) if self.late else None)
        assert mark >= min(reached, self.ledger.position)


TestLedger = LedgerMachine.TestCase
