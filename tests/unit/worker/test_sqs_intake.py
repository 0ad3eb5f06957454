"""How much is asked of SQS: never without a budget, never in small change, and more only while there is more."""

from backburner_schemas.names import Lane
from backburner_worker.sources.sqs import intake as sqs_intake
from backburner_worker.sources.sqs.in_flight import InFlightMessages
from backburner_worker.sources.sqs.intake import MAX_POLL_MESSAGES, MAX_POLLS, READ_AHEAD_MESSAGES, SqsIntake
from backburner_worker.sources.sqs.message import Received


def held(number, lane=Lane.NORMAL):
    received = Received(lane=lane, queue="q", id=f"{lane}-{number}", handle="h", body=b"x" * 10, sent=0.0, count=1)
    return InFlightMessages(120).take(received, 0.0)


def test_nothing_is_asked_before_there_is_a_budget():
    assert SqsIntake(Lane).polls() == []


def test_a_lane_begins_with_one_call_and_goes_on_with_more_while_they_come_back_full():
    intake = SqsIntake(Lane)
    intake.want({Lane.NORMAL: 2048})
    assert intake.polls() == [(Lane.NORMAL, MAX_POLL_MESSAGES)]
    assert intake.polls() == []
    intake.polled(Lane.NORMAL, MAX_POLL_MESSAGES, MAX_POLL_MESSAGES)
    assert len(intake.polls()) == 2
    for _ in range(20):
        intake.polled(Lane.NORMAL, MAX_POLL_MESSAGES, MAX_POLL_MESSAGES)
        intake.polls()
    assert intake._lanes[Lane.NORMAL].polls == MAX_POLLS
    intake.polled(Lane.NORMAL, MAX_POLL_MESSAGES, 0)
    assert intake.polls() == [], "an empty one says that there is nothing more"


def test_what_is_read_ahead_is_bounded_whatever_the_budget():
    intake = SqsIntake(Lane)
    intake.want({Lane.NORMAL: 2048})
    count = 0
    for _ in range(200):
        for lane, size in intake.polls():
            for _ in range(size):
                intake.add(held(count := count + 1), None)
            intake.polled(lane, size, size)
    assert count == READ_AHEAD_MESSAGES


def test_what_is_read_ahead_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(sqs_intake, "READ_AHEAD_BYTES", 25)
    intake = SqsIntake(Lane)
    intake.want({Lane.NORMAL: 2048})
    intake.polls()
    for number in range(3):
        intake.add(held(number), None)
    intake.polled(Lane.NORMAL, MAX_POLL_MESSAGES, 3)
    assert intake.polls() == []
    assert len(intake.hand_out(0.0)) == 3
    assert intake.polls() == [(Lane.NORMAL, MAX_POLL_MESSAGES)]


def test_a_narrow_window_reads_no_more_than_it_holds():
    intake = SqsIntake(Lane)
    intake.want({Lane.NORMAL: 2})
    assert intake.polls() == [(Lane.NORMAL, 2)]


def test_a_call_is_not_made_for_a_few_of_a_wide_window():
    intake = SqsIntake(Lane)
    intake.want({Lane.NORMAL: 100})
    intake.polls()
    for number in range(5):
        intake.add(held(number), None)
    intake.polled(Lane.NORMAL, MAX_POLL_MESSAGES, 5)
    intake.want({Lane.NORMAL: 3})
    assert intake.polls() == []
    assert len(intake.hand_out(0.0)) == 3
    assert intake.hand_out(0.0) == []
    intake.want({Lane.NORMAL: 3})
    assert len(intake.hand_out(0.0)) == 2
    assert intake.polls() == [(Lane.NORMAL, MAX_POLL_MESSAGES)]


def test_what_is_not_due_waits_and_holds_nothing_up():
    intake = SqsIntake(Lane)
    intake.want({Lane.RETRY: 10})
    late, later, now = held(1, Lane.RETRY), held(2, Lane.RETRY), held(3, Lane.RETRY)
    intake.add(later, 7.0)
    intake.add(late, 5.0)
    intake.add(now, None)
    assert intake.due_at() == 5.0
    assert intake.hand_out(4.9) == [now]
    assert intake.hand_out(5.0) == [late]
    assert intake.hand_out(8.0) == [later]
    assert intake.due_at() is None


def test_what_was_lost_while_it_waited_is_not_handed_out():
    messages = InFlightMessages(120)
    one = messages.take(held(1).received, 0.0)
    intake = SqsIntake(Lane)
    intake.want({Lane.NORMAL: 10})
    intake.add(one, None)
    messages.drop(one)
    assert intake.hand_out(0.0) == []


def test_after_the_stop_nothing_is_asked_and_nothing_handed_out():
    intake = SqsIntake(Lane)
    intake.want({Lane.NORMAL: 10})
    intake.add(held(1), None)
    intake.stop()
    assert (intake.polls(), intake.hand_out(0.0)) == ([], [])
