"""Which log a partition is, by what brokers answer: made anew, cut off, shortened, or not told yet. None is asked."""

from dataclasses import dataclass, field

import pytest

from backburner_schemas.codec import Origin, Unaddressed
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import Undeliverable
from backburner_schemas.indexset import IndexSet
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.kafka import log_watch
from backburner_worker.sources.kafka.assignment import Assignment, Committed
from backburner_worker.sources.kafka.log_watch import LogWatch
from backburner_worker.sources.kafka.marks import UNKNOWN_LOG, UNMARKED, Log, Marks
from backburner_worker.sources.kafka.wire.queries import End

HOME = ("t", 0)
OLD, NEW = b"o" * 16, b"n" * 16


@dataclass
class Brokers:
    """What the brokers know of partition 0 of the topic `t`; None is not answered."""

    topic: bytes | None = OLD
    start: int | None = 0
    end: End | None = field(default_factory=lambda: End(100, 0))
    epoch_end: int | None = 100

    async def topic_ids(self, _consumer, topics, *, seconds):
        return {} if self.topic is None else dict.fromkeys(topics, self.topic)

    async def beginnings(self, _consumer, partitions, *, seconds):
        return {} if self.start is None else dict.fromkeys(partitions, self.start)

    async def ends(self, _consumer, partitions, *, seconds):
        return {} if self.end is None else dict.fromkeys(partitions, self.end)

    async def epoch_ends(self, _consumer, epochs, *, seconds):
        if self.epoch_end is None:
            return {}
        # The leader's own epoch ends where its log does. -1 is a leader that does not know.
        own = self.end.epoch if self.epoch_end >= 0 else -1
        return {one: self.end.offset if epoch == own else self.epoch_end for one, epoch in epochs.items()}


@pytest.fixture
def brokers(monkeypatch) -> Brokers:
    brokers = Brokers()
    monkeypatch.setattr(log_watch, "queries", brokers)
    return brokers


class Worker:
    """A member that has read so far, and its watch."""

    def __init__(self, log: Log = UNKNOWN_LOG, *, offset: int = 0, read: int = 0) -> None:
        self.assignment = Assignment(1)
        self.assignment.kept = True
        self.assignment.keep_only([HOME])
        self.assignment.arrive({HOME: Committed(offset, log=log)}, now=0.0)
        self.held = []
        for number in range(offset, read):
            assert self.assignment.take(HOME, number)
            token = self.assignment.partition_offset(HOME, number)
            message = Unaddressed(Undeliverable())
            self.held.append(Delivery(message, b"", Origin("t", "0", 0.0), Lane.NORMAL, DeliveryFacts(), token))
            self.assignment.hand_out(self.held[-1])
        self.moved: list[tuple[str, int]] = []
        self.replaced: list[tuple[str, int]] = []
        self.sought: list[tuple[str, int]] = []
        self.watch = LogWatch(
            None,
            self.assignment,
            seconds=1.0,
            sought=self.sought.append,
            moved=self.moved.append,
            replaced=self.replaced.append,
        )

    @property
    def lost(self) -> list[int]:
        return [number for number, one in enumerate(self.held) if one.lease.lost]

    def state(self) -> tuple[int, Log]:
        return self.assignment.position(HOME), self.assignment.log(HOME)


async def test_what_is_seen_first_is_what_later_looks_are_compared_with(brokers):
    worker = Worker(read=5)
    await worker.watch.look([HOME])
    assert worker.state() == (5, Log(OLD, 0, 5))
    assert worker.moved == worker.replaced == []


async def test_a_topic_with_another_id_is_begun_anew_although_no_offset_is_out_of_range(brokers):
    worker = Worker(Log(OLD, 0, 5), read=5)
    brokers.topic, brokers.start = NEW, 2
    await worker.watch.look([HOME])
    assert worker.state() == (2, Log(NEW, 0, 2, renewed=True))
    assert worker.lost == [0, 1, 2, 3, 4]
    assert worker.moved == worker.replaced == [HOME]
    assert worker.watch.losses().logs_restarted == {"t": 1}


async def test_a_broker_that_still_shows_the_deleted_topic_is_not_believed(brokers):
    worker = Worker(Log(OLD, 0, 5), read=5)
    brokers.topic = NEW
    await worker.watch.look([HOME])
    brokers.topic = OLD
    await worker.watch.look([HOME])
    assert worker.assignment.log(HOME).topic == NEW


async def test_a_leader_of_another_epoch_that_has_all_that_was_read_changes_nothing(brokers):
    worker = Worker(Log(OLD, 0, 3), read=5)
    # Records 3 and 4 may have been read of the new leader; it is the old epoch that ended at 3.
    brokers.end, brokers.epoch_end = End(100, 1), 3
    await worker.watch.look([HOME])
    assert worker.state() == (5, Log(OLD, 1, 5))
    assert worker.lost == []


async def test_a_leader_that_lacks_what_was_read_has_what_follows_run(brokers):
    worker = Worker(Log(OLD, 0, 5), read=5)
    brokers.end, brokers.epoch_end = End(100, 1), 2
    await worker.watch.look([HOME])
    assert worker.lost == [2, 3, 4]
    assert worker.state() == (0, Log(OLD, 1, 2, renewed=True))
    assert [worker.assignment.take(HOME, number) for number in range(4)] == [False, False, True, True]
    assert worker.moved == worker.replaced == [HOME]


async def test_a_leader_of_before_is_not_believed(brokers):
    worker = Worker(Log(OLD, 3, 4), read=5)
    brokers.end = End(100, 2)
    await worker.watch.look([HOME])
    assert worker.state() == (5, Log(OLD, 3, 4))
    assert await arriving(worker, 5, Marks(log=Log(OLD, 3, 4))) is None


async def test_nothing_is_made_of_a_leader_that_does_not_answer(brokers):
    worker = Worker(Log(OLD, 0, 5), read=5)
    brokers.end, brokers.epoch_end = End(100, 1), None
    await worker.watch.look([HOME])
    brokers.end = None
    await worker.watch.look([HOME])
    brokers.topic = None
    await worker.watch.look([HOME])
    brokers.topic, brokers.start = NEW, None
    await worker.watch.look([HOME])
    assert worker.state() == (5, Log(OLD, 0, 5))
    assert worker.moved == []


# --- positions that the log does not have ---


async def test_a_position_before_the_beginning_is_moved_there_and_what_is_lost_is_counted(brokers):
    worker = Worker(Log(OLD, 0, 5), read=5)
    brokers.start = 20
    await worker.watch.out_of_range({HOME: 5})
    assert worker.assignment.position(HOME) == 20
    assert worker.lost == []
    assert worker.watch.losses().records_lost == {"t": 15}
    # What was read and waits to be handed out is not void: nobody would read it again.
    assert (worker.sought, worker.moved) == ([HOME], [])


async def test_a_gap_that_retention_took_is_lost_and_reading_goes_on(brokers):
    worker = Worker()
    worker.assignment.in_order = False
    for offset in (0, 5, 9):
        worker.assignment.take(HOME, offset)
    worker.assignment.reread(HOME)
    brokers.start = 7
    await worker.watch.out_of_range({HOME: 1})
    assert worker.watch.losses().records_lost == {"t": 5}
    assert worker.assignment.reads_on_from(HOME) == 7
    assert worker.assignment.gaps() == {HOME: (7, 9)}
    assert worker.sought == [HOME]


async def test_a_position_behind_the_end_goes_back_to_where_the_known_epoch_ended(brokers):
    worker = Worker(Log(OLD, 0, 3), read=5)
    brokers.end, brokers.epoch_end = End(4, 1), 4
    await worker.watch.out_of_range({HOME: 5})
    assert worker.lost == [4]
    assert worker.assignment.log(HOME) == Log(OLD, 1, 4, renewed=True)


async def test_all_that_was_read_up_to_a_position_behind_the_end_was_of_the_leader_before(brokers):
    # It took over with 5 records and has 3 of its own. That 10 had been read by then, no look had seen yet.
    worker = Worker(Log(OLD, 0, 3), read=10)
    brokers.end, brokers.epoch_end = End(8, 1), 5
    await worker.watch.out_of_range({HOME: 10})
    assert [number for number in range(8) if worker.assignment.take(HOME, number)] == [5, 6, 7]


@pytest.mark.parametrize(("known", "epoch_end"), [(UNKNOWN_LOG, 4), (Log(OLD, 0, 3), -1)])
async def test_a_position_behind_the_end_of_a_log_of_which_nothing_is_known_begins_it(brokers, known, epoch_end):
    worker = Worker(known, read=5)
    brokers.topic, brokers.end, brokers.epoch_end = known.topic, End(4, 0), epoch_end
    await worker.watch.out_of_range({HOME: 5})
    assert worker.assignment.position(HOME) == 0
    assert worker.lost == [0, 1, 2, 3, 4]


async def test_a_topic_that_is_made_anew_between_the_look_and_its_end_is_read_from_its_beginning(brokers, monkeypatch):
    worker = Worker(Log(OLD, 0, 10), read=10)
    for delivery in worker.held:
        worker.assignment.settle(delivery)
    brokers.end, brokers.epoch_end = End(5, 0), 5
    look = worker.watch.look

    async def behind(partitions):
        await look(partitions)
        brokers.topic = NEW

    monkeypatch.setattr(worker.watch, "look", behind)
    await worker.watch.out_of_range({HOME: 10})
    # Nothing is made of what was asked of two topics.
    assert worker.state() == (10, Log(OLD, 0, 10))
    await worker.watch.out_of_range({HOME: 10})
    assert worker.state()[0] == 0
    assert worker.assignment.log(HOME).topic == NEW


async def test_a_position_that_the_log_has_after_all_stays(brokers):
    worker = Worker(Log(OLD, 0, 3), read=5)
    await worker.watch.out_of_range({HOME: 5})
    assert worker.watch.is_at(HOME, 5)
    assert worker.moved == []


async def test_what_went_away_while_brokers_were_asked_is_left_alone(brokers):
    worker = Worker(Log(OLD, 0, 5), read=5)
    worker.assignment.revoke()
    await worker.watch.out_of_range({HOME: 5})
    assert worker.moved == []


# --- partitions that come ---


async def arriving(worker: Worker, offset: int | None, marks: Marks = UNMARKED) -> Committed | None:
    worker.assignment.revoke()
    worker.assignment.keep_only([HOME])
    found = {} if offset is None else {HOME: (offset, marks)}
    return (await worker.watch.arriving([HOME], found)).get(HOME)


async def test_a_partition_without_an_offset_begins_where_its_log_does(brokers):
    brokers.start = 7
    assert await arriving(Worker(), None) == Committed(7, UNMARKED, Log(OLD, 0, 7))


async def test_a_partition_goes_on_where_its_offset_is_of_this_log(brokers):
    marks = Marks(completed=IndexSet.of([8]), log=Log(OLD, 0, 6))
    assert await arriving(Worker(), 5, marks) == Committed(5, marks, Log(OLD, 0, 9))


async def test_a_partition_waits_for_the_leader_that_does_not_tell_where_the_known_epoch_ended(brokers):
    marks = Marks(log=Log(OLD, 0, 5))
    brokers.end, brokers.epoch_end = End(9, 1), None
    assert await arriving(Worker(), 5, marks) is None
    assert await arriving(Worker(Log(OLD, 0, 5), read=5), 5) is None
    brokers.epoch_end = 3
    assert await arriving(Worker(), 5, marks) == Committed(3, marks, Log(OLD, 1, 3, renewed=True))


async def test_an_offset_of_a_topic_that_was_made_anew_is_not_believed(brokers):
    brokers.topic = NEW
    marks = Marks(completed=IndexSet.of([8]), log=Log(OLD, 0, 6))
    assert await arriving(Worker(), 5, marks) == Committed(0, UNMARKED, Log(NEW, 0, 0, renewed=True))


async def test_a_topic_that_was_deleted_and_made_anew_is_known_for_another_by_who_had_it(brokers):
    worker = Worker()
    assert await arriving(worker, None) is not None
    worker.assignment.revoke()
    worker.assignment.keep_only([])
    brokers.topic = NEW
    assert await arriving(worker, None) == Committed(0, UNMARKED, Log(NEW, 0, 0, renewed=True))
    assert worker.replaced == [HOME]


async def test_what_runs_of_a_topic_that_another_member_found_anew_is_void(brokers):
    worker = Worker(Log(OLD, 0, 5), read=5)
    brokers.topic = NEW
    marks = Marks(log=Log(NEW, 0, 3, renewed=True))
    assert await arriving(worker, 3, marks) == Committed(3, marks, Log(NEW, 0, 3, renewed=True))
    assert worker.lost == [0, 1, 2, 3, 4]


async def test_marks_of_a_log_that_lost_its_end_count_below_it_alone(brokers):
    brokers.end, brokers.epoch_end = End(100, 1), 7
    marks = Marks(completed=IndexSet.of([6, 9]), log=Log(OLD, 0, 10))
    assert await arriving(Worker(), 5, marks) == Committed(5, marks.below(7), Log(OLD, 1, 7, renewed=True))
    assert await arriving(Worker(), 8, marks) == Committed(7, marks.below(7), Log(OLD, 1, 7, renewed=True))


async def test_an_offset_behind_the_end_was_all_of_the_leader_before(brokers):
    brokers.end, brokers.epoch_end = End(8, 1), 5
    stale = Marks(log=Log(OLD, 0, 3))
    assert await arriving(Worker(), 10, stale) == Committed(5, stale, Log(OLD, 1, 5, renewed=True))


async def test_what_was_done_behind_the_end_was_of_the_leader_before_and_what_is_written_there_is_run(brokers):
    brokers.end, brokers.epoch_end = End(95, 1), 95
    marks = Marks(completed=IndexSet([(91, 110)]), log=Log(OLD, 0, 80))
    worker = Worker()
    found = await arriving(worker, 90, marks)
    worker.assignment.keep_only([HOME])
    worker.assignment.arrive({HOME: found}, now=0.0)
    assert [number for number in range(90, 100) if worker.assignment.take(HOME, number)] == [90, *range(95, 100)]


async def test_what_this_process_saw_since_the_last_commit_counts_of_the_marks_too(brokers):
    brokers.end, brokers.epoch_end = End(100, 1), 3
    stale = Marks(log=Log(OLD, 0, 0))
    worker = Worker(Log(OLD, 0, 5), read=5)
    assert await arriving(worker, 5, stale) == Committed(3, stale, Log(OLD, 1, 3, renewed=True))
    assert worker.watch.losses().logs_restarted == {"t": 1}
    # It may also have found out already, and the commit that says so came too late.
    for read in (3, 4):
        worker = Worker(Log(OLD, 1, read), read=read)
        assert await arriving(worker, 5, stale) == Committed(3, stale, Log(OLD, 1, 3, renewed=True))
        assert worker.lost == []
        assert worker.watch.losses().logs_restarted == {}
    # Of what only the marks tell, and they are of a later epoch, nothing is gone.
    later = Marks(log=Log(OLD, 1, 5))
    assert await arriving(Worker(Log(OLD, 0, 5), read=5), 5, later) == Committed(5, later, Log(OLD, 1, 5))


async def test_marks_without_a_log_are_believed_as_before(brokers):
    assert await arriving(Worker(), 5, Marks(clean=False)) == Committed(5, Marks(clean=False), Log(OLD, 0, 5))


async def test_a_partition_whose_leader_does_not_answer_is_asked_for_again(brokers):
    brokers.end = None
    assert await arriving(Worker(), 5) is None
    brokers.end, brokers.start = End(100, 0), None
    assert await arriving(Worker(), None) is None


async def test_a_topic_that_one_broker_hid_is_believed_again(brokers, monkeypatch):
    worker = Worker()
    worker.assignment.revoke()
    worker.assignment.keep_only([])
    marks = Marks(log=Log(NEW, 0, 5, renewed=True))
    # The broker that is asked is cut off from all others.
    assert await arriving(worker, 5, marks) is not None
    brokers.topic = NEW
    assert await arriving(worker, 5, marks) is None
    monkeypatch.setattr(log_watch, "_BEHIND_SECONDS", 0.0)
    found = await arriving(worker, 5, marks)
    assert found is not None
    assert found.log.topic == NEW
