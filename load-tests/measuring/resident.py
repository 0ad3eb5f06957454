"""A worker that stays warm on the real model, and batches of mixed requests for it."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from backburner import Client
from backburner.local.model import AUTO_MODEL_NAME
from backburner_schemas.routing import pool_name
from measuring.child import Child, child
from measuring.engines import arguments
from measuring.pairs import Measured, Pair
from measuring.prompts import mixed_line


@contextmanager
def resident_worker(model: str, env: Mapping[str, str]) -> Iterator[Child]:
    """A warm worker process on that model's folder. It is asked with `{"count"}`."""
    settings = {
        "BACKBURNER_ENGINE": "vllm",
        "BACKBURNER_MODEL": model,
        "BACKBURNER_ENGINE_ARGS": arguments(),
        "BACKBURNER_SERVED_NAME": AUTO_MODEL_NAME,
        "BACKBURNER_POOL": pool_name(AUTO_MODEL_NAME),
    }
    with child("queued_worker", env={**env, **settings}) as worker:
        yield worker


def fill(first: int, count: int) -> None:
    """Submit so many mixed requests, from the first on."""
    asyncio.run(_submit(first, count))


def submitted_and_done(worker: Child, first: int, count: int) -> Measured:
    """Submit so many and have them answered: the wall time of both, which is what a user waits.

    That the worker joins its group in between is not in it: a resident one has done that long before.
    """
    started = time.monotonic()
    fill(first, count)
    submitting = time.monotonic() - started
    found = worker.measure(count, count=count)
    extra = {**found.extra, "submit_seconds": submitting, "steady_seconds": found.seconds}
    return replace(found, seconds=found.seconds + submitting, extra=extra)


def write_requests(path: Path, first: int, count: int) -> None:
    """The same requests as a batch file."""
    lines = (json.dumps(mixed_line(number, AUTO_MODEL_NAME)) for number in range(first, first + count))
    path.write_text("".join(f"{line}\n" for line in lines))


def same_tokens(pair: Pair) -> None:
    """Raise unless both sides generated as many tokens."""
    theirs, ours = pair.baseline.extra["tokens"], pair.ours.extra["tokens"]
    if theirs != ours:
        raise RuntimeError(f"not the same work: {theirs} and {ours} tokens")


async def _submit(first: int, count: int) -> None:
    async with Client() as client:
        await client.submit(mixed_line(number, AUTO_MODEL_NAME) for number in range(first, first + count))
