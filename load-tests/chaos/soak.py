"""The scenario `soak`: load from gateway to store for an hour, and how the memory of every part moves meanwhile.

Batches and single requests go in through the gateway; every other round also by all the other ways. Nothing is broken.
"""

import asyncio
import time
from collections.abc import Mapping

from chaos.background import ended
from chaos.memory import Memory
from chaos.premises import Scene, premises
from chaos.report import Report
from chaos.scenario import QueuePlace, fake_crew, starter
from chaos.stage import Stage, stage

_ROUND_SECONDS = 4.0
"""Between the beginnings of two rounds, at least."""
_SAMPLE_SECONDS = 5.0
_RECOVER_SECONDS = 120.0
_WARM_UP_SHARE = 0.25
"""Of the whole time: what caches and arenas take at first is not counted."""
MEGABYTES_PER_HOUR = 12.0
"""What a part of the product may grow by: at 25 requests a second some 130 bytes a request."""


def soak(seconds: float, requests: int, place: QueuePlace) -> Report:
    """That long, with about so many requests in each round."""

    async def play(scene: Scene) -> None:
        async with stage(scene.servers, fake_crew(place, scene.servers), scene.folder, seed=requests) as on:
            await _play(on, scene.report, seconds, requests)

    command = {"scenario": "soak", "seconds": seconds, "requests": requests, "place": place}
    return premises(command, starter(place), play)


async def _play(on: Stage, report: Report, seconds: float, requests: int) -> None:
    memory = Memory()
    sampling = asyncio.create_task(_sample(on, memory))
    rounds = 0
    try:
        async with on.load.trickle():
            until = time.monotonic() + seconds
            while (began := time.monotonic()) < until:
                rounds += 1
                batch = on.load.begin(requests) if rounds % 2 else on.load.begin_at_gateway(requests)
                await on.load.accepted(batch)
                await on.load.done(batch, _RECOVER_SECONDS)
                await asyncio.sleep(began + _ROUND_SECONDS - time.monotonic())
    finally:
        await ended(sampling)
    await on.load.finish(_RECOVER_SECONDS)
    report.memory = memory.growths(
        after=seconds * _WARM_UP_SHARE, bound=lambda part: None if part.startswith("its ") else MEGABYTES_PER_HOUR
    )
    unseen = _parts(on).keys() - {one.part for one in report.memory}
    report.breaches += [f"memory: of {part} too little was seen to judge it" for part in sorted(unseen)]
    report.breaches += on.supervisor.ends
    report.breaches += [
        f"memory: {one.part} grew by {one.mb_per_hour:.1f} MB an hour, and {one.bound_mb_per_hour:.0f} are allowed"
        for one in report.memory
        if not one.kept
    ]
    report.restarts = on.supervisor.restarts
    report.begun_again = on.journals.begun_again()
    report.client_errors = len(on.load.errors)
    report.verdict = on.check(await on.look())


async def _sample(on: Stage, memory: Memory) -> None:
    while True:
        memory.sample(_parts(on))
        await asyncio.sleep(_SAMPLE_SECONDS)


def _parts(on: Stage) -> Mapping[str, int | None]:
    """The processes by name; `its …` are what the product runs on."""
    parts: dict[str, int | None] = {}
    for place in on.supervisor.manned:
        parts[place.name] = place.child.pid
    for worker in on.workers.manned:
        parts[f"{worker.name}, engine"] = worker.engine()
    for number, broker in enumerate(on.servers.brokers, 1):
        if broker.server is not None:
            parts[f"its broker {number}"] = broker.server.pid
    if on.servers.store is not None:
        parts["its store"] = on.servers.store.pid
    return parts
