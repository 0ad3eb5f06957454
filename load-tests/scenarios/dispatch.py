"""What a dispatcher can send, with the order on, and whether it shares that fairly.

Stored jobs lie in the store, a broker takes the messages, and nobody answers them. A large job shows the rate, a small
one whether memory grows with a job. Then twenty tenants have work, one a hundred times as much as the others, and what
is sent is counted until one of them has all of its own: an ideal dispatcher would have sent the same of each.
"""

import asyncio
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from backburner import Client
from backburner.settings import Settings
from measuring.child import Child, child
from measuring.figures import Bound, Check, Figures
from measuring.pairs import Measured
from measuring.servers import servers

GOAL_REQUESTS_PER_SECOND = 20_000
MEMORY_GOAL_MB = 64.0
FAIRNESS_GOAL_RATIO = 1.2
DISPATCHED_REQUESTS = 200_000
QUICK_DISPATCHED_REQUESTS = 40_000
_FEWER_FACTOR = 20
_REQUESTS_PER_BEGINNING = 20
_BEGINNING_CHARACTERS = 300
_TENANT_COUNT = 20
_SMALL_REQUESTS = 3_000
_LARGE_FACTOR = 100
_LARGE_JOBS_COUNT = 10


def dispatch(requests: int, *, quick: bool = False) -> Figures:
    """Send jobs of so many requests, and of fewer, and those of many tenants. The figure is the large one's rate."""
    small = _SMALL_REQUESTS
    with servers("fake", durable=False) as settings:
        env = {**os.environ, **settings}
        with child("dispatching", env=env) as dispatcher:
            few = _send(dispatcher, [("default", requests // _FEWER_FACTOR)])
            many = _send(dispatcher, [("default", requests)])
        print(_shown(many), flush=True)
        with child("dispatching", "noted", env=env) as dispatcher:
            tenants = [(f"tenant-{number:02}", small) for number in range(1, _TENANT_COUNT)]
            large = [("large", small * _LARGE_FACTOR // _LARGE_JOBS_COUNT)] * _LARGE_JOBS_COUNT
            shared = _send(dispatcher, [*large, *tenants], complete=small)
    early: dict[str, int] = shared.extra["early"]
    unfair = sum(early.values()) / _TENANT_COUNT / max(min(early.get(name, 0) for name, _ in [*large, *tenants]), 1)
    grown = many.extra["peak_mib"] - few.extra["peak_mib"]
    print(f"memory +{grown:.0f} MiB; the ideal share is {unfair:.3f} of the least one", flush=True)
    return Figures(
        scenario="dispatch",
        goal=GOAL_REQUESTS_PER_SECOND,
        reached=many.rate >= GOAL_REQUESTS_PER_SECOND,
        requests_per_s=many.rate,
        against="nothing: the broker takes what comes",
        checks=(
            Check.of("MB more memory for a job 20 times as large", grown, MEMORY_GOAL_MB, bound=Bound.AT_MOST),
            Check.of("the ideal share over the least of 20 tenants", unfair, FAIRNESS_GOAL_RATIO, bound=Bound.AT_MOST),
        ),
        settings={
            "requests": requests,
            "requests_per_beginning": _REQUESTS_PER_BEGINNING,
            "tenants": _TENANT_COUNT,
            "times": _LARGE_FACTOR,
        },
        details={"few": few.extra, "many": many.extra, "shared": shared.extra},
        notes=(
            f"Sending took {many.cpu_seconds / many.work * 1e6:.1f} µs of CPU a request.",
            f"Checking and ordering {requests:,} requests took {many.extra['planning']:.1f} s before.",
        ),
        quick=quick,
    )


def _send(dispatcher: Child, jobs: list[tuple[str, int]], *, complete: int = 0) -> Measured:
    names = asyncio.run(_store(jobs))
    return dispatcher.measure(sum(count for _, count in jobs), jobs=names, complete=complete)


async def _store(jobs: list[tuple[str, int]]) -> list[tuple[str, str]]:
    """Store jobs of these tenants, with so many requests each. Their tenants and ids."""
    found = []
    async with Client(Settings.load()) as client:
        for seed, (tenant, count) in enumerate(jobs):
            with tempfile.NamedTemporaryFile(prefix="backburner-load-", suffix=".jsonl") as file:
                _write(file, count, seed)
                job = await client.submit(Path(file.name), stored=True, tenant=tenant)
            found.append((tenant, job.id))
    return found


def _write(file: IO[bytes], count: int, seed: int) -> None:
    for line in _lines(count, seed):
        file.write(line)
    file.flush()


def _lines(count: int, seed: int) -> Iterator[bytes]:
    """Requests of about 500 bytes whose beginnings are shared, in any order."""
    order = [*range(count)]
    random.Random(seed).shuffle(order)
    for at, number in enumerate(order):
        beginning = f"{number // _REQUESTS_PER_BEGINNING} of {seed};".ljust(_BEGINNING_CHARACTERS, "x")
        yield (
            b'{"custom_id":"r%d","method":"POST","url":"/v1/chat/completions","body":{"model":"fake","messages":'
            b'[{"role":"system","content":"%b"},{"role":"user","content":"What of %d?"}],"max_tokens":8}}\n'
            % (at, beginning.encode(), at)
        )


def _shown(many: Measured) -> str:
    cpu = many.cpu_seconds / many.work * 1e6
    return f"{many.rate:,.0f} requests/s, {cpu:.1f} µs of CPU each; planned in {many.extra['planning']:.1f} s"
