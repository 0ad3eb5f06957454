"""What is kept of a call that may come twice: found by its retries in time, by any clock, and by nobody afterwards."""

import math

import pytest
from obstore.store import MemoryStore

from backburner.gateway.auth.principal import Principal, Scope
from backburner.gateway.idempotency import KEPT_SECONDS, RETRY_WINDOW_SECONDS, Idempotency
from backburner.storage import Storage
from backburner.storage.clock import OwnClock
from backburner_schemas.errors import IdempotencyConflict


class Doubted(OwnClock):
    """The store's clock, as one knows it whose own does not agree with it."""

    trusted = False
    at = 1_000_000.0

    def now(self):
        return self.at

    def trusted_now(self):
        return -math.inf


@pytest.fixture
def clock():
    return Doubted()


@pytest.fixture
def once(clock):
    caller = Principal("acme", "alice", frozenset({Scope.WRITE}))
    return Idempotency(Storage(MemoryStore(), store_clock=clock), caller, "batches")


async def test_a_key_is_remembered_for_a_day_and_no_longer_by_a_clock_that_is_not_trusted(once, clock):
    assert await once.once("k", "one", "first") == "first"
    clock.at += KEPT_SECONDS
    assert await once.found("k", "one") == await once.once("k", "one", "second") == "first"
    with pytest.raises(IdempotencyConflict):
        await once.found("k", "other")
    clock.at += 1
    assert await once.found("k", "other") is None
    assert await once.once("k", "other", "second") == "second"


async def test_a_retry_without_a_key_finds_its_first_call_by_a_clock_that_is_not_trusted_and_none_of_long_ago(
    once, clock
):
    assert await once.retried("one", "first", retry=False) == "first"
    clock.at += RETRY_WINDOW_SECONDS
    assert await once.first("one") == await once.retried("one", "second", retry=True) == "first"
    clock.at += 1
    assert await once.first("one") is None
    assert await once.retried("one", "second", retry=True) == "second"


async def test_a_call_that_is_dated_long_after_now_is_not_remembered_until_then(once, clock):
    clock.at += 365 * KEPT_SECONDS
    await once.once("k", "one", "first")
    await once.retried("one", "first", retry=False)
    clock.at -= 365 * KEPT_SECONDS
    assert await once.found("k", "one") is await once.first("one") is None
