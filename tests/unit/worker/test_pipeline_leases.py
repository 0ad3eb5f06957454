"""The pipeline on a queue in memory: what becomes of a delivery that goes to another worker."""

import asyncio

import pytest
from pipeline_harness import CountingEngine, Harness, running, settings
from waiting import until

from backburner.storage import Storage


async def test_a_revoked_delivery_is_stored_before_it_goes(harness: Harness) -> None:
    await harness.make_job()  # not sealed: its records would wait for their age
    async with running(harness):
        harness.send(0)
        await until(lambda: harness.engine.answered == 1)
        [delivery] = harness.source.held()
        await harness.source.revoke(delivery, harness.elsewhere)
        assert harness.queue.settled == [delivery]
        assert len(await harness.records()) == 1


async def test_a_lost_lease_aborts_its_generation(storage: Storage) -> None:
    harness = Harness(storage, CountingEngine(latency=3600))
    await harness.make_job()
    async with running(harness):
        harness.send(0)
        await until(lambda: harness.in_engine == 1)
        [delivery] = harness.source.held()
        await harness.source.revoke(delivery, harness.elsewhere)
        await until(lambda: harness.in_engine == 0)
    assert await harness.records() == []


async def test_a_redelivery_gives_one_counted_record(harness: Harness) -> None:
    await harness.make_job(total=2)
    async with running(harness):
        harness.send(0)
        harness.send(0)
        harness.send(1)
        await until(harness.summary)
    summary = await harness.summary()
    assert summary is not None
    assert summary.counts.completed == 2


async def test_a_lease_lost_while_waiting_for_room_gives_the_room_to_others(storage: Storage) -> None:
    harness = Harness(storage, CountingEngine(latency=3600), concurrency=1)
    async with running(harness):
        harness.send(0)
        await until(lambda: harness.in_engine == 1)
        harness.send(1)
        await until(lambda: len(harness.source.held()) == 2)
        first, second = harness.source.held()
        await harness.source.revoke(second, harness.elsewhere)
        await harness.source.revoke(first, harness.elsewhere)
        await until(lambda: harness.in_engine == 0)
        harness.engine._latency = 0.0
        harness.send(2)
        await until(lambda: harness.engine.answered == 1)


async def test_leases_lost_before_their_tasks_run_leave_nothing_behind(storage: Storage) -> None:
    harness = Harness(storage, CountingEngine(latency=3600))
    await harness.make_job()
    async with running(harness):
        for index in range(5):
            harness.send(index)
        await until(lambda: len(harness.pipeline._runner.running) == 5)
        for delivery in harness.source.held():
            delivery.lease.lose()
        await until(lambda: harness.in_engine == 0)
        assert not harness.worker.parts.jobs._held


async def test_a_lost_delivery_in_the_window_does_not_hold_its_job(storage: Storage) -> None:
    harness = Harness(storage, CountingEngine(latency=3600), concurrency=1)
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0)
        harness.send(0)
        await until(lambda: len(harness.source.held()) == 2)
        waiting = harness.source.held()[1]
        await harness.source.revoke(waiting, harness.elsewhere)
        await harness.source.revoke(harness.source.held()[0], harness.elsewhere)
        harness.engine._latency = 0.0
        harness.send(0)
        await until(harness.summary)


async def test_a_record_that_follows_its_letter_is_stored_before_its_delivery_goes(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    put = Storage.put

    async def put_slowly(self: Storage, key: str, data: bytes) -> None:
        if "/dead/" in key:
            reached.set()
            await go_on.wait()
        await put(self, key, data)

    monkeypatch.setattr(Storage, "put", put_slowly)
    harness.settings = settings(max_attempts=1, segment_min_age_seconds=60.0, segment_max_age_seconds=60.0)
    await harness.make_job()
    async with running(harness):
        harness.send(0, "[[retry]]")
        await reached.wait()
        [delivery] = harness.source.held()
        leaving = asyncio.create_task(harness.source.revoke(delivery, harness.elsewhere))
        await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(60):
            await leaving
        assert harness.queue.settled == [delivery]
