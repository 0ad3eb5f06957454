"""Which tasks carry requests: one for each that waits, and none of its own for one that is answered at once."""

import asyncio
from typing import Any

import pytest
from pipeline_bench import Bench, CountingEngine, running, until

from backburner.storage import Storage
from backburner_worker.engine.base import EngineRequest, EngineResponse


def count_tasks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the pipeline makes tasks of from now on."""
    tasks, made = bench.pipeline._tasks, []
    create_task = tasks.create_task

    def note(work: Any, **more: Any) -> "asyncio.Task[None]":
        made.append(work)
        return create_task(work, **more)

    monkeypatch.setattr(tasks, "create_task", note)
    return made


async def test_requests_that_are_answered_at_once_share_a_task(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.make_job(total=500)
    async with running(bench):
        made = count_tasks(bench, monkeypatch)
        for index in range(500):
            bench.send(index)
        await until(bench.summary)
    assert bench.engine.answered == 500
    # Those of the segments that were written are among them.
    assert len(made) < 50


async def test_each_request_that_waits_has_a_task(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(storage, CountingEngine(latency=3600))
    async with running(bench):
        made = count_tasks(bench, monkeypatch)
        for index in range(20):
            bench.send(index)
        await until(lambda: bench.in_engine == 20)
        assert len(made) == 20
        bench.pipeline.stop()
        for generation in [*bench.pipeline._runner.running]:
            generation.delivery.lease.lose()


class CancellingEngine(CountingEngine):
    """Answers, and leaves its task a cancellation that has not surfaced."""

    async def run(self, request: EngineRequest) -> EngineResponse:
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        response = await super().run(request)
        task.cancel()
        return response


async def test_a_cancellation_that_did_not_surface_does_not_meet_the_next_request(storage: Storage) -> None:
    bench = Bench(storage, CancellingEngine())
    await bench.make_job(total=20)
    async with running(bench):
        for index in range(20):
            bench.send(index)
        await until(bench.summary)
    assert await bench.codes() == dict.fromkeys(range(20))
