"""Whose deliveries are whose through rebalances, and when logs lose what they had, without a broker."""

import pytest

from backburner_schemas.codec import Origin, Unaddressed
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import Undeliverable
from backburner_schemas.indexset import IndexSet
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.kafka.assignment import Assignment, Committed, Partition
from backburner_worker.sources.kafka.marks import Log, Marks

HOME: Partition = ("t", 0)
OTHER: Partition = ("t", 1)
NEW = Log(b"n" * 16, 1, 0)


def give(assignment: Assignment, offset: int, partition: Partition = HOME) -> Delivery:
    """Take a record and hand it out."""
    assert assignment.take(partition, offset)
    delivery = Delivery(
        message=Unaddressed(Undeliverable()),
        raw=b"",
        origin=Origin(partition[0], f"{partition[1]}-{offset}", 0.0),
        lane=Lane.NORMAL,
        facts=DeliveryFacts(),
        token=assignment.partition_offset(partition, offset),
    )
    assignment.hand_out(delivery)
    return delivery


def arrived(committed: dict[Partition, int]) -> Assignment:
    assignment = Assignment()
    come(assignment, committed)
    assignment.note_committed(assignment.to_commit())
    return assignment


def come(assignment: Assignment, committed: dict[Partition, int]) -> dict[Partition, int]:
    assignment.keep_only(committed.keys())
    return assignment.arrive({partition: Committed(offset) for partition, offset in committed.items()}, now=0.0)


def offsets(assignment: Assignment) -> dict[Partition, int]:
    """The offsets that are to be committed."""
    return {partition: commit.offset for partition, commit in assignment.to_commit().items()}


def test_reading_begins_at_what_is_committed():
    assert come(Assignment(), {HOME: 5, OTHER: 0}) == {HOME: 5, OTHER: 0}


def test_what_runs_goes_on_under_its_lease_when_its_partition_comes_back():
    assignment = arrived({HOME: 0})
    held = give(assignment, 0)
    assignment.revoke()
    assert come(assignment, {HOME: 0}) == {HOME: 0}
    assert not assignment.take(HOME, 0)
    assert not held.lease.lost
    assert assignment.settle(held)
    assert offsets(assignment) == {HOME: 1}


def test_a_partition_that_does_not_come_back_loses_its_leases():
    assignment = arrived({HOME: 0, OTHER: 0})
    held, gone = give(assignment, 0), give(assignment, 0, OTHER)
    assignment.revoke()
    come(assignment, {HOME: 0})
    assert (held.lease.lost, gone.lease.lost) == (False, True)
    assert not assignment.settle(gone)
    assert offsets(assignment) == {HOME: 0}


def test_what_another_member_has_committed_is_lost_here():
    assignment = arrived({HOME: 0})
    below, above = give(assignment, 0), give(assignment, 1)
    assignment.revoke()
    come(assignment, {HOME: 1})
    assert (below.lease.lost, above.lease.lost) == (True, False)
    assert assignment.settle(above)
    assert offsets(assignment) == {HOME: 2}


def test_what_was_settled_and_not_committed_counts_at_the_next_assignment():
    assignment = arrived({HOME: 0})
    first, second, third = (give(assignment, offset) for offset in range(3))
    assignment.settle(first)
    assignment.settle(third)
    assignment.revoke()
    assert come(assignment, {HOME: 0}) == {HOME: 1}
    assert offsets(assignment) == {HOME: 1}
    assert not any(assignment.take(HOME, offset) for offset in (1, 2))
    assignment.settle(second)
    assert offsets(assignment) == {HOME: 3}


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
    assert offsets(assignment) == {HOME: 1}


def test_an_offset_is_never_gone_back_on():
    assignment = arrived({HOME: 0})
    for offset in range(4):
        assignment.settle(give(assignment, offset))
    assignment.revoke()
    assert come(assignment, {HOME: 2}) == {HOME: 4}
    assert offsets(assignment) == {HOME: 4}


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
    assert offsets(assignment) == {}
    assignment.settle(give(assignment, 3))
    assert offsets(assignment) == {HOME: 4}
    assignment.note_committed(assignment.to_commit())
    assert offsets(assignment) == {}


@pytest.mark.parametrize("base", [0, 100])
def test_a_topic_made_anew_is_read_from_its_beginning_and_what_was_known_of_the_old_one_is_void(base):
    assignment = arrived({HOME: base})
    settled, held, *_ = (give(assignment, base + number) for number in range(5))
    assignment.settle(settled)
    late = assignment.to_commit()
    assignment.begin_anew(HOME, 0, NEW)
    assert held.lease.lost
    assert not assignment.settle(held)
    assert assignment.position(HOME) == 0
    assignment.note_committed(late)
    assert offsets(assignment) == {HOME: 0}, "a commit that was under way is of the old log"
    for number in range(5):
        assert assignment.settle(give(assignment, number))
    assert offsets(assignment) == {HOME: 5}


def test_a_log_that_lost_its_end_keeps_what_is_below_it():
    assignment = arrived({HOME: 0})
    held = [give(assignment, number) for number in range(6)]
    for number in (0, 2, 5):
        assignment.settle(held[number])
    assignment.cut(HOME, 4, NEW)
    assert [one.lease.lost for one in held] == [False, False, False, False, True, False]
    assert not assignment.settle(held[4])
    assert assignment.position(HOME) == 1
    assert [number for number in range(6) if assignment.take(HOME, number)] == [4, 5]
    assert assignment.settle(held[1])
    assert assignment.settle(held[3])
    assert offsets(assignment) == {HOME: 4}


def test_what_a_log_lost_while_its_partition_was_away_does_not_come_back_with_it():
    assignment = arrived({HOME: 0})
    held = [give(assignment, number) for number in range(4)]
    assignment.settle(held[3])
    assignment.revoke()
    assignment.cut(HOME, 2, NEW)
    assert come(assignment, {HOME: 0}) == {HOME: 0}
    assert [one.lease.lost for one in held] == [False, False, True, False]
    assert [number for number in range(4) if assignment.take(HOME, number)] == [2, 3]


def test_what_retention_took_unread_is_counted_and_holds_up_no_commit():
    assignment = arrived({HOME: 0})
    held = give(assignment, 0)
    assert assignment.skip(HOME, 10) == 9
    assert assignment.position(HOME) == 10
    assert assignment.settle(held)
    assert offsets(assignment) == {HOME: 10}


def test_what_retention_took_is_lost_only_where_nobody_had_worked_on_it():
    assignment = Assignment()
    assignment.keep_only([HOME])
    assignment.arrive({HOME: Committed(0, Marks(completed=IndexSet.of([2, 3, 12])))}, now=0.0)
    assert assignment.skip(HOME, 10) == 8


def test_markers_and_gaps_behind_the_last_record_hold_up_no_commit():
    assignment = arrived({HOME: 0})
    held = give(assignment, 0)
    assignment.reach(HOME, 3)
    assert offsets(assignment) == {HOME: 0}
    assignment.settle(held)
    assert offsets(assignment) == {HOME: 3}


def test_a_log_without_one_record_is_committed_to_its_end():
    assignment = arrived({HOME: 0})
    assignment.reach(HOME, 7)
    assert offsets(assignment) == {HOME: 7}


def test_work_begins_only_where_the_broker_knows_that_it_does():
    assignment = Assignment()
    come(assignment, {HOME: 0, OTHER: 0})
    commits = assignment.to_commit()
    assignment.note_committed({HOME: commits[HOME]})
    assert not assignment.is_open(HOME), "before it is known whether the broker keeps marks"
    assignment.kept = True
    assert (assignment.is_open(HOME), assignment.is_open(OTHER)) == (True, False)
    assignment.kept = False
    assert assignment.is_open(OTHER)


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
