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
