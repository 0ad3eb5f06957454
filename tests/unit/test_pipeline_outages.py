"""The pipeline on a queue in memory: what waits while the store or the queue is away."""

import asyncio

import pytest
from pipeline_bench import Bench, running, settings, until

from backburner.storage import Storage, Stored
from backburner_schemas import keys
from backburner_schemas.envelope import AnswerMode
from backburner_schemas.errors import StoreError


async def test_nothing_is_settled_before_it_is_stored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    away = True
    put = Storage.put

    async def put_or_fail(self: Storage, key: str, data: bytes) -> None:
        if away and "/segments/" in key:
            raise StoreError
        await put(self, key, data)

    monkeypatch.setattr(Storage, "put", put_or_fail)
    await bench.make_job(total=5)
    async with running(bench):
        for index in range(5):
            bench.send(index)
        await until(lambda: len(bench.source.held()) == 5 and bench.engine.answered == 5)
        assert bench.queue.settled == []
        away = False
        await until(lambda: len(bench.queue.settled) == 5)


async def test_an_outage_is_back_pressure_for_single_requests_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = True
    create = Storage.create

    async def create_or_fail(self: Storage, key: str, data: bytes) -> bool:
        if away and "/answers/" in key:
            raise StoreError
        return await create(self, key, data)

    monkeypatch.setattr(Storage, "create", create_or_fail)
    monkeypatch.setattr("backburner_worker.results.results._WAITING_OUTCOMES", 10)
    bench.settings = settings(concurrency=5)
    async with running(bench):
        for number in range(100):
            bench.send(0, job=f"single-{number}", answer=AnswerMode.OBJECT)
        pipeline = bench.pipeline
        await until(lambda: not pipeline._settling.has_room and bench.in_engine == 0)
        answered = bench.engine.answered
        for _ in range(100):
            await asyncio.sleep(0)
        assert bench.engine.answered == answered < 100
        away = False
        await until(lambda: bench.queue.unsettled == 0)


async def test_one_tenants_trouble_does_not_keep_anothers_job_from_ending(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Storage.get

    async def get_or_fail(self: Storage, key: str) -> Stored | None:
        if key.startswith("tenants/alpha/"):
            raise StoreError
        return await get(self, key)

    monkeypatch.setattr(Storage, "get", get_or_fail)
    await bench.storage.put(keys.open_job("alpha", "batch_a"), b"")
    await bench.make_job(total=0)
    async with running(bench):
        await until(bench.summary)
