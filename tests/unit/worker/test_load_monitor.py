"""LoadMonitor: a limit that is raised wakes what waits for room, and an engine that tells nothing is left alone."""

import asyncio

from admission_simulation import Asked, work_of

from backburner.runtime.notifier import Notifier
from backburner_schemas.request import Endpoint
from backburner_worker.admission import load_monitor
from backburner_worker.admission.admission import Admission
from backburner_worker.admission.load_monitor import LoadMonitor
from backburner_worker.engine.base import EngineInfo, EngineLoad
from backburner_worker.engine.fake.engine import FakeEngine
from backburner_worker.engine.fake.process import FakeProcessEngine

INFO = EngineInfo(("m",), frozenset(Endpoint), "fake-1", kv_tokens=100_000, max_sequences=4)


class Hungry(FakeEngine):
    """Tells at each look that half of its places stand empty."""

    looks = 0

    def load(self) -> EngineLoad:
        self.looks += 1
        return EngineLoad(running=2, steps=self.looks * 100, vacant=self.looks * 200)


async def test_more_room_wakes_what_waits_for_it(monkeypatch):
    monkeypatch.setattr(load_monitor, "_POLL_SECONDS", 0)
    admission, changed = Admission(INFO), Notifier()
    number = 0
    while admission.open:
        assert admission.enter(work_of(admission, number, Asked(10, 10, 10)))
        number += 1
    task = asyncio.create_task(LoadMonitor(Hungry(), admission, changed).run())
    async with asyncio.timeout(60):
        await changed.until(lambda: admission.open)
    task.cancel()
    assert admission.load.running == 2


async def test_an_engine_that_tells_nothing_keeps_the_first_limits():
    admission = Admission(INFO)
    async with asyncio.timeout(60):
        await LoadMonitor(FakeProcessEngine(), admission, Notifier()).run()
    assert admission.sequence_limit == 6


class Elsewhere(FakeEngine):
    """Limits itself, as an engine of servers elsewhere does."""

    room = 2

    def capacity(self) -> int:
        return self.room


async def test_an_engine_that_limits_itself_is_followed_from_the_start_and_may_take_nothing(monkeypatch):
    monkeypatch.setattr(load_monitor, "_POLL_SECONDS", 0)
    admission, changed, engine = Admission(INFO), Notifier(), Elsewhere()
    monitor = LoadMonitor(engine, admission, changed)
    works = [work_of(admission, number, Asked(10, 10, 10)) for number in range(4)]
    assert [admission.enter(work) for work in works] == [True, True, False, False]
    for work in works[:2]:
        admission.leave(work)
    task = asyncio.create_task(monitor.run())
    async with asyncio.timeout(60):
        engine.room = 0
        while admission.open:  # noqa: ASYNC110 - a limit that falls wakes nobody
            await asyncio.sleep(0)
        # Not even one that would be alone: it would only wait inside the engine.
        assert not admission.enter(works[2])
        engine.room = 3
        await changed.until(lambda: admission.open)
    task.cancel()
    assert (admission.sequence_limit, admission.token_limit) == (3, 0)


async def test_a_concurrency_that_is_set_bounds_an_engine_that_limits_itself():
    admission, engine = Admission(INFO, concurrency=1), Elsewhere()
    LoadMonitor(engine, admission, Notifier())
    assert admission.sequence_limit == 1
    engine.room = 0
    LoadMonitor(engine, admission, Notifier())
    assert not admission.open
