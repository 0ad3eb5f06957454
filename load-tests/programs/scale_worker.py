"""A child process: a real worker on a fake engine that sleeps, one of several in a group.

It joins at once, and pulls nothing until it gets `{"do": "open"}`; with `"pace"` its engine has that one from then on,
and an empty cache. To `{"do": "close"}` it answers, once it pulls no more, with the moments of its first pull and its
last durable record since then, on the clock that all processes of a machine share, with what it did, and with how many
blocks of prompts its engine looked up in its prefix cache and found. `{"do": "stop"}` ends it.
"""

import asyncio
import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from backburner.logs import configure
from backburner.process.memory import freeze_gc
from backburner.storage import Storage
from backburner_schemas.names import Lane
from backburner_worker.app import Worker
from backburner_worker.engine.factory import create_engine
from backburner_worker.engine.fake.clock import FakeClock
from backburner_worker.engine.fake.engine import FakeEngine
from backburner_worker.engine.fake.model import Lookups, Pace
from backburner_worker.parts import Parts
from backburner_worker.settings import WorkerSettings
from backburner_worker.sources.base import Delivery, Source
from backburner_worker.sources.factory import open_source
from measuring.cpu import cpu_seconds
from programs.queued_worker import TimedSource, TimedTelemetry

_STOP = '{"do": "stop"}'


class GatedSource(TimedSource):
    """A source that is a member of its group, and delivers only while its gate is open."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._open = asyncio.Event()
        self._held = asyncio.Event()

    async def pull(self, budget: Mapping[Lane, int]) -> list[Delivery]:
        """Wait for the gate, then pull."""
        if not self._open.is_set():
            self._held.set()
            await self._open.wait()
        return await super().pull(budget)

    def open(self) -> None:
        """Let it pull, and note the first that comes."""
        self.first = None
        self._held.clear()
        self._open.set()

    async def shut(self) -> None:
        """Returns when the pull that was under way is over and the next one waits."""
        self._open.clear()
        await self._held.wait()


class CountingTelemetry(TimedTelemetry):
    """Metrics that count what was answered, without an end in sight."""

    def __init__(self) -> None:
        super().__init__(0)

    def begin(self) -> None:
        """Count anew."""
        self.answers, self.segments, self.last = 0, 0, 0.0


async def main() -> None:
    """Be a worker until it is asked to stop."""
    settings = WorkerSettings.load()
    configure(settings.log_level)
    engine = create_engine(settings.engine_options)
    assert isinstance(engine, FakeEngine)
    telemetry = CountingTelemetry()
    source = GatedSource(open_source(settings, settings.source_options, pool=settings.pool or "", worker="load"))
    worker = Worker(
        Parts(
            settings,
            storage=Storage.open(settings),
            telemetry=telemetry,
            engine=engine,
            info=await engine.start(),
            source=source,
        )
    )
    freeze_gc()
    joined = asyncio.Event()
    running = asyncio.create_task(worker.run(on_joined=joined.set))
    await joined.wait()
    _answer({"warm": True})
    loop = asyncio.get_running_loop()
    cpu, before = 0.0, Lookups()
    while (asked := json.loads(await loop.run_in_executor(None, sys.stdin.readline) or _STOP))["do"] != "stop":
        if asked["do"] == "open":
            if "pace" in asked:
                # Nothing is in the engine while the gate is shut.
                engine._clock = FakeClock(Pace.parse(asked["pace"]))  # noqa: SLF001 - no engine changes its pace
            telemetry.begin()
            cpu, before = cpu_seconds(), engine.lookups
            source.open()
            _answer({})
        else:
            spent = cpu_seconds() - cpu
            await source.shut()
            first = math.nan if source.first is None else source.first
            lookups = engine.lookups
            _answer(
                {
                    "first": first,
                    "last": telemetry.last,
                    "cpu_seconds": spent,
                    "done": telemetry.answers,
                    "asked": lookups.asked - before.asked,
                    "found": lookups.found - before.found,
                }
            )
    source.open()
    worker.pipeline.stop()
    await running


def _answer(answer: dict[str, Any]) -> None:
    print(json.dumps({"at": time.monotonic(), **answer}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
