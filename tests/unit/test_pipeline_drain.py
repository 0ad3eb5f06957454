"""The pipeline on a queue in memory: what is finished, stored and given back at the end."""

import asyncio

import pytest
from pipeline_bench import Bench, CountingEngine, running, until

from backburner.storage import Storage


async def test_a_drain_finishes_what_runs_and_gives_back_what_waits(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=0.2), concurrency=2)
    await bench.make_job(total=10)
    async with running(bench) as task:
        for index in range(10):
            bench.send(index)
        await until(lambda: len(bench.source.held()) == 10)
        bench.pipeline.stop()
        await asyncio.wait([task], timeout=60)
    assert task.exception() is None
    records = await bench.records()
    assert 1 <= len(records) < 10
    assert len(bench.queue.settled) == len(records)


async def test_a_worker_leaves_in_time_while_the_store_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_self: Storage, _key: str, _data: bytes) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("backburner_worker.pipeline._STORE_SECONDS", 0.1)
    monkeypatch.setattr("backburner_worker.sweep._CLOSE_SECONDS", 0.1)
    await bench.make_job(total=1)
    async with running(bench) as task:
        monkeypatch.setattr(Storage, "put", never)
        bench.send(0)
        await until(lambda: bench.engine.answered == 1)
        bench.pipeline.stop()
        await asyncio.wait([task], timeout=60)
        assert task.done()
    assert bench.queue.settled == []
