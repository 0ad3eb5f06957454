"""The pipeline on a queue in memory: an engine that hangs is lost, and no generation can run for ever."""

import asyncio
from collections.abc import Sequence

import pytest
from pipeline_harness import TENANT, CountingEngine, Harness, ended, running
from waiting import until

from backburner.runtime.failure import reasons
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import EngineLost
from backburner_schemas.names import Lane
from backburner_worker.admission import load_monitor
from backburner_worker.engine.base import EngineLoad, EngineRequest, EngineResponse
from backburner_worker.generation import engine_watch, time_limit
from backburner_worker.sources.base import Delivery


@pytest.fixture(autouse=True)
def _quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_watch, "_WATCH_SECONDS", 0.01)
    monkeypatch.setattr("backburner_worker.settlement.suspects._RENEW_SECONDS", 0.02)


async def test_an_engine_that_hangs_is_lost_and_what_was_in_it_is_tried_apart(storage: Storage) -> None:
    harness = Harness(storage, engine_stall_seconds=0.1)
    await harness.make_job(total=3)
    async with running(harness, fails=True) as task:
        harness.send(0)
        await until(lambda: harness.engine.answered == 1)
        harness.send(1, "[[stall]]")
        harness.send(2)
        error = await ended(task)
    assert error is not None
    (reason,) = reasons(error)
    assert isinstance(reason, EngineLost)
    assert "BACKBURNER_ENGINE_STALL_SECONDS" in reason.message
    assert await harness.codes() == {0: None}
    assert sorted(message.envelope.index for message in harness.queue.published) == [1, 2]
    assert all(message.facts.suspect for message in harness.queue.published)
    assert harness.source.clean


async def test_a_suspect_that_makes_it_hang_alone_is_convicted(storage: Storage) -> None:
    harness = Harness(storage, engine_stall_seconds=0.1)
    await harness.make_job(total=1)
    async with running(harness, fails=True) as task:
        harness.send(0, "[[stall]]", Lane.RETRY, DeliveryFacts(attempt=2, suspect=True))
        await ended(task)
    letter = await harness.letter()
    assert letter is not None
    assert letter.code == "poison"


OTHER = "single-other"
BODY = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}


def suspects_of(among: int) -> DeliveryFacts:
    return DeliveryFacts(attempt=2, suspect=True, among=among)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_an_innocent_that_is_left_alone_in_an_engine_which_hangs_is_not_convicted(
    storage: Storage, *, cancelled: bool
) -> None:
    harness = Harness(storage, engine_stall_seconds=0.6, concurrency=64)
    await harness.make_job(total=2)
    async with running(harness, fails=True) as task:
        harness.send(1, "[[hang]]", Lane.RETRY, suspects_of(50))
        harness.send(0, "[[stall]]", Lane.RETRY, suspects_of(50), job=OTHER)
        await until(lambda: sum(request.entered for request in harness.pipeline._runner.running) == 2)
        [killer] = [delivery for delivery in harness.source.held() if delivery.job == (TENANT, OTHER)]
        if cancelled:
            await harness.storage.put(keys.cancelled(TENANT, OTHER), b"")
        else:
            # Or this worker would be given it again.
            await harness.source.stop()
            harness.queue.lose(killer)
        await ended(task)
    assert await harness.codes() == {}


async def test_a_lone_suspect_that_enters_an_engine_which_hangs_already_is_not_convicted(storage: Storage) -> None:
    harness = Harness(storage, engine_stall_seconds=0.4)
    await harness.make_job(total=2)
    async with running(harness, fails=True) as task:
        harness.send(0, "[[stall]]", job=OTHER)
        await until(lambda: sum(request.entered for request in harness.pipeline._runner.running) == 1)
        [killer] = harness.source.held()
        harness.queue.lose(killer, to=harness.elsewhere, clean=True)
        await until(lambda: harness.in_engine == 0)
        harness.send(1, "hi", Lane.RETRY, suspects_of(1))
        await ended(task)
    assert await harness.codes() == {}


async def test_a_suspect_that_enters_after_the_engine_was_lost_is_left_to_others(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(storage, engine_stall_seconds=0.2, concurrency=64)
    await harness.make_job(total=2)
    async with running(harness, fails=True) as task:
        runner = harness.pipeline._runner
        begin, give_back = harness.source.begin, harness.source.give_back

        async def late(delivery: Delivery) -> None:
            if delivery.address is not None and delivery.address.index == 1:
                await until(lambda: runner.lost is not None)
            await begin(delivery)

        async def entered_meanwhile(deliveries: Sequence[Delivery]) -> None:
            await until(lambda: sum(request.entered for request in runner.running) == 2)
            await give_back(deliveries)

        monkeypatch.setattr(harness.source, "begin", late)
        monkeypatch.setattr(harness.source, "give_back", entered_meanwhile)
        harness.send(0, "[[stall]]", Lane.RETRY, suspects_of(50))
        harness.send(1, "[[hang]]", Lane.RETRY, suspects_of(50))
        await ended(task)
    assert await harness.codes() == {0: "poison"}


async def test_an_engine_that_is_slow_or_has_nothing_to_do_is_not_lost(storage: Storage) -> None:
    harness = Harness(storage, engine_stall_seconds=0.1)
    await harness.make_job(total=2)
    async with running(harness):
        harness.send(0, "[[slow:0.6]]")
        await until(lambda: harness.engine.answered == 1)


async def test_a_generation_without_an_end_is_broken_off_tried_once_more_and_then_a_dead_letter(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_watch, "MIN_LIMIT_SECONDS", 0.05)
    monkeypatch.setattr(time_limit, "MIN_LIMIT_SECONDS", 0.05)
    monkeypatch.setattr(time_limit, "_SLOW_TOKENS_PER_SECOND", 1e6)
    await harness.make_job(total=2)
    async with running(harness):
        harness.send(0, "[[hang]]")
        harness.send(1)
        await until(lambda: harness.queue.unsettled == 0)
    assert await harness.codes() == {0: "generation_too_long", 1: None}
    letter = await harness.letter()
    assert letter is not None
    assert letter.attempts == 2


class OnePlace(CountingEngine):
    """As vLLM with a full batch: what comes waits inside, first come, first served."""

    def __init__(self) -> None:
        super().__init__()
        self._place = asyncio.Lock()
        self._waiting = 0

    def load(self) -> EngineLoad:
        return EngineLoad(running=1, waiting=self._waiting, steps=1)

    async def run(self, request: EngineRequest) -> EngineResponse:
        self._waiting += 1
        try:
            await self._place.acquire()
        finally:
            self._waiting -= 1
        try:
            return await super().run(request)
        finally:
            self._place.release()


async def test_what_waits_inside_the_engine_behind_what_takes_long_is_not_broken_off(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_monitor, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(engine_watch, "MIN_LIMIT_SECONDS", 0.3)
    monkeypatch.setattr(time_limit, "MIN_LIMIT_SECONDS", 0.3)
    monkeypatch.setattr(time_limit, "_SLOW_TOKENS_PER_SECOND", 1000.0)
    harness = Harness(storage, OnePlace(), concurrency=2)
    await harness.make_job(total=2)
    async with running(harness):
        harness.send(0, body={**BODY, "messages": [{"role": "user", "content": "[[slow:1.5]]"}], "max_tokens": 8192})
        await until(lambda: harness.in_engine == 1)
        harness.send(1, body={**BODY, "max_tokens": 16})
        await until(lambda: harness.queue.unsettled == 0)
    assert await harness.codes() == {0: None, 1: None}
