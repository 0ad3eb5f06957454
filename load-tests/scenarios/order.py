"""What the order of a whole job costs, and what a prefix cache finds in it.

A child process plans a large job. Then jobs of a thousand and of five thousand beginnings, with twenty requests each
and shuffled, go through the modelled engine's cache with room for a few of the beginnings: first come, first served; in
the best order that a window of 1,024 requests allows; and as planned, for one engine, for four, and with twenty tenants
who take turns.
"""

import os
from collections.abc import Iterator, Sequence

from measuring.child import child
from measuring.figures import Bound, Check, Figures, Row
from measuring.pairs import Measured
from measuring.shared_beginnings import Found, SharedJob, found_in_cache

GOAL_RATIO = 0.9
PLANNED_GOAL_SECONDS = 20.0
MEMORY_GOAL_MB = 64.0
FORECAST_GOAL_RATIO = 0.05
"""How far the rate that was predicted may be off."""
PLANNED_REQUESTS = 1_000_000
QUICK_PLANNED_REQUESTS = 100_000
JOBS = (1000, 5000)
"""Beginnings of each job."""
QUICK_JOBS = (1000,)
CACHES = (16, 64)
"""Beginnings that the cache holds."""
_REQUESTS_PER_BEGINNING = 20
_BEGINNING_BYTES = 2400
_WINDOW_REQUESTS = 1024
_ENGINE_COUNT = 4
_TENANT_COUNT = 20
_TURN_REQUESTS = 512


def order(requests: int, jobs: Sequence[int], *, quick: bool = False) -> Figures:
    """Plan a job of so many requests, and look what is found in jobs of so many beginnings. The figure is the worst."""
    with child("planner", env=os.environ) as planner:
        planned = planner.measure(requests, requests=requests, beginning=_BEGINNING_BYTES)
    print(
        f"{requests:,} requests planned in {planned.seconds:.1f} s, of which {planned.extra['adding']:.1f} s for what "
        f"their prompts begin with; memory +{planned.extra['grown_mb']:.0f} MB",
        flush=True,
    )
    found: dict[str, Found] = {}
    off = 0.0
    for beginnings in jobs:
        job = SharedJob.shuffled(beginnings, _REQUESTS_PER_BEGINNING)
        groups, forecast = job.planned()
        for cache in CACHES:
            room = job.cache_tokens(cache)
            name = f"{beginnings:,} × {_REQUESTS_PER_BEGINNING}, cache of {cache}"
            for how, orders in _orders(job, groups):
                found[f"{name}, {how}"] = one = found_in_cache(
                    ([job.modelled[at] for at in places] for places in orders), room
                )
                print(f"{name}, {how}: {one.beginnings:.3f}", flush=True)
                if how.startswith("planned"):
                    off = max(off, abs(one.prompts - forecast.found_ratio))
    name = f"{_TENANT_COUNT} tenants, cache of {CACHES[0]}, planned"
    found[name] = _tenants(max(jobs) // _TENANT_COUNT)
    print(f"{name}: {found[name].beginnings:.3f}; the forecast was off by {off:.3f} at most", flush=True)
    return _figures(planned, found, off, jobs, requests, quick=quick)


def _orders(job: SharedJob, groups: list[list[int]]) -> Iterator[tuple[str, list[list[int]]]]:
    """The orders of one job, each as the places of its requests for each engine."""
    yield "first come, first served", [[*range(len(job.bodies))]]
    yield f"a window of {_WINDOW_REQUESTS:,}", [[*job.windowed(_WINDOW_REQUESTS)]]
    yield "planned", [[at for group in groups for at in group]]
    shares: list[list[int]] = [[] for _ in range(_ENGINE_COUNT)]
    for group in groups:
        min(shares, key=len).extend(group)
    yield f"planned, {_ENGINE_COUNT} engines", shares


def _tenants(beginnings: int) -> Found:
    """Tenants with a job each take turns, by whole groups."""
    jobs = [
        SharedJob.shuffled(beginnings, _REQUESTS_PER_BEGINNING, first=number * beginnings)
        for number in range(_TENANT_COUNT)
    ]
    waiting = [[*job.planned()[0]][::-1] for job in jobs]
    sent = []
    while any(waiting):
        for job, groups in zip(jobs, waiting, strict=True):
            turn = 0
            while groups and turn < _TURN_REQUESTS:
                group = groups.pop()
                turn += len(group)
                sent += [job.modelled[at] for at in group]
    return found_in_cache([sent], jobs[0].cache_tokens(CACHES[0]))


def _figures(
    planned: Measured, found: dict[str, Found], off: float, jobs: Sequence[int], requests: int, *, quick: bool
) -> Figures:
    worst = min(one.beginnings for name, one in found.items() if "planned" in name)
    others = "; ".join(f"{name} {one.beginnings:.3f}" for name, one in found.items() if "planned" not in name)
    ours = "; ".join(f"{name} {one.beginnings:.3f}" for name, one in found.items() if "planned" in name)
    return Figures(
        scenario="order",
        goal=GOAL_RATIO,
        reached=worst >= GOAL_RATIO,
        ratio=worst,
        of="prefix hit rate",
        measure="of the shared tokens",
        against="first come, first served, and the best order that a window of 1,024 requests allows",
        checks=(
            Check.of(
                f"seconds to plan {requests:,} requests", planned.seconds, PLANNED_GOAL_SECONDS, bound=Bound.AT_MOST
            ),
            Check.of(
                "MB of memory that planning takes", planned.extra["grown_mb"], MEMORY_GOAL_MB, bound=Bound.AT_MOST
            ),
            Check.of("how far the forecast is off", off, FORECAST_GOAL_RATIO, bound=Bound.AT_MOST),
        ),
        rows=(Row("planning", planned.seconds, planned.cpu_seconds, planned.work, planned.rate),),
        settings={
            "beginnings": [*jobs],
            "requests_per_beginning": _REQUESTS_PER_BEGINNING,
            "caches": [*CACHES],
            "planned_beginning_bytes": _BEGINNING_BYTES,
        },
        details={"found": {name: one.beginnings for name, one in found.items()}, "planning": dict(planned.extra)},
        notes=(
            "Share of the tokens in shared beginnings that the modelled engine's cache had.",
            f"In other orders: {others}.",
            f"As planned: {ours}.",
        ),
        quick=quick,
    )
