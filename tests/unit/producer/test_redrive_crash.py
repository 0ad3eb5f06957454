"""A redrive that is killed at any step: the next one completes it, no letter is lost, no second job is made."""

import asyncio
import json
from contextlib import suppress
from functools import partial

import pytest
from dead_letters import TENANT, all_keys, answers, children, envelope, letter_of, letters, line, put_letter
from killed_client import killed_after

from backburner import JobConflict, LetterNotFound
from backburner.client import Client
from backburner.dead_letters.plan import Plans
from backburner.dead_letters.republish import Republisher
from backburner.dead_letters.store import DeadLetterStore
from backburner.testing import FakeSystem
from backburner_schemas import keys


@pytest.mark.parametrize("way", ["all", "job"])
async def test_a_redrive_that_was_killed_anywhere_is_completed_by_the_next(way):
    killed, steps = True, 0
    while killed:
        async with FakeSystem() as system:
            system.fail(lambda one: one.custom_id.startswith("x"))
            job = await system.client.submit([line("a"), line("x1"), line("x2"), line("x3")])
            system.mend()
            options = {"job": job.id} if way == "job" else {"all": True}
            killed = await killed_after(system, steps, False, partial(Client.redrive, **options))
            await system.client.redrive(**options)
            (made,) = await children(system, job.id)
            assert await answers(system, made) == {"x1": True, "x2": True, "x3": True}, steps
            assert (await system.client.job(made).reconcile()).agrees
            assert await letters(system, stale=True) == []
            assert await all_keys(system, keys.redrives(TENANT)) == []
        steps += 1
    assert steps > 8


async def test_republishing_that_was_killed_anywhere_loses_no_request():
    killed, steps = True, 0
    while killed:
        async with FakeSystem() as system:
            system.hold()
            stream = [envelope("stream-q-2026-05-04", f"0-{number}", f"s{number}") for number in range(3)]
            for one in stream:
                await put_letter(system, one)
            killed = await killed_after(system, steps, False, lambda client: client.redrive(all=True))
            await system.client.redrive(all=True)
            assert {one.envelope.index for one in system._waiting} == {one.index for one in stream}, steps
            assert await letters(system, stale=True) == []
            assert await all_keys(system, keys.redrives(TENANT)) == []
        steps += 1
    assert steps > 3


async def test_a_redrive_of_one_letter_ends_what_was_begun_and_sends_nothing_twice(system, failed):
    """Killed with the job sent and sealed, before its letters went."""

    async def seal_and_die(client):
        life = client._connections.storage._life
        done = asyncio.create_task(client.redrive(job=failed.id))
        # Each of its steps takes turns of the loop, so none is missed.
        for _ in range(100_000):
            sealed = [key for key in await all_keys(system) if key.endswith("sealed.json") and failed.id not in key]
            if sealed:
                break
            await asyncio.sleep(0)
        life.left = 0
        await done

    assert await killed_after(system, 1_000, False, seal_and_die)
    sent = system.published
    done = await system.client.redrive(id=f"{failed.id}/5")
    assert (done.jobs[0].requests, system.published) == (3, sent)
    assert await letters(system) == []


async def test_a_redrive_of_one_letter_that_was_killed_anywhere_is_completed_by_the_same():
    killed, steps = True, 0
    while killed:
        async with FakeSystem() as system:
            system.fail({"x1", "x2", "s"})
            job = await system.client.submit([line("x1"), line("x2")])
            single = await system.client.enqueue("hello", custom_id="s")
            system.mend()
            killed = False
            for letter in (f"{job.id}/1", f"{single.job}/0"):
                killed |= await killed_after(system, steps, False, partial(Client.redrive, id=letter))
                with suppress(LetterNotFound):
                    await system.client.redrive(id=letter)
            (made,) = await children(system, job.id)
            assert await answers(system, made) == {"x2": True}, steps
            assert (await single.result(timeout=5)).ok
            # That of the single request may have been put back after its response came, and is stale then.
            assert [letter.custom_id for letter in await letters(system)] == ["x1"]
            assert await all_keys(system, keys.redrives(TENANT)) == []
        steps += 1
    assert steps > 3


async def test_a_redrive_whose_pool_has_vanished_keeps_its_letters_and_the_others_go(system, failed):
    system.fail(["x"])
    await system.client.submit([line("x")], job_id="zz-later")
    system.mend()
    assert await killed_after(system, 2, True, partial(Client.redrive, job=failed.id))
    pool = await system.storage.get(keys.pool("fake"))
    other = json.loads(pool.data) | {"pool": "other", "model": "other"}
    await system.storage.put(keys.pool("other"), json.dumps(other).encode())
    await system.storage.delete([keys.pool("fake")])
    done = await system.new_client().redrive(all=True)
    assert done.kept_total == 4
    assert "no pool serves" in done.kept[0].reason
    await system.storage.put(keys.pool("fake"), pool.data)
    assert sorted(one.requests for one in (await system.client.redrive(all=True)).jobs) == [1, 3]
    assert len(await children(system, failed.id)) == 1


async def test_a_new_job_that_was_cancelled_half_sent_gives_way_to_another(system, failed):
    assert await killed_after(system, 5, True, lambda client: client.redrive(job=failed.id))
    (half,) = await children(system, failed.id)
    await system.client.job(half).cancel()
    (made,) = (await system.client.redrive(job=failed.id)).jobs
    assert made.id != half
    assert await answers(system, made.id) == {"r2": True, "r5": True, "r9": True}
    assert await letters(system) == []


async def test_a_broken_off_redrive_is_told_by_the_list_and_ended_by_the_purge(system, failed, caplog):
    assert await killed_after(system, 2, True, lambda client: client.redrive(job=failed.id))
    assert len(await letters(system)) == 3
    assert [failed.id in text for text in caplog.messages if "was broken off" in text] == [True]
    assert await system.client.purge_dead_letters(job=failed.id) == 3
    assert await all_keys(system, keys.redrives(TENANT)) == []
    assert (await system.client.redrive(all=True)).jobs == []


async def test_two_redrives_at_once_make_one_job(system, failed):
    system.hold()
    both = await asyncio.gather(
        system.client.redrive(job=failed.id), system.new_client().redrive(job=failed.id), return_exceptions=True
    )
    for one in both:
        if isinstance(one, BaseException):
            assert isinstance(one, JobConflict), one
    await system.client.redrive(job=failed.id)
    assert len(await children(system, failed.id)) == 1
    await system.release()
    (made,) = await children(system, failed.id)
    assert await answers(system, made) == {"r2": True, "r5": True, "r9": True}


async def test_a_redrive_that_was_overtaken_by_another_sends_nothing(system, failed, monkeypatch):
    """It has read the letters, and the other takes them away before it writes its plan down."""
    read, go, make = asyncio.Event(), asyncio.Event(), Plans.make

    async def late(self, *plan):
        if not read.is_set():
            read.set()
            await go.wait()
        return await make(self, *plan)

    monkeypatch.setattr(Plans, "make", late)
    slow = asyncio.create_task(system.client.redrive(job=failed.id))
    async with asyncio.timeout(60):
        await read.wait()
    (made,) = (await system.new_client().redrive(job=failed.id)).jobs
    go.set()
    with pytest.raises(JobConflict, match=r"meanwhile.*dlq list --job"):
        await slow
    assert await children(system, failed.id) == [made.id]
    assert await all_keys(system, keys.redrives(TENANT)) == []
    assert (await system.client.redrive(job=failed.id)).jobs == []


async def test_a_letter_that_is_put_back_does_not_replace_a_newer_one(system):
    """Killed with the request published, which failed again before the old letter was let go."""
    system.fail(["s"])
    handle = await system.client.enqueue("hello", custom_id="s")
    assert await killed_after(system, 3, False, partial(Client.redrive, all=True))
    (newer,) = await letters(system)
    assert await all_keys(system, keys.redrives(TENANT, handle.job))
    store = DeadLetterStore(system.storage, TENANT, max_body_bytes=system.settings.max_body_bytes)
    await Republisher(system.client._connections, store, TENANT, handle.job, None, now=0.0).restore()
    assert await letters(system) == [newer]
    assert await all_keys(system, keys.redrives(TENANT)) == []


async def test_what_was_moved_aside_and_cannot_be_read_stays(system):
    """Such as the letter of a newer release, which was rolled back meanwhile."""
    readable, unknown = (letter_of(envelope("stream-q", f"0-{number}", f"s{number}")) for number in range(2))
    unknown = unknown.replace(b'"attempts":5', b'"attempts":{"engine":5}')
    key = keys.redrive_batch(TENANT, "stream-q", "a")
    await system.storage.put(key, readable + b"\n" + unknown)
    await system.client.redrive(job="stream-q")
    assert (await system.storage.get(key)).data == unknown
