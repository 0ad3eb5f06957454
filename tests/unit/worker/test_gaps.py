"""What a broker shows late: it is read again for, waited for, and given up in the end. No broker is asked."""

from backburner_worker.sources.kafka.assignment import Assignment, Committed
from backburner_worker.sources.kafka.gaps import GIVE_UP_SECONDS, GapWatch
from backburner_worker.sources.kafka.marks import UNKNOWN_LOG
from backburner_worker.sources.kafka.partition import MAX_OFFSETS_AHEAD

HOME = ("t", 0)


class Member:
    """A member that reads one partition of a broker, and its watch."""

    def __init__(self, *, in_order: bool = False) -> None:
        self.assignment = Assignment(1)
        self.assignment.kept = False
        self.assignment.in_order = in_order
        self.assignment.keep_only([HOME])
        self.assignment.arrive({HOME: Committed(0)}, now=0.0)
        self.sought: list[int] = []
        self.watch = GapWatch(
            self.assignment, lambda partition: self.sought.append(self.assignment.reads_on_from(partition))
        )

    def look(self, now: float, *offsets: int) -> None:
        """What is due at that time, a look that finds these, and what is due then."""
        self.watch.step(now)
        self.read(*offsets)
        self.watch.step(now)

    def read(self, *offsets: int) -> list[int]:
        """Read these, up to the last; those of them that are to be worked on."""
        found = [offset for offset in offsets if self.assignment.take(HOME, offset)]
        self.assignment.reach(HOME, offsets[-1] + 1)
        return found


def test_what_came_after_the_last_look_is_not_given_up_before_the_next() -> None:
    member = Member()
    member.read(0, *range(2, 1000))
    member.watch.step(0.0)
    member.watch.step(0.2)
    assert member.sought == [1]
    # The look passes by the gap, and then waits: its lane has no room.
    member.read(*range(2, 502))
    for now in range(1, 100):
        member.watch.step(float(now))
    # Meanwhile the broker has shown it.
    member.read(*range(502, 1000))
    member.watch.step(100.0)
    assert member.sought == [1, 1]
    assert member.read(1, 2) == [1]


def test_a_look_that_is_broken_off_begins_again() -> None:
    member = Member()
    member.read(0, 2)
    member.watch.step(0.0)
    member.watch.step(0.2)
    member.read(0)
    assert member.assignment.reads_on_from(HOME) == 1
    member.read(1, 2)
    assert member.assignment.reads_on_from(HOME) == 3


def test_a_record_that_is_shown_late_is_read_again_for_at_once_and_worked_on() -> None:
    member = Member()
    assert member.read(0, 1, 3) == [0, 1, 3]
    member.watch.step(10.0)
    assert member.sought == []
    member.watch.step(10.2)
    assert member.sought == [2]
    assert member.read(2, 3) == [2]
    member.watch.step(10.4)
    member.watch.step(200.0)
    assert member.sought == [2]


def test_what_does_not_come_is_read_for_ever_more_seldom_and_given_up_in_the_end() -> None:
    member = Member()
    member.read(0, 3)
    now = 0.0
    while member.assignment.gaps():
        before = len(member.sought)
        member.watch.step(now)
        if len(member.sought) > before:
            member.read(3)
        now += 0.1
        assert now < 2 * GIVE_UP_SECONDS
    assert now >= GIVE_UP_SECONDS
    assert 10 <= len(member.sought) <= 20
    assert member.read(1, 2) == []


def test_while_it_is_read_again_it_is_not_sought_back_and_not_given_up() -> None:
    member = Member()
    member.read(0, 3)
    member.watch.step(0.0)
    member.watch.step(1.0)
    member.watch.step(2 * GIVE_UP_SECONDS)
    assert member.sought == [1]
    assert member.assignment.gaps() == {HOME: (1, 3)}
    member.read(3)
    member.watch.step(2 * GIVE_UP_SECONDS)
    assert member.sought == [1, 1]
    assert member.assignment.gaps() == {HOME: (1, 3)}
    member.read(3)
    member.watch.step(2 * GIVE_UP_SECONDS)
    assert member.assignment.gaps() == {}


def test_gaps_that_come_one_upon_another_put_no_look_off() -> None:
    member = Member()
    for number in range(10):
        member.read(2 * number + 1)
        member.watch.step(0.05 * number)
    assert member.sought[:1] == [0]


def test_each_gap_has_its_own_time() -> None:
    member = Member()
    member.read(0, 2)
    member.watch.step(0.0)
    member.read(4)
    member.look(60.0, 4)
    member.look(GIVE_UP_SECONDS, 4)
    assert member.assignment.gaps() == {HOME: (3, 4)}
    member.look(60.0 + GIVE_UP_SECONDS, 4)
    assert member.assignment.gaps() == {}


def test_a_partition_that_went_and_came_back_has_been_waited_for_before() -> None:
    member = Member()
    member.read(0, 2)
    member.watch.step(0.0)
    member.assignment.revoke()
    member.watch.step(10.0)
    member.assignment.keep_only([HOME])
    member.assignment.arrive({HOME: Committed(0)}, now=15.0)
    member.watch.step(20.0)
    member.read(0, 2)
    member.look(GIVE_UP_SECONDS, 2)
    assert member.assignment.gaps() == {}


def test_a_gap_in_another_log_has_not_been_waited_for_before() -> None:
    member = Member()
    member.read(0, 7)
    member.watch.step(0.0)
    member.assignment.begin_anew(HOME, 0, UNKNOWN_LOG)
    member.watch.forget(HOME)
    member.read(0, 2)
    member.look(60.0, 2)
    member.look(GIVE_UP_SECONDS, 2)
    assert member.assignment.gaps() == {HOME: (1, 2)}
    member.look(60.0 + GIVE_UP_SECONDS, 2)
    assert member.assignment.gaps() == {}


def test_a_partition_that_is_full_because_of_a_gap_is_read_again_all_the_same() -> None:
    member = Member()
    member.read(0)
    assert member.read(MAX_OFFSETS_AHEAD + 1)
    assert member.assignment.is_full(HOME)
    member.watch.step(0.0)
    member.watch.step(1.0)
    assert not member.assignment.is_full(HOME)
    member.read(MAX_OFFSETS_AHEAD + 1)
    assert member.assignment.is_full(HOME)


def test_partitions_that_went_away_are_forgotten() -> None:
    member = Member()
    member.read(0, 2)
    member.watch.step(0.0)
    member.assignment.revoke()
    member.watch.step(1.0)
    assert member.sought == []


def test_a_broker_that_shows_all_in_order_leaves_out_what_never_comes() -> None:
    member = Member(in_order=True)
    member.read(0, 3)
    assert member.assignment.gaps() == {}
    assert member.read(2) == []
