"""A child process: a real worker on a warm engine. Each question `{"count"}` is answered when that many are durable.

With `"sample": true` the answer also has how much CPU each layer used, which costs a little itself.
With `"concurrency"` or `"prefix"` in a question, the worker runs with those settings instead of its environment's.

The queue is filled before. A new worker joins over the engine that stays warm; the clock runs from the moment that its
first pull returns to the moment that the last record is durable.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from prometheus_client import CollectorRegistry

from backburner.logs import configure
from backburner.process.memory import freeze_gc
from backburner.storage import Storage
from backburner_schemas.names import Lane
from backburner_worker.app import Worker
from backburner_worker.engine.base import Engine, EngineInfo
from backburner_worker.engine.factory import create_engine
from backburner_worker.parts import Parts
from backburner_worker.settings import WorkerSettings
from backburner_worker.sources.base import Delivery, RevokedCallback, Source
from backburner_worker.sources.factory import open_source
from backburner_worker.telemetry.telemetry import Telemetry
from measuring.cpu import cpu_seconds
from measuring.layers import Sampler
from measuring.prefix_cache import PrefixCache
from programs.instant_engine import InstantEngine

INSTANT = "--instant"
"""Asks for the engine that costs nothing, in place of the one that the settings name."""
_ASKED = {"concurrency", "prefix"}
"""Settings that a question may hold."""
_ANSWERED, _UNANSWERED = "response", frozenset({"error", "dead_letter", "dropped"})
"""Outcomes of deliveries that end here; others ended before, or go on."""
_MAX_REPORTED_FUNCTIONS = 60
"""Functions that are reported, the most expensive first."""


class TimedSource:
    """A source that notes when its first delivery came."""

    def __init__(self, source: Source) -> None:
        self._source = source
        # Once a request: these are the source's own, without a step in between.
        self.begin, self.settle = source.begin, source.settle
        self.first: float | None = None

    async def start(self, revoked: RevokedCallback) -> None:
        """Join the group."""
        await self._source.start(revoked)

    async def pull(self, budget: Mapping[Lane, int]) -> list[Delivery]:
        """Pull, and note the time of the first that came."""
        deliveries = await self._source.pull(budget)
        if deliveries and self.first is None:
            self.first = time.monotonic()
        return deliveries

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Give up deliveries."""
        await self._source.give_back(deliveries)

    def lag(self) -> Mapping[Lane, int]:
        """As the source tells it."""
        return self._source.lag()

    def uncommitted(self) -> int:
        """As the source tells it."""
        return self._source.uncommitted()

    def unavailable_reason(self) -> str | None:
        """As the source tells it."""
        return self._source.unavailable_reason()

    async def stop(self) -> None:
        """Hand out no more."""
        await self._source.stop()

    async def close(self, *, clean: bool = True) -> None:
        """Leave the group."""
        await self._source.close(clean=clean)


class TimedTelemetry(Telemetry):
    """Metrics that note when the last segment became durable, and when so many deliveries are answered and settled."""

    def __init__(self, count: int) -> None:
        super().__init__(CollectorRegistry())
        self._wanted = count
        self.answers = 0
        """Deliveries that were settled with an answer."""
        self.unanswered = 0
        """Deliveries that were settled without one."""
        self.last = 0.0
        self.segments = 0
        self.tokens = 0
        self.over = asyncio.Event()
        """Set when all are answered, and as soon as one is not."""

    def segment_written(self, size: int, seconds: float) -> None:
        """A segment became durable."""
        super().segment_written(size, seconds)
        self.last = time.monotonic()
        self.segments += 1

    def answered(self, queue_s: float | None, engine_s: float, prompt_tokens: int, completion_tokens: int) -> None:
        """The engine answered."""
        super().answered(queue_s, engine_s, prompt_tokens, completion_tokens)
        self.tokens += completion_tokens

    def settled(self, outcome: str, code: str = "", count: int = 1) -> None:
        """Deliveries ended."""
        super().settled(outcome, code, count)
        if outcome == _ANSWERED:
            self.answers += count
        elif outcome in _UNANSWERED:
            self.unanswered += count
        if self.answers >= self._wanted or self.unanswered:
            self.over.set()


async def run(
    settings: WorkerSettings, storage: Storage, engine: Engine, info: EngineInfo, count: int, *, sample: bool = False
) -> dict[str, Any]:
    """Be a worker until so many deliveries are answered and settled; the time and CPU that it took.

    Raises `RuntimeError` where one was settled without an answer, which costs less.
    """
    telemetry = TimedTelemetry(count)
    source = TimedSource(open_source(settings, settings.source_options, pool=settings.pool or "", worker="load"))
    worker = Worker(Parts(settings, storage=storage, telemetry=telemetry, engine=engine, info=info, source=source))
    sampler, cache = Sampler(), PrefixCache.now()
    with sampler.running() if sample else nullcontext():
        cpu = cpu_seconds()
        running = asyncio.create_task(worker.run())
        settled = asyncio.create_task(telemetry.over.wait())
        await asyncio.wait({running, settled}, return_when=asyncio.FIRST_COMPLETED)
        spent = cpu_seconds() - cpu
    worker.pipeline.stop()
    await running
    if telemetry.unanswered or telemetry.answers < count:
        raise RuntimeError(
            f"{telemetry.answers:,} of {count:,} requests were answered, {telemetry.unanswered:,} ended otherwise"
        )
    assert source.first is not None
    return {
        "seconds": telemetry.last - source.first,
        "cpu_seconds": spent,
        "segments": telemetry.segments,
        "tokens": telemetry.tokens,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "layers": sampler.layers(),
        "places": sampler.places()[:_MAX_REPORTED_FUNCTIONS],
        "cached": PrefixCache.now().since(cache),
    }


async def main() -> None:
    """Warm the engine up, then answer questions until there are none."""
    settings = WorkerSettings.load()
    configure(settings.log_level)
    storage = Storage.open(settings)
    engine: Engine = InstantEngine() if INSTANT in sys.argv else create_engine(settings.engine_options)
    try:
        info = await engine.start()
        freeze_gc()
        print(json.dumps({"warm": True}), flush=True)
        loop = asyncio.get_running_loop()
        while question := await loop.run_in_executor(None, sys.stdin.readline):
            asked = json.loads(question)
            chosen = settings.model_copy(update={name: asked.pop(name) for name in _ASKED & asked.keys()})
            print(json.dumps(await run(chosen, storage, engine, info, **asked)), flush=True)
    finally:
        await engine.close(drain=0.0)


if __name__ == "__main__":
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    asyncio.run(main())
