"""The watch over a store's answers: away after some seconds without one, back with the first."""

import pytest

from backburner.storage.availability import PATIENCE_SECONDS, StorageWatch


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(clock):
    return StorageWatch("writes", clock)


def test_a_store_that_is_not_asked_is_not_away(watch, clock):
    clock.now += 1000
    assert watch.unavailable_reason() is None


def test_a_call_that_gets_no_answer_is_trouble_before_it_fails(watch, clock):
    watch.begin()
    clock.now += PATIENCE_SECONDS - 0.1
    assert watch.unavailable_reason() is None
    clock.now += 0.2
    assert watch.unavailable_reason() == "writes have not been answered for 5 s: no answer and no error yet"


def test_a_failure_is_told_and_counts_from_when_its_call_began(watch, clock):
    call = watch.begin()
    clock.now += 20
    watch.failed(call, "connection refused")
    assert watch.unavailable_reason() == "writes have not been answered for 20 s: connection refused"


def test_a_failure_that_came_at_once_is_no_outage_yet(watch, clock):
    watch.failed(watch.begin(), "slow down")
    assert watch.unavailable_reason() is None
    clock.now += PATIENCE_SECONDS
    assert "slow down" in watch.unavailable_reason()


def test_one_answer_ends_it(watch, clock):
    watch.failed(watch.begin(), "connection refused")
    clock.now += 60
    waiting, answered = watch.begin(), watch.begin()
    assert watch.unavailable_reason() is not None
    watch.answered(answered)
    assert watch.unavailable_reason() is None
    # What still waits counts from that answer on: the store was there then.
    clock.now += PATIENCE_SECONDS + 1
    assert watch.unavailable_reason() is not None
    watch.answered(waiting)
    assert watch.unavailable_reason() is None


def test_a_call_that_was_given_up_tells_nothing(watch, clock):
    call = watch.begin()
    clock.now += 60
    watch.dropped(call)
    assert watch.unavailable_reason() is None


def test_the_oldest_call_counts(watch, clock):
    first = watch.begin()
    clock.now += PATIENCE_SECONDS - 1
    watch.begin()
    clock.now += 2
    assert watch.unavailable_reason() is not None
    watch.dropped(first)
    assert watch.unavailable_reason() is None
