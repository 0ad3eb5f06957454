"""What is read ahead, held back and handed out, without a broker."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from backburner_schemas.codec import Refused, Rules, Unaddressed
from backburner_schemas.indexset import IndexSet
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, OffsetMetadata
from backburner_worker.sources.kafka import intake as intake_module
from backburner_worker.sources.kafka.assignment import Committed
from backburner_worker.sources.kafka.batches.record import Unreadable
from backburner_worker.sources.kafka.buffer import LaneBuffer
from backburner_worker.sources.kafka.intake import HAND_OUT_RECORDS, Intake
from backburner_worker.sources.kafka.marks import Marks, decode

TOPICS = {f"t.{lane}": lane for lane in Lane}
ALL = dict.fromkeys(Lane, 1_000)


@dataclass(frozen=True)
class Record:
    topic: str
    partition: int
    offset: int
    value: bytes | None = b"{}"
    timestamp: int = 1_000_000
    headers: tuple[tuple[str, bytes], ...] = ()


def due_at(seconds: float) -> tuple[tuple[str, bytes], ...]:
    return (("not_before", repr(seconds).encode()),)


def arrived(*lanes: Lane, partitions: int = 2) -> Intake:
    intake = Intake(TOPICS, Rules())
    coming = {(f"t.{lane}", number): Committed(0) for lane in lanes for number in range(partitions)}
    intake.assignment.keep_only(coming.keys())
    intake.assignment.arrive(coming)
    intake.want(ALL)
    return intake


def keep(intake: Intake, lane: Lane, *offsets: int, partition: int = 0, **more) -> None:
    intake.keep((f"t.{lane}", partition), [Record(f"t.{lane}", partition, offset, **more) for offset in offsets])


def test_each_record_is_handed_out_once_in_its_order():
    intake = arrived(Lane.NORMAL)
    keep(intake, Lane.NORMAL, 0, 1, 2)
    keep(intake, Lane.NORMAL, 2, 3)
    assert [one.origin.position for one in intake.hand_out(0.0)] == ["0-0", "0-1", "0-2", "0-3"]
    assert intake.hand_out(0.0) == []


def test_the_budget_is_kept_in_each_lane():
    intake = arrived(Lane.HIGH, Lane.LOW)
    keep(intake, Lane.HIGH, 0, 1, 2)
    keep(intake, Lane.LOW, 0, 1, 2)
    intake.want({Lane.HIGH: 1, Lane.LOW: 2})
    assert [one.lane for one in intake.hand_out(0.0)] == [Lane.HIGH, Lane.LOW, Lane.LOW]


def test_one_pull_decodes_a_bounded_number():
    intake = arrived(Lane.NORMAL)
    keep(intake, Lane.NORMAL, *range(HAND_OUT_RECORDS + 1))
    assert len(intake.hand_out(0.0)) == HAND_OUT_RECORDS
    assert len(intake.hand_out(0.0)) == 1


def test_one_pull_decodes_a_bounded_number_of_bytes(monkeypatch):
    monkeypatch.setattr(intake_module, "HAND_OUT_BYTES", 5)
    intake = arrived(Lane.NORMAL)
    keep(intake, Lane.NORMAL, 0, 1, 2, value=b"12345")
    assert len(intake.hand_out(0.0)) == 1


def test_lanes_without_a_budget_are_not_read():
    intake = arrived(Lane.HIGH, Lane.LOW, partitions=1)
    intake.want({Lane.LOW: 1})
    assert intake.wanted() == [("t.low", 0)]
    intake.want({})
    assert intake.wanted() == []


def test_a_full_lane_is_read_no_further_until_there_is_room(monkeypatch):
    monkeypatch.setattr(intake_module, "BUFFER_RECORDS", 2)
    intake = arrived(Lane.HIGH, Lane.LOW, partitions=1)
    keep(intake, Lane.HIGH, 0, 1)
    assert intake.wanted() == [("t.low", 0)]
    intake.want({Lane.HIGH: 1, Lane.LOW: 1})
    intake.hand_out(0.0)
    assert intake.wanted() == [("t.high", 0), ("t.low", 0)]


def test_a_lane_is_full_by_bytes_too():
    buffer = LaneBuffer(max_records=100, max_bytes=1_000)
    buffer.add([Record("t", 0, 0, value=b"x" * 600)])
    assert not buffer.full
    buffer.add([Record("t", 0, 1, value=None, headers=(("name", b"x" * 600),))])
    assert buffer.full
    assert len(buffer) == 2
    buffer.take(0.0, 1, 1)
    assert not buffer.full


HOME = ("t.normal", 0)


def work(intake: Intake, count: int, *, leave: Callable[[int], bool]) -> list[Delivery]:
    """Read that many records and settle all but those that are to be left; these."""
    left = []
    for first in range(0, count, 100):
        keep(intake, Lane.NORMAL, *range(first, first + 100))
        for delivery in intake.hand_out(0.0):
            offset = int(delivery.origin.position.split("-")[1])
            intake.assignment.begin(delivery)
            if leave(offset):
                left.append(delivery)
            else:
                intake.assignment.settle(delivery)
    return left


def test_thousands_done_behind_one_slow_request_do_not_stop_the_reading():
    intake = arrived(Lane.NORMAL, partitions=1)
    (slow,) = work(intake, 20_000, leave=lambda offset: offset == 0)
    assert intake.wanted() == [HOME]
    assert intake.assignment.offset_metadata().usage_ratio < 0.02
    assert intake.assignment.uncommitted == 20_000
    intake.assignment.note_committed(intake.assignment.to_commit())
    assert intake.assignment.uncommitted == 1
    assert not slow.lease.lost


def test_a_partition_whose_marks_are_nearly_full_is_read_no_further_for_a_while():
    intake = arrived(Lane.NORMAL)
    left = work(intake, 16_000, leave=lambda offset: offset % 2 == 0)
    assert intake.wanted() == [("t.normal", 1)]
    metadata = intake.assignment.offset_metadata()
    assert 0.75 <= metadata.usage_ratio <= 1.0
    assert metadata.partitions_paused == 1
    for delivery in left:
        intake.assignment.settle(delivery)
    assert intake.wanted() == [HOME, ("t.normal", 1)]
    assert intake.assignment.offset_metadata().partitions_paused == 0


def test_where_marks_are_not_kept_reading_stops_sooner():
    intake = arrived(Lane.NORMAL, partitions=1)
    intake.assignment.kept = False
    (slow,) = work(intake, 10_000, leave=lambda offset: offset == 0)
    assert intake.wanted() == []
    assert intake.assignment.offset_metadata() == OffsetMetadata(supported=False, usage_ratio=0.0, partitions_paused=0)
    intake.assignment.settle(slow)
    assert intake.wanted() == [HOME]


def test_a_partition_that_comes_with_full_marks_is_read_on_to_what_they_tell_of():
    before = arrived(Lane.NORMAL, partitions=1)
    work(before, 17_000, leave=lambda offset: offset % 2 == 0)
    commit = before.assignment.to_commit()[HOME]
    after = Intake(TOPICS, Rules(), incarnation=7)
    after.want(ALL)
    after.assignment.keep_only([HOME])
    after.assignment.arrive({HOME: Committed(commit.offset, decode(commit.text, commit.offset))})
    after.assignment.note_committed(after.assignment.to_commit())
    assert after.assignment.offset_metadata().usage_ratio > 0.75
    assert after.wanted() == [HOME]
    keep(after, Lane.NORMAL, *range(100))
    assert [one.origin.position for one in after.hand_out(0.0)] == [f"0-{offset}" for offset in range(0, 100, 2)]


def test_what_was_begun_before_is_told_as_redelivered_and_twice_begun_at_an_unclean_end_as_suspect():
    intake = arrived(Lane.NORMAL, partitions=1)
    marks = Marks(clean=False, incarnation=5, started=IndexSet.of([1, 2]), earlier=IndexSet.of([2, 3]))
    intake.revoke()
    intake.assignment.keep_only([HOME])
    intake.assignment.arrive({HOME: Committed(0, marks)})
    keep(intake, Lane.NORMAL, 0, 1, 2, 3, 4)
    found = intake.hand_out(0.0)
    assert [one.redelivered for one in found] == [False, True, True, True, False]
    assert [one.facts.suspect for one in found] == [False, False, True, False, False]


def test_a_suspect_by_its_header_stays_one():
    intake = arrived(Lane.RETRY, partitions=1)
    keep(intake, Lane.RETRY, 0, headers=(("suspect", b"1"),))
    assert [one.facts.suspect for one in intake.hand_out(0.0)] == [True]


def test_a_retry_that_is_not_due_holds_its_partition_alone():
    intake = arrived(Lane.RETRY)
    keep(intake, Lane.RETRY, 0, headers=due_at(1_010.0))
    keep(intake, Lane.RETRY, 1)
    keep(intake, Lane.RETRY, 0, partition=1)
    assert [one.origin.position for one in intake.hand_out(1_000.0)] == ["1-0"]
    assert intake.wanted() == [("t.retry", 1)]
    assert intake.due_at() == 1_010.0
    assert intake.hand_out(1_009.9) == []
    assert [one.origin.position for one in intake.hand_out(1_010.0)] == ["0-0", "0-1"]
    assert intake.due_at() is None


def test_what_is_behind_a_retry_that_came_due_may_be_held_again():
    intake = arrived(Lane.RETRY, partitions=1)
    keep(intake, Lane.RETRY, 0, headers=due_at(1_010.0))
    keep(intake, Lane.RETRY, 1, headers=due_at(1_020.0))
    assert intake.hand_out(1_000.0) == []
    assert [one.facts.not_before for one in intake.hand_out(1_015.0)] == [1_010.0]
    assert intake.due_at() == 1_020.0
    assert [one.facts.not_before for one in intake.hand_out(1_020.0)] == [1_020.0]


def test_no_retry_waits_longer_than_a_minute_after_its_record():
    intake = arrived(Lane.RETRY)
    keep(intake, Lane.RETRY, 0, headers=due_at(99_999.0))
    assert intake.hand_out(1_000.0) == []
    assert intake.due_at() == 1_060.0


def test_only_the_retry_lane_holds_back():
    intake = arrived(Lane.NORMAL)
    keep(intake, Lane.NORMAL, 0, headers=due_at(1_050.0))
    assert len(intake.hand_out(1_000.0)) == 1


def test_what_was_read_ahead_is_given_again_after_a_rebalance():
    intake = arrived(Lane.NORMAL, partitions=1)
    keep(intake, Lane.NORMAL, 0)
    (held,) = intake.hand_out(0.0)
    keep(intake, Lane.NORMAL, 1)
    intake.revoke()
    assert intake.hand_out(0.0) == []
    keep(intake, Lane.NORMAL, 1)  # late, from a poll of before
    intake.assignment.keep_only([("t.normal", 0)])
    intake.assignment.arrive({("t.normal", 0): Committed(0)})
    assert intake.hand_out(0.0) == []
    keep(intake, Lane.NORMAL, 0, 1)
    assert [one.origin.position for one in intake.hand_out(0.0)] == ["0-1"]
    assert not held.lease.lost


def test_after_a_stop_nothing_is_read_or_handed_out():
    intake = arrived(Lane.NORMAL)
    keep(intake, Lane.NORMAL, 0)
    intake.stop()
    keep(intake, Lane.NORMAL, 1)
    assert intake.hand_out(0.0) == []
    assert intake.wanted() == []


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (Record("t.normal", 0, 0, value=None), Unaddressed),
        (Record("t.normal", 0, 0, value=b"\x00"), Unaddressed),
        (Record("t.normal", 0, 0, value=b"{}"), Refused),
        (Record("t.normal", 0, 0, value=b"{}", timestamp=-1), Refused),
        (Unreadable("t.normal", 0, 0, 3, 1_000, "it is broken", value=b"raw"), Unaddressed),
    ],
)
def test_junk_is_judged_and_never_raises(record, kind):
    intake = arrived(Lane.NORMAL)
    intake.keep(("t.normal", 0), [record])
    (found,) = intake.hand_out(0.0)
    assert isinstance(found.message, kind)
    assert isinstance(found.raw, bytes)


def test_what_cannot_be_decoded_says_which_offsets_it_stands_for_and_why():
    intake = arrived(Lane.NORMAL)
    intake.keep(("t.normal", 0), [Unreadable("t.normal", 0, 4, 7, 1_000, "it is broken", value=b"raw")])
    (found,) = intake.hand_out(0.0)
    assert found.message.error.code == "undecodable"
    assert found.message.error.message.startswith("offsets 4 to 6: it is broken;")
    assert found.raw == b"raw"
