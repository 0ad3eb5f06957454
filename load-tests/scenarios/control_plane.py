"""What the path from queue to store can carry when the engine costs nothing, against a bare loop of its libraries.

Broker, worker, bare loop and store are on the same cores. Both sides carry the same messages: each has a consumer group
of its own, and the queue is filled before.
"""

import asyncio
import os
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from backburner import Client
from measuring.child import Child, child
from measuring.figures import Bound, Check, Figures
from measuring.pairs import Pair, Side, interleaved
from measuring.servers import Broker, servers

GOAL_RATIO = 0.5
GOAL_REQUESTS_PER_S = 15_000.0
GOAL_CPU_MICROSECONDS = 40.0
_PROMPT = "x" * 350


def control_plane(pairs: int, requests: int, *, broker: Broker = Broker.TANSU, quick: bool = False) -> Figures:
    """Carry so many requests, so many times, through the bare loop and through a worker."""
    with (
        servers("fake", broker=broker) as settings,
        workers(settings) as worker,
        child("bare_loop", env=environment(settings)) as loop,
    ):
        found = interleaved(
            pairs,
            Side("bare loop", lambda _: loop.measure(requests, count=requests)),
            Side("worker", lambda _: worker.measure(requests, count=requests)),
            prepare=lambda _: asyncio.run(fill(requests)),
            check=_same_count,
        )
    rate = statistics.median(pair.ours.rate for pair in found)
    cpu = statistics.median(pair.ours.cpu_seconds / pair.ours.work for pair in found) * 1e6
    print(f"{rate:,.0f} requests/s, goal {GOAL_REQUESTS_PER_S:,.0f}; {cpu:.1f} µs of CPU a request")
    return Figures.of_pairs(
        "control-plane",
        found,
        ("bare loop", "worker"),
        goal=GOAL_RATIO,
        against=f"a bare loop of the same libraries: consume, decode, encode, put, commit{broker.where}",
        settings={"requests": requests, "engine": "instant", "broker": broker},
        checks=[
            Check.of("requests/s of one worker", rate, GOAL_REQUESTS_PER_S),
            Check.of(
                "µs of the worker's CPU a request, an aim", cpu, GOAL_CPU_MICROSECONDS, bound=Bound.AT_MOST, aim=True
            ),
        ],
        quick=quick,
    )


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker on these servers."""
    return {**os.environ, **settings, "BACKBURNER_ENGINE": "fake", "BACKBURNER_POOL": "fake"}


@contextmanager
def workers(settings: Mapping[str, str]) -> Iterator[Child]:
    """A process of workers, one after the other, over the engine that costs nothing."""
    with child("queued_worker", "--instant", env=environment(settings)) as running:
        yield running


async def fill(count: int) -> None:
    """Submit a job of that many chat requests."""
    async with Client() as client:
        await client.submit(chat_lines(count))


def chat_lines(count: int) -> Iterator[dict[str, Any]]:
    """That many chat requests of about 500 bytes."""
    for number in range(count):
        body = {"model": "fake", "messages": [{"role": "user", "content": f"{number} {_PROMPT}"}], "max_tokens": 32}
        yield {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def _same_count(pair: Pair) -> None:
    if (met := pair.baseline.extra["requests"]) != pair.baseline.work:
        raise RuntimeError(f"the bare loop met {met} messages, not {pair.baseline.work:.0f}")
