"""Which tasks carry requests: one for each that waits, and none of its own for one that is answered at once."""

import asyncio
from typing import Any

import pytest
from pipeline_harness import CountingEngine, Harness, running
from waiting import until

from backburner.storage import Storage
from backburner_worker.engine.base import EngineRequest, EngineResponse


def count_tasks(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the pipeline makes tasks of from now on."""
    tasks, made = harness.pipeline._tasks, []
    create_task = tasks.create_task

    def note(work: Any, **more: Any) -> "asyncio.Task[None]":
        made.append(work)
        return create_task(work, **more)

    monkeypatch.setattr(tasks, "create_task", note)
    return made


async def test_requests_that_are_answered_at_once_share_a_task(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.make_job(total=500)
    async with running(harness):
        made = count_tasks(harness, monkeypatch)
        for index in range(500):
            harness.send(index)
        await until(harness.summary)
    assert harness.engine.answered == 500
    # Those of the segments that were written are among them.
    assert len(made) < 50


async def test_each_request_that_waits_has_a_task(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(storage, CountingEngine(latency=3600))
    async with running(harness):
        made = count_tasks(harness, monkeypatch)
        for index in range(20):
            harness.send(index)
        await until(lambda: harness.in_engine == 20)
        assert len(made) == 20
        harness.pipeline.stop()
        for generation in [*harness.pipeline._runner.running]:
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
    harness = Harness(storage, CancellingEngine())
    await harness.make_job(total=20)
    async with running(harness):
        for index in range(20):
            harness.send(index)
        await until(harness.summary)
    assert await harness.codes() == dict.fromkeys(range(20))
