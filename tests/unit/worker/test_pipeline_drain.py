"""The pipeline on a queue in memory: what is finished, stored and given back at the end."""

import asyncio

import pytest
from pipeline_harness import CountingEngine, Harness, ended, running
from waiting import until

from backburner.process.dependency_monitor import DependencyMonitor
from backburner.process.readiness import Readiness
from backburner.storage import Storage, Stored
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import EngineLost
from backburner_worker.engine.base import EngineRequest, EngineResponse
from backburner_worker.sources.fake.source import FakeQueue


async def test_a_drain_finishes_what_runs_and_gives_back_what_waits(storage: Storage) -> None:
    harness = Harness(storage, CountingEngine(latency=0.2), concurrency=2)
    await harness.make_job(total=10)
    async with running(harness) as task:
        for index in range(10):
            harness.send(index)
        await until(lambda: len(harness.source.held()) == 10 and harness.engine._running)
        harness.pipeline.stop()
        await asyncio.wait([task], timeout=60)
    assert task.exception() is None
    records = await harness.records()
    assert 1 <= len(records) < 10
    assert len(harness.queue.settled) == len(records)


async def test_a_stop_with_a_bound_ends_what_runs_longer(storage: Storage) -> None:
    harness = Harness(storage, drain_seconds=3600.0, freeze_grace_seconds=7200.0)
    await harness.make_job(total=1)
    async with running(harness) as task:
        harness.send(0, "[[hang]]")
        await until(lambda: harness.in_engine == 1)
        harness.pipeline.stop(drain=0.01)
        await asyncio.wait([task], timeout=60)
        assert task.done()
    assert harness.queue.settled == []


async def test_a_bound_that_comes_during_the_drain_shortens_it_and_never_lengthens_it(storage: Storage) -> None:
    harness = Harness(storage, drain_seconds=1800.0, freeze_grace_seconds=7200.0)
    await harness.make_job(total=1)
    async with running(harness) as task:
        harness.send(0, "[[hang]]")
        await until(lambda: harness.in_engine == 1)
        harness.pipeline.stop()
        await until(lambda: harness.pipeline._draining is not None)
        harness.pipeline.stop(drain=3600.0)
        assert harness.pipeline._draining.when() < asyncio.get_running_loop().time() + 1801
        harness.pipeline.stop(drain=0.01)
        await asyncio.wait([task], timeout=60)
        assert task.done()
    assert harness.queue.settled == []


async def test_a_worker_leaves_in_time_while_the_store_is_away(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_self: Storage, _key: str, _data: bytes) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("backburner_worker.pipeline._STORE_SECONDS", 0.1)
    monkeypatch.setattr("backburner_worker.sweep._CLOSE_SECONDS", 0.1)
    await harness.make_job(total=1)
    async with running(harness) as task:
        monkeypatch.setattr(Storage, "put", never)
        harness.send(0)
        await until(lambda: harness.engine.answered == 1)
        harness.pipeline.stop()
        await asyncio.wait([task], timeout=60)
        assert task.done()
    assert harness.queue.settled == []


async def test_what_waits_is_given_back_before_what_runs_has_finished(storage: Storage) -> None:
    queue = FakeQueue()
    first, second = Harness(storage, queue=queue, concurrency=1), Harness(storage, queue=queue)
    await first.make_job(total=4)
    async with running(first) as leaving:
        first.send(0, "[[hang]]")
        await until(lambda: first.in_engine == 1)
        for index in range(1, 4):
            first.send(index)
        await until(lambda: len(first.source.held()) == 4)
        first.pipeline.stop()
        async with running(second):
            await until(lambda: second.engine.answered == 3)
            assert not leaving.done()
            assert first.in_engine == 1
            assert second.metric("deliveries_redelivered_total") == 3
            queue.lose(first.source.held()[0], first.elsewhere)
            assert await ended(leaving) is None


async def test_what_arrives_while_the_store_is_away_is_given_back_at_once(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_self: Storage, _key: str, **_limits: int) -> Stored | None:
        await asyncio.Event().wait()

    async with running(harness) as leaving:
        harness.send(0, "[[hang]]", job="single-a")
        await until(lambda: harness.in_engine == 1)
        monkeypatch.setattr(Storage, "get", never)
        harness.send(0)
        harness.send(0, job="single-b")
        await until(lambda: len(harness.pipeline._puller.arrived) == 2)
        harness.pipeline.stop()
        await until(lambda: len(harness.source.held()) == 1)
        assert not leaving.done()
        harness.queue.lose(harness.source.held()[0], harness.elsewhere)
        assert await ended(leaving) is None


async def test_what_does_not_finish_in_the_drain_is_run_by_others_as_if_new(storage: Storage) -> None:
    queue = FakeQueue()
    first, second = Harness(storage, queue=queue, drain_seconds=0.05), Harness(storage, queue=queue)
    await first.make_job(total=3)
    async with running(first):
        for index in range(3):
            first.send(index, "[[slow:0.5]]")
        await until(lambda: first.in_engine == 3)
    assert await first.records() == []
    assert queue.published == []
    async with running(second):
        await until(second.summary)
    assert [record.backburner.attempt for record in await second.records()] == [1, 1, 1]


async def test_what_is_finished_does_not_wait_for_its_segments_age_in_a_drain(storage: Storage) -> None:
    harness = Harness(storage, segment_min_age_seconds=60.0, segment_max_age_seconds=60.0)
    harness.settings = harness.settings.model_copy(update={"drain_seconds": 3600.0})
    await harness.make_job()
    async with running(harness) as task:
        harness.send(0, "[[slow:0.1]]")
        harness.send(1)
        await until(lambda: harness.in_engine == 1 and harness.engine.answered == 1)
        harness.pipeline.stop()
        assert await ended(task) is None
    assert await harness.codes() == {0: None, 1: None}


async def test_an_engine_that_dies_in_the_drain_ends_it(storage: Storage) -> None:
    harness = Harness(storage)
    harness.settings = harness.settings.model_copy(update={"drain_seconds": 3600.0})
    async with running(harness, fails=True) as task:
        harness.send(0, "[[hang]]", job="single-a")
        await until(lambda: harness.in_engine == 1)
        harness.pipeline.stop()
        await until(lambda: harness.source._stopped)
        harness.engine._lost = True
        assert await ended(task) is not None
    assert [message.facts.suspect for message in harness.queue.published] == [True]
    assert len(harness.queue.settled) == 1


async def test_a_suspect_that_waits_for_its_turn_is_given_back_as_one(storage: Storage) -> None:
    harness = Harness(storage, drain_seconds=0.0)
    async with running(harness):
        harness.send(0, "[[hang]]", job="single-a")
        await until(lambda: harness.in_engine == 1)
        harness.send(0, job="single-b", facts=DeliveryFacts(suspect=True))
        await until(lambda: len(harness.pipeline._admitter._feeder) == 1)
    assert harness.queue.unsettled == 2
    assert await harness.marks() == []


async def test_the_queues_trouble_is_told(harness: Harness) -> None:
    async with running(harness):
        queue = harness.worker.dependencies["queue"]
        monitor = DependencyMonitor(harness.worker.dependencies, Readiness(), harness.telemetry)
        monitor.look()
        assert harness.metric("dependency_up", dependency="queue") == 1
        harness.queue.outage("the broker does not answer")
        assert queue.unavailable_reason() == "the broker does not answer"
        monitor.look()
        assert harness.metric("dependency_up", dependency="queue") == 0
        harness.queue.outage(None)
        assert queue.unavailable_reason() is None
        monitor.look()
        assert harness.metric("dependency_up", dependency="queue") == 1


async def test_what_ends_during_the_queues_outage_is_settled_after_it(harness: Harness) -> None:
    await harness.make_job()
    async with running(harness):
        harness.send(0, "[[slow:0.2]]")
        await until(lambda: harness.in_engine == 1)
        harness.queue.outage("away")
        await until(harness.records)
        assert harness.queue.settled == []
        assert harness.metric("deliveries_uncommitted") == 1
        harness.queue.outage(None)
        await until(lambda: harness.queue.unsettled == 0)


class StubbornEngine(CountingEngine):
    """Takes its time to let go of what is broken off, and dies while it does."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = asyncio.Event()

    async def run(self, request: EngineRequest) -> EngineResponse:
        try:
            return await super().run(request)
        except asyncio.CancelledError:
            await self.let_go.wait()
            raise EngineLost from None


async def test_what_ends_after_a_drain_has_run_out_of_time_waits_for_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner_worker.pipeline._STORE_SECONDS", 0.1)
    engine = StubbornEngine()
    harness = Harness(storage, engine, drain_seconds=0.0)
    harness.queue.refuse(lambda _: True)
    async with running(harness, fails=True) as task:
        harness.send(0, "[[hang]]", job="single-a")
        await until(lambda: harness.in_engine == 1)
        harness.pipeline.stop()
        await until(lambda: harness.pipeline._settler.abandoned)
        engine.let_go.set()
        assert await ended(task) is not None
    assert harness.queue.unsettled == 1
