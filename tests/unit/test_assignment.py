"""Whose deliveries are whose through rebalances, without a broker."""

from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backburner_schemas.codec import Origin, Unaddressed
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import Undeliverable
from backburner_schemas.names import Lane
from backburner_worker.sources.assignment import Assignment, Partition
from backburner_worker.sources.base import Delivery

HOME: Partition = ("t", 0)
OTHER: Partition = ("t", 1)


def give(assignment: Assignment, offset: int, partition: Partition = HOME) -> Delivery:
    """Take a record and hand it out."""
    assert assignment.take(partition, offset)
    delivery = Delivery(
        message=Unaddressed(Undeliverable()),
        raw=b"",
        origin=Origin(partition[0], f"{partition[1]}-{offset}", 0.0),
        lane=Lane.NORMAL,
        facts=DeliveryFacts(),
        token=assignment.ticket(partition, offset),
    )
    assignment.hand_out(delivery)
    return delivery


def arrived(committed: dict[Partition, int | None]) -> Assignment:
    assignment = Assignment()
    come(assignment, committed)
    return assignment


def come(assignment: Assignment, committed: dict[Partition, int | None]) -> dict[Partition, int | None]:
    assignment.keep_only(committed.keys())
    return assignment.arrive(committed)


def test_reading_begins_at_what_is_committed():
    assert come(Assignment(), {HOME: 5, OTHER: None}) == {HOME: 5, OTHER: None}


def test_what_runs_goes_on_under_its_lease_when_its_partition_comes_back():
    assignment = arrived({HOME: 0})
    held = give(assignment, 0)
    assignment.revoke()
    assert come(assignment, {HOME: 0}) == {HOME: 0}
    assert not assignment.take(HOME, 0)
    assert not held.lease.lost
    assert assignment.settle(held)
    assert assignment.to_commit() == {HOME: 1}


def test_a_partition_that_does_not_come_back_loses_its_leases():
    assignment = arrived({HOME: 0, OTHER: 0})
    held, gone = give(assignment, 0), give(assignment, 0, OTHER)
    assignment.revoke()
    come(assignment, {HOME: 0})
    assert (held.lease.lost, gone.lease.lost) == (False, True)
    assert not assignment.settle(gone)
    assert assignment.to_commit() == {}


def test_what_another_member_has_committed_is_lost_here():
    assignment = arrived({HOME: 0})
    below, above = give(assignment, 0), give(assignment, 1)
    assignment.revoke()
    come(assignment, {HOME: 1})
    assert (below.lease.lost, above.lease.lost) == (True, False)
    assert assignment.settle(above)
    assert assignment.to_commit() == {HOME: 2}


def test_what_was_settled_and_not_committed_counts_at_the_next_assignment():
    assignment = arrived({HOME: 0})
    first, second, third = (give(assignment, offset) for offset in range(3))
    assignment.settle(first)
    assignment.settle(third)
    assignment.revoke()
    assert come(assignment, {HOME: 0}) == {HOME: 1}
    assert assignment.to_commit() == {HOME: 1}
    assert not any(assignment.take(HOME, offset) for offset in (1, 2))
    assignment.settle(second)
    assert assignment.to_commit() == {HOME: 3}


def test_what_is_settled_between_two_assignments_counts():
    assignment = arrived({HOME: 0})
    held = give(assignment, 0)
    assignment.revoke()
    assert assignment.settle(held)
    assert come(assignment, {HOME: 0}) == {HOME: 1}


def test_two_revocations_in_a_row_forget_nothing():
    assignment = arrived({HOME: 0})
    held = give(assignment, 0)
    assignment.revoke()
    assignment.keep_only({HOME})
    assignment.revoke()
    come(assignment, {HOME: 0})
    assert assignment.settle(held)
    assert assignment.to_commit() == {HOME: 1}


def test_an_offset_is_never_gone_back_on():
    assignment = arrived({HOME: 0})
    for offset in range(4):
        assignment.settle(give(assignment, offset))
    assignment.revoke()
    assert come(assignment, {HOME: 2}) == {HOME: 4}
    assert assignment.to_commit() == {HOME: 4}


def test_a_delivery_that_was_read_ahead_and_not_handed_out_is_given_again():
    assignment = arrived({HOME: 0})
    assert assignment.take(HOME, 0)
    assignment.revoke()
    come(assignment, {HOME: 0})
    assert assignment.take(HOME, 0)


def test_a_ticket_of_an_ended_epoch_is_void():
    assignment = arrived({HOME: 0})
    held = give(assignment, 0)
    old = held.token
    assignment.revoke()
    come(assignment, {HOME: 0})
    adopted, held.token = held.token, old
    assert not assignment.settle(held)
    held.token = adopted
    assert assignment.settle(held)
    assert not assignment.settle(held)


def test_only_news_is_committed():
    assignment = arrived({HOME: 3})
    assert assignment.to_commit() == {}
    assignment.settle(give(assignment, 3))
    assert assignment.to_commit() == {HOME: 4}
    assignment.note_committed({HOME: 4})
    assert assignment.to_commit() == {}


def test_a_log_that_lost_its_end_is_read_from_where_it_begins_again():
    assignment = arrived({HOME: 100})
    held = give(assignment, 100)
    fresh = give(assignment, 3)
    assert held.lease.lost
    assert not assignment.settle(held)
    assert assignment.settle(fresh)
    assert assignment.to_commit() == {HOME: 4}


def test_leaving_loses_every_lease():
    assignment = arrived({HOME: 0})
    before = give(assignment, 0)
    assignment.revoke()
    come(assignment, {HOME: 0})
    after = give(assignment, 1)
    assert assignment.running == 2
    assignment.lose_all()
    assert before.lease.lost
    assert after.lease.lost
    assert assignment.running == 0


class GroupMachine(RuleBasedStateMachine):
    """Two members and one partition that goes back and forth, with commits that get through or do not."""

    def __init__(self) -> None:
        super().__init__()
        self.members = [Assignment(), Assignment()]
        self.owner = 0
        self.committed = 0
        self.marks: list[int] = [0]
        self.position = 0
        self.held: list[tuple[int, Delivery]] = []
        self.finished: set[int] = set()
        self._come(0)

    def _come(self, member: int) -> None:
        self.owner = member
        self.members[1 - member].keep_only(())
        start = come(self.members[member], {HOME: self.committed})[HOME]
        assert start is not None
        assert start >= self.committed
        self.position = start

    @rule()
    def give(self) -> None:
        offset, self.position = self.position, self.position + 1
        assignment = self.members[self.owner]
        if assignment.take(HOME, offset):
            delivery = Delivery(
                Unaddressed(Undeliverable()),
                b"",
                Origin("t", f"0-{offset}", 0.0),
                Lane.NORMAL,
                DeliveryFacts(),
                assignment.ticket(HOME, offset),
            )
            assignment.hand_out(delivery)
            assert not any(other.origin == delivery.origin for member, other in self.held if member == self.owner), (
                "a member was given what it holds already"
            )
            self.held.append((self.owner, delivery))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def settle(self, data: Any) -> None:
        member, delivery = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        lost = delivery.lease.lost
        assert self.members[member].settle(delivery) is not lost
        if not lost:
            self.finished.add(int(delivery.origin.position.split("-")[1]))

    @rule()
    def commit(self) -> None:
        offsets = self.members[self.owner].to_commit()
        self.members[self.owner].note_committed(offsets)
        self.committed = offsets.get(HOME, self.committed)
        self.marks.append(self.committed)

    @rule(to=st.integers(0, 1), commits=st.booleans())
    def rebalance(self, to: int, commits: bool) -> None:
        if commits:
            self.commit()
        self.members[self.owner].revoke()
        self._come(to)
        self.held = [(member, delivery) for member, delivery in self.held if not delivery.lease.lost]

    @invariant()
    def marks_only_grow_and_pass_nothing_unfinished(self) -> None:
        assert self.marks == sorted(self.marks)
        assert set(range(self.committed)) <= self.finished


TestGroup = GroupMachine.TestCase
