"""Who has a job: of racing dispatchers one, for as long as it shows signs of life, and never two that both send."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from backburner.dispatcher.claim import Claim, ClaimLost, CursorWatch, note_waiting, read_cursor
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.job import Cursor, Waiting, WaitReason

JOB = ("acme", "batch-1")
SECONDS = 10.0


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def storage():
    return Storage(MemoryStore())


def claim_of(storage, owner, clock):
    return Claim(storage, JOB, owner, seconds=SECONDS, clock=clock)


async def test_of_those_that_see_a_free_job_at_once_one_gets_it(storage):
    clock = Clock()
    found = await read_cursor(storage, JOB)
    claims = [claim_of(storage, f"d{number}", clock) for number in range(8)]
    taken = await asyncio.gather(*(claim.take(found) for claim in claims))
    assert sum(taken) == 1
    owner = taken.index(True)
    assert (await read_cursor(storage, JOB)).cursor.owner == f"d{owner}"
    assert [claim.safe for claim in claims] == taken


async def test_nothing_is_sent_before_the_store_has_it_that_some_may_be_however_many_turns_ask(storage, monkeypatch):
    claim = claim_of(storage, "d", Clock())
    assert await claim.take(await read_cursor(storage, JOB))
    reached, allowed, replace = asyncio.Event(), asyncio.Event(), storage.replace

    async def held(*asked):
        reached.set()
        await allowed.wait()
        return await replace(*asked)

    monkeypatch.setattr(storage, "replace", held)
    turns = [asyncio.create_task(claim.begin())]
    await reached.wait()
    turns.append(asyncio.create_task(claim.begin()))
    done, _ = await asyncio.wait(turns, timeout=0.05)
    assert not done
    allowed.set()
    await asyncio.gather(*turns)
    assert (await read_cursor(storage, JOB)).cursor.begun


async def test_of_those_that_see_a_stale_claim_at_once_one_gets_it_and_goes_on_from_its_count(storage):
    clock = Clock()
    first = claim_of(storage, "first", clock)
    assert await first.take(await read_cursor(storage, JOB))
    await first.write(count=300, total=900)
    found = await read_cursor(storage, JOB)
    others = [claim_of(storage, f"d{number}", clock) for number in range(8)]
    taken = await asyncio.gather(*(claim.take(found) for claim in others))
    assert sum(taken) == 1
    heir = others[taken.index(True)]
    assert (heir.cursor.count, heir.cursor.total) == (300, 900)
    with pytest.raises(ClaimLost):
        await first.write(count=400)
    assert (await read_cursor(storage, JOB)).cursor.count == 300


async def test_a_claim_allows_sending_for_half_its_time_after_a_renewal_began(storage):
    clock = Clock()
    claim = claim_of(storage, "d", clock)
    assert not claim.safe
    assert await claim.take(await read_cursor(storage, JOB))
    clock.now += SECONDS / 2 - 0.1
    assert claim.safe
    clock.now += 0.2
    assert not claim.safe
    await claim.write()
    assert claim.safe


async def test_a_renewal_that_fails_renews_nothing_and_loses_nothing(storage, monkeypatch):
    clock = Clock()
    claim = claim_of(storage, "d", clock)
    assert await claim.take(await read_cursor(storage, JOB))
    clock.now += SECONDS
    with monkeypatch.context() as patch:

        async def away(*_):
            raise StoreError

        patch.setattr(storage, "replace", away)
        with pytest.raises(StoreError):
            await claim.write(count=5)
    assert not claim.safe
    assert claim.cursor.count == 0
    await claim.write(count=7)
    assert (await read_cursor(storage, JOB)).cursor.count == 7


async def test_a_write_whose_answer_got_lost_is_seen_to_be_our_own(storage, monkeypatch):
    claim = claim_of(storage, "d", Clock())
    assert await claim.take(await read_cursor(storage, JOB))
    replace = storage.replace
    with monkeypatch.context() as patch:

        async def lost(key, data, etag):
            assert await replace(key, data, etag)
            raise StoreError

        patch.setattr(storage, "replace", lost)
        with pytest.raises(StoreError):
            await claim.write(count=5)
    await claim.write(count=6)
    assert (await read_cursor(storage, JOB)).cursor.count == 6


async def test_what_is_handed_back_is_free_at_once_and_its_last_owner_stops(storage):
    clock = Clock()
    claim = claim_of(storage, "first", clock)
    assert await claim.take(await read_cursor(storage, JOB))
    await claim.hand_back(waiting=Waiting(reason=WaitReason.PAUSED))
    assert not claim.safe
    found = await read_cursor(storage, JOB)
    assert (found.cursor.owner, found.cursor.waiting.reason) == ("", "paused")
    with pytest.raises(ClaimLost):
        await claim.write()
    assert await claim_of(storage, "second", clock).take(found)


async def test_a_job_is_handed_back_though_a_write_of_ours_came_late_or_the_answer_got_lost(storage, monkeypatch):
    claim = claim_of(storage, "d", Clock())
    assert await claim.take(await read_cursor(storage, JOB))
    late = (await read_cursor(storage, JOB)).cursor
    await storage.put(keys.cursor(*JOB), late.model_dump_json().encode())
    replace = storage.replace

    async def repeated(key, data, etag):
        await replace(key, data, etag)
        return False

    monkeypatch.setattr(storage, "replace", repeated)
    await claim.hand_back(count=9)
    monkeypatch.undo()
    found = (await read_cursor(storage, JOB)).cursor
    assert (found.owner, found.count) == ("", 9)


async def test_what_another_has_is_not_handed_back(storage):
    claim = claim_of(storage, "d", Clock())
    assert await claim.take(await read_cursor(storage, JOB))
    await storage.put(keys.cursor(*JOB), Cursor(owner="thief").model_dump_json().encode())
    with pytest.raises(ClaimLost):
        await claim.hand_back()
    assert (await read_cursor(storage, JOB)).cursor.owner == "thief"


async def test_a_cursor_that_another_broke_is_lost_and_never_overwritten(storage):
    claim = claim_of(storage, "d", Clock())
    assert await claim.take(await read_cursor(storage, JOB))
    await storage.put(keys.cursor(*JOB), b"{")
    with pytest.raises(ClaimLost):
        await claim.write(count=5)
    assert (await storage.get(keys.cursor(*JOB))).data == b"{"


async def test_a_note_never_takes_a_job_from_one_that_has_just_claimed_it(storage):
    await storage.put(keys.cursor(*JOB), Cursor(count=5).model_dump_json().encode())
    found = await read_cursor(storage, JOB)
    claim = claim_of(storage, "d", Clock())
    assert await claim.take(found)
    await note_waiting(storage, JOB, found, Waiting(reason=WaitReason.PAUSED))
    await claim.write(count=6)
    assert (await read_cursor(storage, JOB)).cursor.count == 6


def test_a_cursor_counts_as_unchanged_since_it_was_first_seen_so():
    clock = Clock()
    watch = CursorWatch(clock)
    assert watch.unchanged_seconds(JOB, "a") == 0
    clock.now += 5
    assert watch.unchanged_seconds(JOB, "a") == 5
    assert watch.unchanged_seconds(JOB, "b") == 0
    clock.now += 3
    assert watch.unchanged_seconds(JOB, "b") == 3


def test_cursors_of_jobs_that_wait_no_more_are_forgotten():
    clock = Clock()
    watch = CursorWatch(clock)
    for number in range(10):
        watch.unchanged_seconds(("acme", f"batch-{number}"), "a")
    watch.keep_only({JOB})
    clock.now += 5
    assert len(watch) == 1
    assert watch.unchanged_seconds(JOB, "a") == 5


@settings(max_examples=min(50, settings.default.max_examples))
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["look", "renew", "wait"])), max_size=60))
def test_no_two_dispatchers_ever_may_send_the_same_job(steps):
    """Each sees what it sees at its own turn; the clock is one, but is only used for differences."""

    async def play():
        storage, clock = Storage(MemoryStore()), Clock()
        watches = [CursorWatch(clock) for _ in range(3)]
        claims = [None] * 3
        for who, what in steps:
            if what == "wait":
                clock.now += SECONDS / 4
            elif what == "renew" and claims[who] is not None:
                try:
                    await claims[who].write()
                except ClaimLost:
                    claims[who] = None
            elif what == "look" and claims[who] is None:
                found = await read_cursor(storage, JOB)
                unchanged = watches[who].unchanged_seconds(JOB, found.etag)
                if found.cursor is None or unchanged >= SECONDS:
                    claim = claim_of(storage, f"d{who}", clock)
                    claims[who] = claim if await claim.take(found) else None
            assert sum(claim is not None and claim.safe for claim in claims) <= 1

    asyncio.run(play())
