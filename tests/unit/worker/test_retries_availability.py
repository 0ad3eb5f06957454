"""Whether the queue takes retries: away after some seconds of refusals, back with the first that is taken."""

import pytest
from clock import Clock

from backburner_worker.settlement.availability import RetriesAvailability


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def availability(clock):
    return RetriesAvailability(clock)


def test_while_nothing_is_retried_it_is_not_away(availability, clock):
    clock.now += 1000
    assert availability.unavailable_reason() is None


def test_refusals_are_an_outage_after_some_seconds_and_the_last_says_why(availability, clock):
    availability.failed("no leader")
    assert availability.unavailable_reason() is None
    clock.now += 4.9
    availability.failed("no broker")
    assert availability.unavailable_reason() is None
    clock.now += 0.2
    assert availability.unavailable_reason() == "retries cannot be published: no broker"


def test_one_that_is_taken_ends_it(availability, clock):
    availability.failed("no broker")
    clock.now += 60
    availability.answered()
    assert availability.unavailable_reason() is None
    availability.failed("no broker")
    assert availability.unavailable_reason() is None
