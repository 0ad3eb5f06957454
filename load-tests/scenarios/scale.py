"""Whether workers add up: one, two and four of them on one queue and one store, with an engine that sleeps.

The engine takes a fixed time for each request and no processor, as a GPU does, so the two cores of a small machine do
not limit. Each worker gets the same share of work, so the time is the same if the throughput is linear. One, two and
four are three pools, whose workers stay warm and have their partitions before the clock starts; the queue is filled
before.
"""

import asyncio
import os
import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from backburner import Client
from backburner_schemas.routing import pool_name
from measuring.child import Child, child
from measuring.figures import Check, Curve, Figures
from measuring.pairs import Measured, Pair
from measuring.servers import Broker, make_pool, servers
from scenarios.control_plane import chat_lines

GOAL_RATIO = 0.95
WORKERS = (1, 2, 4)
PARTITION_COUNT = 16
LATENCY_SECONDS = 0.25
CONCURRENT_REQUESTS = 96
_WARM_UP_REQUESTS = 64 * PARTITION_COUNT
"""Requests of a small job. Neighbours go to one partition, 64 at the most, so this is enough for all partitions."""
_MAX_WARM_UPS = 20
_PATIENCE_SECONDS = 600.0


def scale(rounds: int, requests: int, *, broker: Broker = Broker.TANSU, quick: bool = False) -> Figures:
    """So many rounds of one, two and four workers, each with so many requests. The ratio is to linear, at four."""
    found: dict[int, list[Measured]] = {count: [] for count in WORKERS}
    with servers("fake", broker=broker, partitions=PARTITION_COUNT) as settings, ExitStack() as stack:
        crews = {count: stack.enter_context(_crew({**os.environ, **settings}, count)) for count in WORKERS}
        for number in range(rounds):
            for count in WORKERS if number % 2 == 0 else WORKERS[::-1]:
                measured = _round(crews[count], count * requests)
                found[count].append(measured)
                print(
                    f"round {number + 1}: {count} workers, {measured.rate:,.1f} requests/s, {measured.seconds:.2f} s, "
                    f"shares {measured.extra['shares']}",
                    flush=True,
                )
    one, two, most = (found[count] for count in WORKERS)
    linear = [ours.rate / (2 * alone.rate) for alone, ours in zip(one, two, strict=True)]
    rates = {count: statistics.median(measured.rate for measured in found[count]) for count in WORKERS}
    return Figures.of_pairs(
        "scale",
        [Pair(alone, ours) for alone, ours in zip(one, most, strict=True)],
        ("1 worker", f"{WORKERS[-1]} workers"),
        goal=GOAL_RATIO,
        ratio_of=lambda pair: pair.speed / WORKERS[-1],
        of="speed to linear",
        measure="of linear",
        against=f"{WORKERS[-1]} times one worker{broker.where}",
        checks=[Check.of("2 workers over twice one worker", statistics.median(linear), GOAL_RATIO)],
        curves=[
            Curve(
                "Requests a second by the number of workers",
                "workers",
                "requests/s",
                {
                    "measured": [(count, rates[count]) for count in WORKERS],
                    "linear": [(count, count * rates[1]) for count in WORKERS],
                },
            )
        ],
        settings={
            "requests_a_worker": requests,
            "engine_seconds": LATENCY_SECONDS,
            "concurrency": CONCURRENT_REQUESTS,
            "partitions": PARTITION_COUNT,
            "broker": broker,
        },
        quick=quick,
    )


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers of one pool, all of them warm."""

    model: str
    workers: list[Child]


@contextmanager
def _crew(env: Mapping[str, str], count: int) -> Iterator[Crew]:
    """So many workers in a pool of their own, each with its partitions, that wait for their start."""
    crew = Crew(f"scale-{count}", [])
    asyncio.run(make_pool(crew.model))
    settings = {
        "BACKBURNER_ENGINE": "fake",
        "BACKBURNER_MODEL": crew.model,
        "BACKBURNER_POOL": pool_name(crew.model),
        "BACKBURNER_FAKE_LATENCY_SECONDS": str(LATENCY_SECONDS),
        "BACKBURNER_CONCURRENCY": str(CONCURRENT_REQUESTS),
        "BACKBURNER_PREFETCH": str(2 * CONCURRENT_REQUESTS),
    }
    with ExitStack() as stack:
        # One joins when the others have their share: members that all join at once keep a group from settling.
        for _ in range(count):
            crew.workers.append(stack.enter_context(child("scale_worker", env={**env, **settings})))
            _warm_up(crew)
        yield crew


def _warm_up(crew: Crew) -> None:
    """Submit small jobs until each worker has had a part of one: then all have their partitions."""
    for _ in range(_MAX_WARM_UPS):
        if all(answer["done"] for answer in asyncio.run(_carry(crew, _WARM_UP_REQUESTS))):
            return
    raise RuntimeError(f"one of {len(crew.workers)} workers had no part in {_MAX_WARM_UPS} small jobs")


def _round(crew: Crew, requests: int) -> Measured:
    answers = asyncio.run(_carry(crew, requests))
    return Measured(
        max(answer["last"] for answer in answers) - min(answer["first"] for answer in answers),
        sum(answer["cpu_seconds"] for answer in answers),
        requests,
        {"shares": [answer["done"] for answer in answers]},
    )


async def _carry(crew: Crew, requests: int) -> list[dict[str, float]]:
    """Fill the queue, let all workers go, and wait until the job is whole; what each did.

    Raises `RuntimeError` where a request was not answered.
    """
    async with Client() as client:
        job = await client.submit(
            {**line, "body": {**line["body"], "model": crew.model}} for line in chat_lines(requests)
        )
        for worker in crew.workers:
            worker.ask({"do": "open"})
        counts = (await job.wait(timeout=_PATIENCE_SECONDS)).request_counts
    if counts.completed != requests:
        raise RuntimeError(f"not all of {requests:,} requests were answered: {counts}")
    return [worker.ask({"do": "close"}) for worker in crew.workers]
