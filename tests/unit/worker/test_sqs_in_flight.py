"""What a worker holds of SQS: who is extended, lost, deleted, sent anew. Pure, so by a clock of the test's own."""

import math

from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.codec import Rules
from backburner_schemas.names import Lane
from backburner_worker.sources.sqs.in_flight import MAX_VISIBILITY_SECONDS, InFlightMessages, Stage
from backburner_worker.sources.sqs.message import Received


def received(number, receipt=1):
    return Received(
        lane=Lane.NORMAL, queue="q", id=f"m{number}", handle=f"m{number}-{receipt}", body=b"{}", sent=0.0, count=receipt
    )


def given_out(held, messages):
    delivery = held.received.delivery(Rules(), held)
    messages.give(held, delivery)
    return delivery


def test_nothing_is_extended_before_a_third_of_its_time():
    messages = InFlightMessages(120)
    held = messages.take(received(1), 0.0)
    assert messages.due_heartbeats(39.9) == []
    assert messages.due_heartbeats(40.0) == [held]
    assert messages.due_heartbeats(41.0) == [], "one is under way"
    messages.extended(held, held.handle, 40.0, 120)
    assert (held.until, held.heartbeat_at) == (160.0, 80.0)


def test_what_is_nearly_due_comes_along():
    messages = InFlightMessages(120)
    first, second, third = (messages.take(received(number), float(at)) for number, at in enumerate((0, 9, 20)))
    assert messages.due_heartbeats(40.0) == [first, second]
    assert messages.due_heartbeats(60.0) == [third]


def test_an_extension_that_failed_is_tried_soon_and_lost_in_the_end():
    messages = InFlightMessages(12)
    held = messages.take(received(1), 0.0)
    delivery = given_out(held, messages)
    assert messages.due_heartbeats(4.0) == [held]
    messages.not_extended(held, 5.0)
    assert messages.due_heartbeats(6.0) == [held]
    assert messages.expired(11.9) == []
    assert messages.expired(12.0) == [held]
    assert delivery.lease.lost
    assert len(messages) == messages.uncommitted == 0
    # The answer comes late.
    messages.extended(held, held.handle, 4.0, 12)
    assert not messages.settle(delivery)


def test_an_answer_for_an_older_receipt_changes_nothing():
    messages = InFlightMessages(12)
    held = messages.take(received(1), 0.0)
    delivery = given_out(held, messages)
    messages.due_heartbeats(4.0)
    assert messages.take(received(1, 2), 5.0) is None
    messages.refused(held, "m1-1")
    assert not delivery.lease.lost
    messages.refused(held, "m1-2")
    assert delivery.lease.lost


def test_nobody_asks_for_more_than_twelve_hours():
    messages = InFlightMessages(3600)
    held = messages.take(received(1), 0.0)
    assert messages.extension(held, 100.0) == 3600
    assert messages.extension(held, MAX_VISIBILITY_SECONDS - 1800.5) == 1800
    assert messages.extension(held, MAX_VISIBILITY_SECONDS + 1) == 0
    assert messages.due_heartbeats(MAX_VISIBILITY_SECONDS + 1) == []


def test_what_is_held_too_long_is_dropped_to_be_sent_anew():
    messages = InFlightMessages(120, send_again_after=1000)
    waiting, out, settled = (messages.take(received(number), 0.0) for number in range(3))
    delivery = given_out(out, messages)
    messages.settle(given_out(settled, messages))
    assert messages.too_long(999.0) == []
    assert messages.too_long(1000.0) == [waiting, out]
    assert delivery.lease.lost
    assert settled.stage is Stage.SETTLED


def test_what_is_settled_is_extended_until_its_receipt_is_void_and_deleted_all_the_same():
    messages = InFlightMessages(120)
    held = messages.take(received(1), 0.0)
    assert messages.settle(given_out(held, messages))
    assert messages.due_heartbeats(40.0) == [held]
    messages.refused(held, held.handle)
    assert held.heartbeat_at == math.inf
    assert messages.expired(1e9) == []
    assert messages.deletions(1e9) == [held]
    assert messages.deletions(1e9) == []
    messages.not_deleted([held], 100.0)
    assert messages.deletions(100.5) == []
    assert messages.deletions(101.0) == [held]
    assert messages.deleted(held, held.handle)
    assert messages.uncommitted == 0


def test_what_only_waits_for_its_deletion_keeps_no_text():
    messages = InFlightMessages(120)
    held = messages.take(received(1), 0.0)
    assert held.received.body
    messages.settle(given_out(held, messages))
    assert (held.received.body, held.handle) == (b"", "m1-1")
    messages.take(received(1, 2), 1.0)
    assert (held.received.body, held.handle) == (b"", "m1-2")


def test_a_copy_that_comes_while_it_is_deleted_is_deleted_too():
    messages = InFlightMessages(120)
    held = messages.take(received(1), 0.0)
    messages.settle(given_out(held, messages))
    messages.deletions(0.0)
    assert messages.take(received(1, 2), 1.0) is None
    assert not messages.deleted(held, "m1-1")
    assert messages.deletions(1.0) == [held]
    assert messages.deleted(held, "m1-2")
    # And once more, when it is long gone.
    assert messages.take(received(1, 3), 2.0) is None
    (again,) = messages.deletions(2.0)
    assert again.handle == "m1-3"


class Walk:
    """Five messages that come, are given out, settled, deleted, copied and lost in any order."""

    def __init__(self):
        self.messages, self.now = InFlightMessages(10), 0.0
        self.held, self.out, self.deleting = {}, {}, []
        self.receipts = dict.fromkeys(range(5), 0)

    def come(self, number):
        self.receipts[number] += 1
        taken = self.messages.take(received(number, self.receipts[number]), self.now)
        if taken is not None:
            self.held[number] = taken

    def give(self, number):
        held = self.held.get(number)
        if held is not None and held.stage is Stage.WAITING and not held.dropped:
            assert number not in self.out or self.out[number].lease.lost, "given twice"
            self.out[number] = given_out(held, self.messages)

    def settle(self, number):
        if number in self.out and self.messages.settle(self.out[number]):
            assert not self.out.pop(number).lease.lost

    def delete(self, _number):
        self.deleting += [(each, each.handle) for each in self.messages.deletions(self.now)]

    def answer(self, _number):
        if self.deleting:
            self.messages.deleted(*self.deleting.pop())

    def expire(self, _number):
        self.now += 4
        self.messages.expired(self.now)

    def check(self):
        alive = [one for one in self.out.values() if not one.lease.lost]
        assert self.messages.uncommitted == len(alive) + self.messages.settled
        assert self.messages.settled == self.messages.to_delete + len(self.deleting)
        assert len(self.messages) >= self.messages.uncommitted


STEPS = (Walk.come, Walk.give, Walk.settle, Walk.delete, Walk.answer, Walk.expire)


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 4)), max_size=60))
def test_whatever_happens_the_counts_agree_and_nothing_is_given_twice_at_once(steps):
    walk = Walk()
    for step, number in steps:
        walk.now += 0.5
        step(walk, number)
        walk.check()


def test_what_its_outcome_made_superfluous_is_not_kept_nor_that_of_a_copy():
    messages = InFlightMessages(120)
    held = messages.take(received(1), 0.0)
    delivery = given_out(held, messages)
    delivery.drop_payload()
    assert (delivery.raw, held.received.body) == (b"", b"")
    assert messages.take(received(1, receipt=2), 1.0) is None
    assert (held.received.body, held.handle) == (b"", "m1-2")
    assert messages.settle(delivery)
