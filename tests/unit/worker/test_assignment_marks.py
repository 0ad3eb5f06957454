"""What a member makes of the marks that others left, and what it tells of itself, without a broker."""

from dataclasses import replace

import pytest

from backburner_schemas.codec import Origin, Unaddressed
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import Undeliverable
from backburner_schemas.indexset import IndexSet
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.kafka.assignment import Assignment, Committed, Partition
from backburner_worker.sources.kafka.marks import EVERYWHERE_OFFSET, Log, Marks, decode

HOME: Partition = ("t", 0)


def of(*offsets: int) -> IndexSet:
    return IndexSet.of(offsets)


class Broker:
    """Keeps what is committed of one partition."""

    def __init__(self, offset: int = 0, marks: Marks | None = None) -> None:
        self.offset = offset
        self.marks = marks or Marks()

    def commit(self, member: Assignment, *, clean: bool = False) -> Marks:
        commits = member.to_commit(clean=clean)
        if HOME in commits:
            self.offset = commits[HOME].offset
            self.marks = decode(commits[HOME].text, self.offset)
        member.note_committed(commits)
        return self.marks

    def assign(self, member: Assignment) -> None:
        member.keep_only([HOME])
        member.arrive({HOME: Committed(self.offset, self.marks)}, now=0.0)
        self.commit(member)


def give(member: Assignment, *offsets: int, suspect: bool = False) -> list[Delivery]:
    """Those of the records that are to be worked on, handed out."""
    found = []
    for offset in offsets:
        if member.take(HOME, offset):
            origin = Origin("t", f"0-{offset}", 0.0)
            partition_offset = member.partition_offset(HOME, offset)
            facts = DeliveryFacts(suspect=suspect or member.past(partition_offset)[1])
            found.append(Delivery(Unaddressed(Undeliverable()), b"", origin, Lane.NORMAL, facts, partition_offset))
            member.hand_out(found[-1])
    return found


def positions(deliveries: list[Delivery]) -> list[int]:
    return [int(one.origin.position[2:]) for one in deliveries]


def suspects(member: Assignment, *offsets: int) -> list[int]:
    return [offset for offset in offsets if member.past(member.partition_offset(HOME, offset))[1]]


def test_what_is_done_above_the_offset_is_skipped_by_the_next_owner():
    broker, first, second = Broker(), Assignment(1), Assignment(2)
    broker.assign(first)
    held = give(first, *range(5))
    for one in (held[1], held[2], held[4]):
        first.settle(one)
    broker.commit(first, clean=True)
    broker.assign(second)
    assert positions(give(second, *range(6))) == [0, 3, 5]


def test_a_settle_that_moves_no_offset_is_news():
    broker, member = Broker(), Assignment(1)
    broker.assign(member)
    held = give(member, 0, 1)
    assert member.to_commit() == {}
    member.settle(held[1])
    assert broker.commit(member).completed == of(1)
    assert member.to_commit() == {}


def test_the_open_mark_carries_what_was_read():
    broker = Broker(5, Marks(completed=of(8), started=of(6), earlier=of(7), suspects=of(9), write_ahead_until=70))
    broker.assign(Assignment(1))
    assert broker.marks == Marks(
        clean=False, incarnation=1, completed=of(8), earlier=of(7), suspects=of(9), write_ahead_until=70
    )


def test_an_unclean_end_blames_what_was_started_and_two_make_a_suspect():
    broker, first, second, third = Broker(), Assignment(1), Assignment(2), Assignment(3)
    broker.assign(first)
    for one in give(first, 0, 1)[:1]:
        first.begin(one)
    broker.commit(first)
    broker.assign(second)
    assert broker.marks == Marks(clean=False, incarnation=2, earlier=of(0), write_ahead_until=EVERYWHERE_OFFSET)
    assert suspects(second, 0, 1) == []
    for one in give(second, 0, 1):
        assert second.begin(one)
    broker.commit(second)
    broker.assign(third)
    assert suspects(third, 0, 1) == [0]
    assert (broker.marks.earlier, broker.marks.suspects) == (of(0, 1), of(0))


def test_a_suspect_stays_one_through_clean_and_unclean_ends():
    broker = Broker(0, Marks(clean=False, incarnation=9, started=of(0), earlier=of(0)))
    for incarnation in range(1, 4):
        member = Assignment(incarnation)
        broker.assign(member)
        assert suspects(member, 0, 1) == [0]
        broker.commit(member, clean=incarnation % 2 == 0)


def test_a_clean_end_blames_nobody():
    broker = Broker()
    for incarnation in range(1, 5):
        member = Assignment(incarnation)
        broker.assign(member)
        for one in give(member, 0):
            assert not member.begin(one)
        assert member.past(member.partition_offset(HOME, 0))[0] is (incarnation > 1)
        assert suspects(member, 0) == []
        broker.commit(member, clean=True)


def test_a_member_does_not_blame_itself_where_its_clean_mark_got_lost():
    broker, member = Broker(), Assignment(1)
    broker.assign(member)
    (held,) = give(member, 0)
    member.begin(held)
    broker.commit(member)
    for _ in range(3):
        member.revoke()
        broker.assign(member)
    assert (broker.marks.earlier, broker.marks.started) == (of(), of(0))
    assert not member.begin(held)


def test_what_runs_here_and_was_finished_elsewhere_is_lost():
    broker, member = Broker(), Assignment(1)
    broker.assign(member)
    below, done, mine = give(member, 0, 1, 2)
    member.settle(give(member, 3)[0])
    member.revoke()
    broker.offset, broker.marks = 1, Marks(clean=False, incarnation=2, completed=of(1, 5))
    broker.assign(member)
    assert [one.lease.lost for one in (below, done, mine)] == [True, True, False]
    assert (broker.offset, broker.marks.completed) == (2, of(3, 5))
    assert positions(give(member, *range(1, 7))) == [4, 6]


def test_what_was_settled_here_and_not_committed_stays_done_and_uncommitted_until_it_is():
    broker, member = Broker(), Assignment(1)
    broker.assign(member)
    head, settled, running = give(member, 0, 1, 2)
    member.begin(running)
    member.settle(settled)
    member.revoke()
    member.keep_only([HOME])
    member.arrive({HOME: Committed(broker.offset, broker.marks)}, now=0.0)
    assert member.uncommitted == 3
    marks = broker.commit(member)
    assert (marks.completed, marks.started) == (of(1), of(2))
    assert member.uncommitted == 2
    assert give(member, 0, 1, 2) == []
    assert not head.lease.lost


def test_starts_are_told_first_after_an_unclean_end_until_the_log_s_end_of_then_is_done():
    broker = Broker(0, Marks(clean=False, incarnation=9))
    member, next_one = Assignment(1), Assignment(2)
    broker.assign(member)
    assert list(member.unbounded()) == [HOME]
    member.bound(HOME, 2)
    assert list(member.unbounded()) == []
    held = give(member, 0, 1, 2)
    assert [member.begin(one) for one in held] == [True, True, False]
    assert [member.is_start_committed(one) for one in held] == [False, False, False]
    assert broker.commit(member).write_ahead_until == 2
    assert [member.is_start_committed(one) for one in held] == [True, True, True]
    broker.commit(member, clean=True)
    broker.assign(next_one)
    assert [next_one.begin(one) for one in give(next_one, 0, 1, 2)] == [True, True, False]


def test_what_an_owner_that_ended_uncleanly_can_have_read_may_be_answered_already():
    broker, member = Broker(0, Marks(clean=False, incarnation=9)), Assignment(1)
    member.keep_only([HOME])
    member.arrive({HOME: Committed(broker.offset, broker.marks)}, now=7.0)
    member.bound(HOME, 2)
    assert [member.handed_over_at(member.partition_offset(HOME, offset)) for offset in range(3)] == [7.0, 7.0, None]


@pytest.mark.parametrize(("kept", "doubted"), [(True, None), (False, 7.0)])
def test_where_marks_are_kept_a_clean_end_leaves_no_doubt_and_elsewhere_any_end_does(kept, doubted):
    member = Assignment(1)
    member.kept = kept
    member.keep_only([HOME])
    member.arrive({HOME: Committed(0, Marks(clean=True, incarnation=9))}, now=7.0)
    assert member.handed_over_at(member.partition_offset(HOME, 0)) == doubted
    member.bound(HOME, 2)
    assert member.handed_over_at(member.partition_offset(HOME, 1)) == doubted
    assert member.handed_over_at(member.partition_offset(HOME, 2)) is None


def test_what_was_begun_before_may_be_answered_already_though_its_owner_ended_in_order():
    member = Assignment(1)
    member.kept = True
    member.keep_only([HOME])
    member.arrive({HOME: Committed(0, Marks(clean=True, incarnation=9, started=of(1)))}, now=7.0)
    assert [member.handed_over_at(member.partition_offset(HOME, offset)) for offset in range(3)] == [None, 7.0, None]


def test_the_doubt_that_an_unclean_end_leaves_outlasts_a_rebalance_and_a_log_that_lost_its_end():
    broker, member = Broker(0, Marks(clean=False, incarnation=9)), Assignment(1)
    member.kept = True
    broker.assign(member)
    member.revoke()
    member.keep_only([HOME])
    member.arrive({HOME: Committed(broker.offset, broker.marks)}, now=7.0)
    member.bound(HOME, 4)

    def doubted() -> list[float | None]:
        return [member.handed_over_at(member.partition_offset(HOME, offset)) for offset in range(5)]

    assert doubted() == [7.0] * 4 + [None]
    member.cut(HOME, 2, Log(b"anew"))
    assert doubted() == [7.0] * 2 + [None] * 3


@pytest.mark.parametrize("by_header", [True, False])
def test_the_start_of_a_suspect_is_always_told_first(by_header):
    broker, member = Broker(0, Marks(suspects=of() if by_header else of(0))), Assignment(1)
    broker.assign(member)
    (one,) = give(member, 0, suspect=by_header)
    assert member.begin(one)
    assert not member.is_start_committed(one)
    broker.commit(member)
    assert member.is_start_committed(one)


def test_nobody_waits_for_a_start_to_be_told_of_what_is_lost_or_where_nothing_is_kept():
    member = Assignment(1)
    Broker(0, Marks(clean=False, incarnation=9)).assign(member)
    lost, kept = give(member, 0, 1)
    assert member.begin(lost)
    lost.lease.lose()
    assert member.is_start_committed(lost)
    member.kept = False
    assert not member.begin(kept)
    assert member.is_start_committed(kept)


def test_what_was_given_here_and_lost_is_told_as_given_again():
    broker, member = Broker(), Assignment(1)
    broker.assign(member)
    give(member, 0)
    member.revoke()
    member.keep_only([])
    broker.assign(member)
    assert member.past(member.partition_offset(HOME, 0))[0]
    assert not member.past(member.partition_offset(HOME, 1))[0]


def test_uncommitted_is_what_a_commit_does_not_cover():
    broker, member = Broker(), Assignment(1)
    broker.assign(member)
    held = give(member, *range(6))
    for one in (held[0], held[1], held[4]):
        member.settle(one)
    assert member.uncommitted == 6
    lost = member.to_commit()
    assert member.uncommitted == 6, "a commit that nobody confirmed covers nothing"
    member.settle(held[5])
    member.note_committed(lost)
    assert member.uncommitted == 3, "what was settled after a commit was made is not covered by it"
    broker.commit(member)
    assert member.uncommitted == 2


def test_without_marks_only_the_offset_covers():
    broker, member = Broker(), Assignment(1)
    member.kept = False
    broker.assign(member)
    held = give(member, *range(4))
    for one in (held[0], held[2]):
        member.settle(one)
    (commit,) = member.to_commit().values()
    assert (commit.offset, commit.text) == (1, "")
    member.note_committed({HOME: commit})
    assert member.uncommitted == 3
    member.settle(held[3])
    assert member.to_commit(clean=True) == {}


@pytest.mark.parametrize("marks", [Marks(started=of(0), earlier=of(0)), Marks(started=of(0), suspects=of(0))])
@pytest.mark.parametrize("begun", [False, True])
def test_a_clean_end_is_one_of_who_had_begun_it_whatever_happened_before(marks: Marks, *, begun: bool) -> None:
    broker, second, third = Broker(0, replace(marks, clean=False, incarnation=1)), Assignment(2), Assignment(3)
    second.kept = third.kept = True
    broker.assign(second)
    [delivery] = give(second, 0)
    assert not second.left_cleanly(second.partition_offset(HOME, 0))
    if begun:
        second.begin(delivery)
    broker.commit(second, clean=True)
    broker.assign(third)
    # Who never came to it, as where a rebalance follows upon a death, says nothing of that death.
    assert third.left_cleanly(third.partition_offset(HOME, 0)) is begun


def test_a_partition_whose_marks_are_full_of_earlier_owners_work_is_read_on() -> None:
    broker = Broker()
    # Long requests far apart, which run at each death, and short ones between them that are done.
    for owner in range(1, 6):
        member = Assignment(owner)
        broker.assign(member)
        first = at = member.position(HOME)
        while at < 65_500 and not member.is_full(HOME):
            for delivery in give(member, *range(at, at + 500)):
                member.begin(delivery)
                if int(delivery.origin.position[2:]) % 131:
                    member.settle(delivery)
            at += 500
            broker.commit(member)
        assert at > first
