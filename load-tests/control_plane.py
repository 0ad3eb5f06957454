"""What the path from queue to store can carry when the engine costs nothing: one worker process, the fake engine."""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

from child import child
from figures import Figures, quartiles
from servers import servers

from backburner import Client

GOAL = 5000.0
_PROMPT = "x" * 350


def control_plane(rounds: int, requests: int) -> Figures:
    """Carry so many requests, so many times, over broker, worker and store on the same cores."""
    rates = []
    with servers("fake") as settings:
        env = {**os.environ, **settings, "BACKBURNER_ENGINE": "fake", "BACKBURNER_POOL": "fake"}
        with child("queued_worker.py", env=env) as worker:
            for number in range(rounds):
                asyncio.run(fill(requests))
                found = worker.ask({"count": requests})
                rates.append(requests / found["seconds"])
                print(
                    f"round {number + 1}: {rates[-1]:,.0f} requests/s, {found['segments']} segments, "
                    f"{found['cpu_seconds'] / requests * 1e6:.0f} µs of the worker's CPU each",
                    flush=True,
                )
    low, median, high = quartiles(rates)
    return Figures(
        scenario="control-plane",
        goal=GOAL,
        reached=median >= GOAL,
        low=low,
        high=high,
        requests_per_s=median,
        details={"rounds": rates, "requests": requests},
    )


async def fill(count: int) -> None:
    """Submit a job of that many chat requests."""
    async with Client() as client:
        await client.submit(chat_lines(count))


def chat_lines(count: int) -> Iterator[dict[str, Any]]:
    """That many chat requests of about 500 bytes."""
    for number in range(count):
        body = {"model": "fake", "messages": [{"role": "user", "content": f"{number} {_PROMPT}"}], "max_tokens": 32}
        yield {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
