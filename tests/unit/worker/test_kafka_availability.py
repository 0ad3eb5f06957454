"""Why a member gets nothing, as readiness and log say it: a right that was taken away, until it is back."""

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError
from clock import Clock

from backburner_schemas.names import Lane
from backburner_worker.sources.kafka import availability as availability_module
from backburner_worker.sources.kafka.availability import KafkaAvailability


class Told(Exception):
    """Ends a look that otherwise goes on for ever."""


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(availability_module.time, "monotonic", clock)
    return clock


@pytest.fixture
def rights(monkeypatch):
    """What the broker says of the rights that are missing."""
    missing: list[str | None] = [None]

    async def asked(_consumer, topics, group, *, seconds):
        assert (topics, group, seconds > 0) == ({"p.m.normal": Lane.NORMAL}, "p.m", True)
        return missing[0]

    async def answers(_consumer, *, seconds):
        return True

    monkeypatch.setattr(availability_module, "denied_rights", asked)
    monkeypatch.setattr(availability_module, "answers", answers)
    return missing


async def looked(availability, clock, monkeypatch, *, after=2.0):
    """Look once, so many seconds later."""
    slept = 0

    async def sleep(_seconds):
        nonlocal slept
        slept += 1
        if slept > 1:
            raise Told

    monkeypatch.setattr(availability_module.asyncio, "sleep", sleep)
    clock.now += after
    with pytest.raises(Told):
        await availability.run(None)


async def no_refusal():
    return None


@pytest.mark.parametrize("error", [GroupAuthorizationFailedError("p.m"), TopicAuthorizationFailedError("p.m.normal")])
async def test_a_right_that_is_taken_away_is_named_until_it_is_back(clock, rights, monkeypatch, error):
    availability = KafkaAvailability({"p.m.normal": Lane.NORMAL}, "p.m", 6.0, no_refusal)
    availability.joined()
    assert availability.unavailable_reason() is None
    availability.denied(error)
    # At once what the broker said, and then by name.
    assert "not authorised" in availability.unavailable_reason()
    rights[0] = "this user lacks rights: Read on p.m.normal"
    await looked(availability, clock, monkeypatch)
    assert availability.unavailable_reason() == rights[0]
    availability.answered()
    availability.denied(error)
    assert availability.unavailable_reason() == rights[0]
    rights[0] = None
    # A broker that tells no rights says the same: as long as it denies anything, it is no better.
    await looked(availability, clock, monkeypatch)
    assert availability.unavailable_reason() is not None
    await looked(availability, clock, monkeypatch, after=20.0)
    assert availability.unavailable_reason() is None
