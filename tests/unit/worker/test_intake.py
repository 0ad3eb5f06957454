"""What is read ahead, held back and handed out, without a broker."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from backburner_schemas.codec import Refused, Rules, Unaddressed
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.indexset import IndexSet
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery, OffsetMetadata
from backburner_worker.sources.kafka import intake as intake_module
from backburner_worker.sources.kafka import marks as marks_module
from backburner_worker.sources.kafka import partition as partition_module
from backburner_worker.sources.kafka.assignment import Committed, Partition
from backburner_worker.sources.kafka.batches.record import MAX_KEPT_BYTES, Unreadable
from backburner_worker.sources.kafka.buffer import LaneBuffer
from backburner_worker.sources.kafka.intake import HAND_OUT_RECORDS, Intake
from backburner_worker.sources.kafka.marks import MAX_CHARACTERS, Log, Marks, decode
from backburner_worker.sources.kafka.partition import MAX_OFFSETS_AHEAD

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
    intake.assignment.kept = True
    arrive(intake, {(f"t.{lane}", number): Committed(0) for lane in lanes for number in range(partitions)})
    intake.want(ALL)
    return intake


def arrive(intake: Intake, coming: dict[Partition, Committed]) -> None:
    """The partitions come, and the broker learns that work on them begins."""
    intake.assignment.keep_only(coming.keys())
    intake.assignment.arrive(coming, now=0.0)
    intake.assignment.note_committed(intake.assignment.to_commit())


def keep(intake: Intake, lane: Lane, *offsets: int, partition: int = 0, unix: float = 1_000.0, **more) -> None:
    records = [Record(f"t.{lane}", partition, offset, **more) for offset in offsets]
    intake.keep((f"t.{lane}", partition), records, now=1_000.0, unix=unix)


def test_each_record_is_handed_out_once_in_its_order():
    intake = arrived(Lane.NORMAL)
    keep(intake, Lane.NORMAL, 0, 1, 2)
    keep(intake, Lane.NORMAL, 2, 3)
    assert [one.origin.position for one in intake.hand_out(1_000.0)] == ["0-0", "0-1", "0-2", "0-3"]
    assert intake.hand_out(1_000.0) == []


def test_of_a_message_that_is_too_large_no_more_is_kept_than_of_what_cannot_be_decoded():
    intake = Intake(TOPICS, Rules(max_body_bytes=1000))
    intake.assignment.kept = True
    arrive(intake, {("t.normal", 0): Committed(0)})
    intake.want(ALL)
    keep(intake, Lane.NORMAL, 0, value=b"junk" * 2_000)
    keep(intake, Lane.NORMAL, 1, value=b"junk" * 1_000_000)
    small, large = intake.hand_out(1_000.0)
    assert small.raw == b"junk" * 2_000
    assert len(large.raw) == MAX_KEPT_BYTES


def test_the_budget_is_kept_in_each_lane():
    intake = arrived(Lane.HIGH, Lane.LOW)
    keep(intake, Lane.HIGH, 0, 1, 2)
    keep(intake, Lane.LOW, 0, 1, 2)
    intake.want({Lane.HIGH: 1, Lane.LOW: 2})
    assert [one.lane for one in intake.hand_out(1_000.0)] == [Lane.HIGH, Lane.LOW, Lane.LOW]


def test_one_pull_decodes_a_bounded_number():
    intake = arrived(Lane.NORMAL)
    keep(intake, Lane.NORMAL, *range(HAND_OUT_RECORDS + 1))
    assert len(intake.hand_out(1_000.0)) == HAND_OUT_RECORDS
    assert len(intake.hand_out(1_000.0)) == 1


def test_one_pull_decodes_a_bounded_number_of_bytes(monkeypatch):
    monkeypatch.setattr(intake_module, "HAND_OUT_BYTES", 5)
    intake = arrived(Lane.NORMAL)
    keep(intake, Lane.NORMAL, 0, 1, 2, value=b"12345")
    assert len(intake.hand_out(1_000.0)) == 1


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
    intake.hand_out(1_000.0)
    assert intake.wanted() == [("t.high", 0), ("t.low", 0)]


def test_a_lane_is_full_by_bytes_too():
    buffer = LaneBuffer(max_records=100, max_bytes=1_000)
    buffer.add([Record("t", 0, 0, value=b"x" * 600)], now=0.0, unix=0.0)
    assert not buffer.full
    buffer.add([Record("t", 0, 1, value=None, headers=(("name", b"x" * 600),))], now=0.0, unix=0.0)
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
        for delivery in intake.hand_out(1_000.0):
            offset = int(delivery.origin.position.split("-")[1])
            intake.assignment.begin(delivery)
            if leave(offset):
                left.append(delivery)
            else:
                intake.assignment.settle(delivery)
    return left


@pytest.fixture
def few_ahead(monkeypatch):
    """What may be done ahead is an eighth of what it is, and so is the time until a test is there."""
    monkeypatch.setattr(partition_module, "MAX_OFFSETS_AHEAD", MAX_OFFSETS_AHEAD // 8)
    monkeypatch.setattr(partition_module, "_MIN_CHANGES_BETWEEN_MEASUREMENTS", 32)
    for module in (partition_module, marks_module):
        monkeypatch.setattr(module, "MAX_CHARACTERS", MAX_CHARACTERS // 8)
    monkeypatch.setattr(marks_module, "_ROOM_BYTES", marks_module._ROOM_BYTES // 8)


@pytest.mark.usefixtures("few_ahead")
def test_twice_as_many_done_behind_one_slow_request_do_not_stop_the_reading_where_marks_are_kept():
    intake = arrived(Lane.NORMAL, partitions=1)
    (slow,) = work(intake, 2_500, leave=lambda offset: offset == 0)
    assert intake.wanted() == [HOME]
    assert intake.assignment.offset_metadata().usage_ratio < 0.12
    assert intake.assignment.uncommitted == 2_500
    intake.assignment.note_committed(intake.assignment.to_commit())
    assert intake.assignment.uncommitted == 1
    assert not slow.lease.lost


@pytest.mark.usefixtures("few_ahead")
def test_a_partition_whose_marks_are_nearly_full_is_read_no_further_for_a_while():
    intake = arrived(Lane.NORMAL)
    left = work(intake, 2_000, leave=lambda offset: offset % 2 == 0)
    assert intake.wanted() == [("t.normal", 1)]
    metadata = intake.assignment.offset_metadata()
    assert 0.75 <= metadata.usage_ratio <= 1.0
    assert metadata.partitions_paused == 1
    for delivery in left:
        intake.assignment.settle(delivery)
    assert intake.wanted() == [HOME, ("t.normal", 1)]
    assert intake.assignment.offset_metadata().partitions_paused == 0


@pytest.mark.usefixtures("few_ahead")
def test_where_marks_are_not_kept_reading_stops_sooner():
    intake = arrived(Lane.NORMAL, partitions=1)
    intake.assignment.kept = False
    (slow,) = work(intake, 1_300, leave=lambda offset: offset == 0)
    assert intake.wanted() == []
    assert intake.assignment.offset_metadata() == OffsetMetadata(supported=False, usage_ratio=0.0, partitions_paused=0)
    intake.assignment.settle(slow)
    assert intake.wanted() == [HOME]


@pytest.mark.usefixtures("few_ahead")
def test_a_partition_that_comes_with_full_marks_is_read_on_to_what_they_tell_of():
    before = arrived(Lane.NORMAL, partitions=1)
    work(before, 2_000, leave=lambda offset: offset % 2 == 0)
    commit = before.assignment.to_commit()[HOME]
    after = Intake(TOPICS, Rules(), incarnation=7)
    after.assignment.kept = True
    after.want(ALL)
    arrive(after, {HOME: Committed(commit.offset, decode(commit.text, commit.offset))})
    assert after.assignment.offset_metadata().usage_ratio > 0.75
    assert after.wanted() == [HOME]
    keep(after, Lane.NORMAL, *range(100))
    assert [one.origin.position for one in after.hand_out(1_000.0)] == [f"0-{offset}" for offset in range(0, 100, 2)]


def test_what_was_begun_before_is_told_as_redelivered_and_twice_begun_at_an_unclean_end_as_suspect():
    intake = arrived(Lane.NORMAL, partitions=1)
    marks = Marks(clean=False, incarnation=5, started=IndexSet.of([1, 2]), earlier=IndexSet.of([2, 3]))
    intake.revoke()
    arrive(intake, {HOME: Committed(0, marks)})
    keep(intake, Lane.NORMAL, 0, 1, 2, 3, 4)
    found = intake.hand_out(1_000.0)
    assert [one.redelivered for one in found] == [False, True, True, True, False]
    assert [one.facts.suspect for one in found] == [False, False, True, False, False]
    # All of it may have been answered by who ended so, and not committed.
    assert [one.handed_over_at for one in found] == [0.0] * 5


@pytest.mark.parametrize("kept", [True, False])
def test_a_suspect_tells_whether_the_marks_show_that_nobody_died_of_it(kept):
    intake = arrived(Lane.RETRY, partitions=1)
    home = ("t.retry", 0)
    marks = Marks(clean=False, incarnation=5, started=IndexSet.of([1]), earlier=IndexSet.of([2]))
    for found in (Committed(0, marks), Committed(0, Marks(clean=True, incarnation=6, started=IndexSet.of([1, 3])))):
        intake.revoke()
        arrive(intake, {home: found})
        intake.assignment.kept = kept
        keep(intake, Lane.RETRY, 0, 1, 2, 3, 4, headers=(("suspect", b"1"),))
        left = [one.left_cleanly for one in intake.hand_out(1_000.0)]
        unclean = not found.marks.clean
        assert left == [kept is True and not (unclean and offset in (1, 2)) for offset in range(5)]
        intake.assignment.lose_all()


def test_a_suspect_by_its_header_stays_one():
    intake = arrived(Lane.RETRY, partitions=1)
    keep(intake, Lane.RETRY, 0, headers=(("suspect", b"1"),))
    assert [one.facts.suspect for one in intake.hand_out(1_000.0)] == [True]


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


@pytest.mark.parametrize("year_9000_ms", [221_845_392_000_000])
@pytest.mark.parametrize("unix", [1_000.0, 1_000.0 - 7_200.0, 1_000.0 + 7_200.0])
def test_no_retry_waits_longer_than_a_minute_after_it_was_first_seen_whatever_any_clock_says(unix, year_9000_ms):
    intake = arrived(Lane.RETRY, partitions=1)
    keep(intake, Lane.RETRY, 0, unix=unix, headers=due_at(year_9000_ms / 1000), timestamp=year_9000_ms)
    keep(intake, Lane.RETRY, 1, unix=unix, headers=due_at(unix + 7_200.0), timestamp=int(unix + 7_200) * 1_000)
    assert intake.hand_out(1_059.9) == []
    assert intake.due_at() == 1_060.0
    assert [one.origin.position for one in intake.hand_out(1_060.0)] == ["0-0", "0-1"]


def test_a_lane_full_of_retries_that_are_never_due_is_free_again_within_a_minute(monkeypatch):
    most, at_once = 200, 16
    monkeypatch.setattr(intake_module, "BUFFER_RECORDS", most)
    monkeypatch.setattr(intake_module, "HAND_OUT_RECORDS", at_once)
    intake = arrived(Lane.RETRY, partitions=1)
    keep(intake, Lane.RETRY, *range(most), headers=due_at(9e11), timestamp=10**15)
    assert intake.hand_out(1_000.0) == []
    assert intake.wanted() == []
    intake.want({Lane.RETRY: 2 * most})
    assert sum(len(intake.hand_out(1_060.0)) for _ in range(most // at_once + 1)) == most
    assert intake.wanted() == [("t.retry", 0)]


@pytest.mark.parametrize("lane", [Lane.HIGH, Lane.NORMAL, Lane.LOW])
def test_what_a_sender_claims_of_its_own_message_makes_it_neither_a_suspect_nor_a_late_attempt(lane):
    intake = arrived(lane)
    claims = (("suspect", b"1"), ("attempt", b"99"), ("failed_at", b"a/1"), ("not_before", b"9e9"))
    keep(intake, lane, 0, headers=(*claims, ("traceparent", b"00-a-b-01")))
    (found,) = intake.hand_out(1_000.0)
    assert found.facts == DeliveryFacts(traceparent="00-a-b-01")


def test_only_the_retry_lane_holds_back():
    intake = arrived(Lane.NORMAL)
    keep(intake, Lane.NORMAL, 0, headers=due_at(1_050.0))
    assert len(intake.hand_out(1_000.0)) == 1


def test_what_was_read_ahead_is_given_again_after_a_rebalance():
    intake = arrived(Lane.NORMAL, partitions=1)
    keep(intake, Lane.NORMAL, 0)
    (held,) = intake.hand_out(1_000.0)
    keep(intake, Lane.NORMAL, 1)
    intake.revoke()
    assert intake.hand_out(1_000.0) == []
    keep(intake, Lane.NORMAL, 1)  # late, from a poll of before
    arrive(intake, {HOME: Committed(0)})
    assert intake.hand_out(1_000.0) == []
    keep(intake, Lane.NORMAL, 0, 1)
    assert [one.origin.position for one in intake.hand_out(1_000.0)] == ["0-1"]
    assert not held.lease.lost


def test_after_a_stop_nothing_is_read_or_handed_out():
    intake = arrived(Lane.NORMAL)
    keep(intake, Lane.NORMAL, 0)
    intake.stop()
    keep(intake, Lane.NORMAL, 1)
    assert intake.hand_out(1_000.0) == []
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
    intake.keep(("t.normal", 0), [record], now=1_000.0, unix=1_000.0)
    (found,) = intake.hand_out(1_000.0)
    assert isinstance(found.message, kind)
    assert isinstance(found.raw, bytes)


def test_nothing_is_read_of_a_partition_before_the_broker_knows_that_work_on_it_begins():
    intake = Intake(TOPICS, Rules())
    intake.assignment.kept = True
    intake.want(ALL)
    intake.assignment.keep_only([HOME])
    intake.assignment.arrive({HOME: Committed(0)}, now=0.0)
    assert intake.wanted() == []
    keep(intake, Lane.NORMAL, 0)
    assert intake.hand_out(1_000.0) == []
    intake.assignment.note_committed(intake.assignment.to_commit())
    assert intake.wanted() == [HOME]


def test_what_was_read_of_a_log_that_is_gone_is_not_handed_out():
    intake = arrived(Lane.NORMAL, Lane.RETRY)
    for lane in (Lane.NORMAL, Lane.RETRY):
        keep(intake, lane, 0, 1, headers=due_at(1_010.0))
        keep(intake, lane, 0, partition=1)
    assert [one.origin.position for one in intake.hand_out(1_000.0)] == ["0-0", "0-1", "1-0", "1-0"]
    keep(intake, Lane.NORMAL, 2, 3)
    for lane in (Lane.NORMAL, Lane.RETRY):
        intake.assignment.begin_anew((f"t.{lane}", 0), 0, Log(b"n" * 16, 0, 0))
        intake.drop((f"t.{lane}", 0))
    intake.assignment.note_committed(intake.assignment.to_commit())
    assert intake.hand_out(1_020.0) == []
    keep(intake, Lane.NORMAL, 0)
    assert [one.origin.position for one in intake.hand_out(1_020.0)] == ["0-0"]


@pytest.mark.parametrize(("kept", "position"), [(True, "0-0-6e6e6e6e"), (False, "0-0")])
def test_a_log_that_took_anothers_place_has_addresses_of_its_own_where_its_next_owner_would_know(kept, position):
    intake = arrived(Lane.NORMAL)
    intake.assignment.kept = kept
    intake.assignment.begin_anew(HOME, 0, Log(b"n" * 16, 0, 0, renewed=True))
    intake.assignment.note_committed(intake.assignment.to_commit())
    keep(intake, Lane.NORMAL, 0, value=b'{"custom_id": "c", "method": "POST", "url": "/v1/completions", "body": {}}')
    (found,) = intake.hand_out(1_000.0)
    assert found.origin.position == position
    assert found.address is not None
    assert found.address.index == position


def test_what_follows_where_a_log_lost_its_end_has_no_address_of_what_was_there():
    intake = arrived(Lane.NORMAL)
    line = b'{"custom_id": "c", "method": "POST", "url": "/v1/completions", "body": {}}'
    found = []
    for _ in range(2):
        keep(intake, Lane.NORMAL, 0, value=line)
        found += intake.hand_out(1_000.0)
        intake.assignment.cut(HOME, 0, Log(b"n" * 16, 1, 5).cut(0))
        intake.assignment.note_committed(intake.assignment.to_commit())
    before, after = found
    assert before.lease.lost
    assert before.address != after.address


def test_what_cannot_be_decoded_says_which_offsets_it_stands_for_and_why():
    intake = arrived(Lane.NORMAL)
    intake.keep(
        ("t.normal", 0), [Unreadable("t.normal", 0, 4, 7, 1_000, "it is broken", value=b"raw")], now=0.0, unix=0.0
    )
    (found,) = intake.hand_out(0.0)
    assert found.message.error.code == "undecodable"
    assert found.message.error.message.startswith("offsets 4 to 6: it is broken;")
    assert found.raw == b"raw"
