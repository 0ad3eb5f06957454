"""A store's availability: away after some seconds without one, back with the first."""

import math

import pytest
from clock import Clock

from backburner.storage.availability import PATIENCE_SECONDS, StorageAvailability


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def availability(clock):
    return StorageAvailability("writes", clock)


def test_a_store_that_is_not_asked_is_not_away(availability, clock):
    clock.now += 1000
    assert availability.unavailable_reason() is None


def test_a_call_that_gets_no_answer_is_trouble_before_it_fails(availability, clock):
    availability.begin()
    clock.now += PATIENCE_SECONDS - 0.1
    assert availability.unavailable_reason() is None
    clock.now += 0.2
    assert availability.unavailable_reason() == "writes have not been answered for 5 s: no answer and no error yet"


def test_a_failure_is_told_and_counts_from_when_its_call_began(availability, clock):
    call = availability.begin()
    clock.now += 20
    availability.failed(call, "connection refused")
    assert availability.unavailable_reason() == "writes have not been answered for 20 s: connection refused"


def test_a_failure_that_came_at_once_is_no_outage_yet(availability, clock):
    availability.failed(availability.begin(), "slow down")
    assert availability.unavailable_reason() is None
    clock.now += PATIENCE_SECONDS
    assert "slow down" in availability.unavailable_reason()


def test_one_answer_ends_it(availability, clock):
    availability.failed(availability.begin(), "connection refused")
    clock.now += 60
    waiting, answered = availability.begin(), availability.begin()
    assert availability.unavailable_reason() is not None
    availability.answered(answered)
    assert availability.unavailable_reason() is None
    # What still waits counts from that answer on: the store was there then.
    clock.now += PATIENCE_SECONDS + 1
    assert availability.unavailable_reason() is not None
    availability.answered(waiting)
    assert availability.unavailable_reason() is None


def test_an_answer_after_an_outage_says_when_it_ended(availability, clock):
    availability.answered(availability.begin())
    clock.now += 1000
    # Nobody asked, and one that failed was answered soon.
    availability.failed(availability.begin(), "slow down")
    clock.now += PATIENCE_SECONDS - 1
    availability.answered(availability.begin())
    assert availability.back_at == -math.inf
    slow = availability.begin()
    clock.now += 60
    availability.answered(slow)
    assert availability.back_at == -math.inf
    hung = availability.begin()
    clock.now += 20
    availability.failed(hung, "no answer")
    clock.now += 40
    availability.answered(availability.begin())
    assert availability.back_at == clock.now


def test_a_call_that_was_given_up_soon_tells_nothing(availability, clock):
    call = availability.begin()
    clock.now += PATIENCE_SECONDS - 0.1
    availability.dropped(call)
    clock.now += 60
    assert availability.unavailable_reason() is None


def test_a_call_that_was_given_up_after_long_silence_is_trouble_until_the_next_answer(availability, clock):
    call = availability.begin()
    clock.now += 10
    availability.dropped(call)
    assert availability.unavailable_reason() == "writes have not been answered for 10 s: no answer and no error"
    availability.answered(availability.begin())
    assert availability.unavailable_reason() is None


def test_the_oldest_call_counts(availability, clock):
    first = availability.begin()
    clock.now += PATIENCE_SECONDS - 1
    availability.begin()
    clock.now += 2
    assert availability.unavailable_reason() is not None
    availability.answered(first)
    assert availability.unavailable_reason() is None
