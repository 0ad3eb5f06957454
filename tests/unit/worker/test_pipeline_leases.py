"""The pipeline on a queue in memory: what becomes of a delivery that goes to another worker."""

import asyncio

import pytest
from pipeline_bench import Bench, CountingEngine, running, settings, until

from backburner.storage import Storage


async def test_a_revoked_delivery_is_stored_before_it_goes(bench: Bench) -> None:
    await bench.make_job()  # not sealed: its records would wait for their age
    async with running(bench):
        bench.send(0)
        await until(lambda: bench.engine.answered == 1)
        [delivery] = bench.source.held()
        await bench.source.revoke(delivery, bench.elsewhere)
        assert bench.queue.settled == [delivery]
        assert len(await bench.records()) == 1


async def test_a_lost_lease_aborts_its_generation(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=3600))
    await bench.make_job()
    async with running(bench):
        bench.send(0)
        await until(lambda: bench.in_engine == 1)
        [delivery] = bench.source.held()
        await bench.source.revoke(delivery, bench.elsewhere)
        await until(lambda: bench.in_engine == 0)
    assert await bench.records() == []


async def test_a_redelivery_gives_one_counted_record(bench: Bench) -> None:
    await bench.make_job(total=2)
    async with running(bench):
        bench.send(0)
        bench.send(0)
        bench.send(1)
        await until(bench.summary)
    summary = await bench.summary()
    assert summary is not None
    assert summary.counts.completed == 2


async def test_a_lease_lost_while_waiting_for_room_gives_the_room_to_others(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=3600), concurrency=1)
    async with running(bench):
        bench.send(0)
        await until(lambda: bench.in_engine == 1)
        bench.send(1)
        await until(lambda: len(bench.source.held()) == 2)
        first, second = bench.source.held()
        await bench.source.revoke(second, bench.elsewhere)
        await bench.source.revoke(first, bench.elsewhere)
        await until(lambda: bench.in_engine == 0)
        bench.engine._latency = 0.0
        bench.send(2)
        await until(lambda: bench.engine.answered == 1)


async def test_leases_lost_before_their_tasks_run_leave_nothing_behind(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=3600))
    await bench.make_job()
    async with running(bench):
        for index in range(5):
            bench.send(index)
        await until(lambda: len(bench.pipeline._runner.running) == 5)
        for delivery in bench.source.held():
            delivery.lease.lose()
        await until(lambda: bench.in_engine == 0)
        assert not bench.pipeline._settler._segments._held


async def test_a_lost_delivery_in_the_window_does_not_hold_its_job(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=3600), concurrency=1)
    await bench.make_job(total=1)
    async with running(bench):
        bench.send(0)
        bench.send(0)
        await until(lambda: len(bench.source.held()) == 2)
        waiting = bench.source.held()[1]
        await bench.source.revoke(waiting, bench.elsewhere)
        await bench.source.revoke(bench.source.held()[0], bench.elsewhere)
        bench.engine._latency = 0.0
        bench.send(0)
        await until(bench.summary)


async def test_a_record_that_follows_its_letter_is_stored_before_its_delivery_goes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    put = Storage.put

    async def put_slowly(self: Storage, key: str, data: bytes) -> None:
        if "/dead/" in key:
            reached.set()
            await go_on.wait()
        await put(self, key, data)

    monkeypatch.setattr(Storage, "put", put_slowly)
    bench.settings = settings(max_attempts=1, segment_min_age_seconds=60.0, segment_max_age_seconds=60.0)
    await bench.make_job()
    async with running(bench):
        bench.send(0, "[[retry]]")
        await reached.wait()
        [delivery] = bench.source.held()
        leaving = asyncio.create_task(bench.source.revoke(delivery, bench.elsewhere))
        await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(60):
            await leaving
        assert bench.queue.settled == [delivery]
