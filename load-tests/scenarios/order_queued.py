"""What a prefix cache finds behind dispatcher, broker and feeder: stored jobs in planned order, counted in engines.

Workers on the fake engine, whose cache has room for few of a job's beginnings, answer stored jobs of a thousand and of
five thousand beginnings with twenty requests each, shuffled: one worker, then four. Beside that, the same jobs without
a dispatcher: to a worker that takes requests as they come, and to one that holds 1,024 and puts those in order. Last,
twenty tenants at once. What is counted are blocks of prompts that were looked up and found; a job's own forecast is
held against them.

A worker runs few requests at a time, so that what runs takes little of the cache's room from what is kept.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from backburner import Client, Job
from backburner_schemas.routing import pool_name
from measuring.child import Child, child
from measuring.figures import Bound, Check, Figures
from measuring.part import part
from measuring.servers import make_pool, servers
from measuring.shared_prefixes import PROMPT_TOKENS, REQUESTS_PER_PREFIX, shuffled_lines

GOAL_RATIO = 0.9
FORECAST_GOAL_RATIO = 0.05
"""How far the forecast may be off."""
JOBS = (1000, 5000)
"""Beginnings of each job."""
QUICK_JOBS = (200,)
CACHES = (16, 64)
"""Beginnings for which the engine's cache has room."""
WORKERS = (1, 4)
PARTITION_COUNT = 16
TENANT_COUNT = 20
WINDOW_REQUESTS = 1024
_CONCURRENT_REQUESTS = 8
_PACE = f"sequences={_CONCURRENT_REQUESTS},step=0.01,speed=2000"
_WARM_UP_PREFIX_COUNT = 50
_MAX_WARM_UPS = 20
_PATIENCE_SECONDS = 300.0


def order_queued(jobs: Sequence[int], *, quick: bool = False) -> Figures:
    """Answer jobs of so many beginnings in each way. The figure is the least share that was found of a planned job."""
    planned: dict[str, Found] = {}
    others: dict[str, Found] = {}
    with servers("fake", partitions=PARTITION_COUNT), ExitStack() as stack:
        stack.enter_context(part("backburner.dispatcher"))
        with _crew("fifo", 1, window=_CONCURRENT_REQUESTS) as crew:
            others[f"first come, first served, {jobs[0]:,}"] = crew.answer([_Sent("a", jobs[0])], CACHES[0])
        for count in WORKERS:
            with _crew(f"crew-{count}", count, window=WINDOW_REQUESTS) as crew:
                for prefixes in jobs:
                    if count == 1:
                        others[f"a window of {WINDOW_REQUESTS:,}, {prefixes:,}"] = crew.answer(
                            [_Sent("a", prefixes)], CACHES[-1]
                        )
                    for cache in CACHES:
                        name = f"{prefixes:,} beginnings, cache of {cache}, workers: {count}"
                        planned[name] = crew.answer([_Sent("a", prefixes, stored=True)], cache)
                if count == WORKERS[-1]:
                    tenants = [
                        _Sent(f"t{number}", jobs[-1] // TENANT_COUNT, stored=True) for number in range(TENANT_COUNT)
                    ]
                    planned[f"{TENANT_COUNT} tenants, cache of {CACHES[0]}, workers: {count}"] = crew.answer(
                        tenants, CACHES[0]
                    )
    return _figures(planned, others, jobs, quick=quick)


@dataclass(frozen=True, slots=True)
class Found:
    """What became of some jobs that were answered together."""

    ratio: float
    """Share of the blocks that were looked up in the engines' caches and found."""
    forecast: float | None
    """The same as it was foretold; None where nobody did."""
    seconds: float

    @property
    def off(self) -> float:
        """How far the forecast was off."""
        return abs(self.ratio - self.forecast) if self.forecast is not None else 0.0


@dataclass(frozen=True, slots=True)
class _Sent:
    """A job to be answered."""

    tenant: str
    prefixes: int
    stored: bool = False


class _Crew:
    """The workers of one pool, each a member of its group, that pull while a job is answered."""

    def __init__(self, model: str) -> None:
        self.workers: list[Child] = []
        self._model = model
        self._turn = 0

    def answer(self, jobs: Sequence[_Sent], cache: int) -> Found:
        """Send the jobs, wait until they are whole, and see what engines with so large a cache found."""
        found = asyncio.run(self._answer(jobs, cache))
        print(
            f"{self._model}: {len(jobs)} × {jobs[0].prefixes:,} beginnings, cache of {cache}, "
            f"{'planned' if jobs[0].stored else 'as submitted'}: {found.ratio:.3f}, foretold {found.forecast}, "
            f"{found.seconds:.1f} s",
            flush=True,
        )
        return found

    async def _answer(self, jobs: Sequence[_Sent], cache: int) -> Found:
        pace = f"{_PACE},kv={cache * PROMPT_TOKENS}"
        for worker in self.workers:
            worker.ask({"do": "open", "pace": pace})
        started = asyncio.get_running_loop().time()
        async with Client() as client:
            sent = await asyncio.gather(*(self._submit(client, one) for one in jobs))
            ended = await asyncio.gather(*(job.wait(timeout=_PATIENCE_SECONDS) for job in sent))
        seconds = asyncio.get_running_loop().time() - started
        answers = [worker.ask({"do": "close"}) for worker in self.workers]
        asked, found = (sum(one[name] for one in answers) for name in ("asked", "found"))
        wanted = sum(one.prefixes for one in jobs) * REQUESTS_PER_PREFIX
        if sum(status.request_counts.completed for status in ended) != wanted:
            raise RuntimeError(f"not all of {wanted:,} requests were answered: {ended[0].request_counts}")
        forecasts = [status.estimate.prefix_hit_ratio for status in ended if status.estimate is not None]
        return Found(found / max(asked, 1), sum(forecasts) / len(forecasts) if forecasts else None, seconds)

    async def _submit(self, client: Client, one: _Sent) -> Job:
        self._turn += 1
        lines = shuffled_lines(self._model, one.prefixes, seed=self._turn)
        return await client.submit(lines, tenant=one.tenant, stored=one.stored)

    def has_parts(self) -> bool:
        """Submit a small job; whether each worker had a part of it, so that all have their partitions."""
        return asyncio.run(self._warm_up())

    async def _warm_up(self) -> bool:
        for worker in self.workers:
            worker.ask({"do": "open"})
        async with Client() as client:
            job = await self._submit(client, _Sent("warm", _WARM_UP_PREFIX_COUNT))
            await job.wait(timeout=_PATIENCE_SECONDS)
        done = [worker.ask({"do": "close"})["done"] for worker in self.workers]
        return all(done)


@contextmanager
def _crew(model: str, count: int, *, window: int) -> Iterator[_Crew]:
    """So many workers in a pool of their own, each of which holds so many requests before its engine."""
    asyncio.run(make_pool(model))
    crew, environment = _Crew(model), _environment(model, window)
    with ExitStack() as stack:
        # One joins when the others have their share: members that all join at once keep a group from settling.
        for _ in range(count):
            crew.workers.append(stack.enter_context(child("scale_worker", env=environment)))
            for _ in range(_MAX_WARM_UPS):
                if crew.has_parts():
                    break
            else:
                raise RuntimeError(f"one of {len(crew.workers)} workers had no part in {_MAX_WARM_UPS} small jobs")
        yield crew


def _environment(model: str, window: int) -> Mapping[str, str]:
    return {
        **os.environ,
        "BACKBURNER_ENGINE": "fake",
        "BACKBURNER_MODEL": model,
        "BACKBURNER_POOL": pool_name(model),
        "BACKBURNER_CONCURRENCY": str(_CONCURRENT_REQUESTS),
        "BACKBURNER_PREFETCH": str(window),
        "BACKBURNER_FAKE_PACE": f"{_PACE},kv={max(CACHES) * PROMPT_TOKENS}",
    }


def _figures(planned: dict[str, Found], others: dict[str, Found], jobs: Sequence[int], *, quick: bool) -> Figures:
    worst = min(planned, key=lambda name: planned[name].ratio)
    off = max(found.off for found in planned.values())
    shown = "; ".join(f"{name}: {found.ratio:.3f}" for name, found in planned.items())
    beside = "; ".join(f"{name}: {found.ratio:.3f}" for name, found in others.items())
    return Figures(
        scenario="order-queued",
        goal=GOAL_RATIO,
        reached=planned[worst].ratio >= GOAL_RATIO,
        ratio=planned[worst].ratio,
        of="prefix hit rate",
        measure="of the shared blocks",
        against="the same jobs as they come, and from a window of 1,024",
        checks=(Check.of("how far a forecast is off", off, FORECAST_GOAL_RATIO, bound=Bound.AT_MOST),),
        settings={
            "beginnings": [*jobs],
            "requests_per_beginning": REQUESTS_PER_PREFIX,
            "caches": [*CACHES],
            "workers": [*WORKERS],
            "partitions": PARTITION_COUNT,
            "at_once": _CONCURRENT_REQUESTS,
        },
        details={name: {"ratio": found.ratio, "seconds": found.seconds} for name, found in (planned | others).items()},
        notes=(
            "Share of the blocks of shared beginnings that the fake engines' caches had.",
            f"As planned: {shown}.",
            f"Without a dispatcher: {beside}.",
        ),
        quick=quick,
    )
