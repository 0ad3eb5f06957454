"""What the queue costs: the same chat requests through the engine alone, and through broker → worker → store.

Both sides keep one process warm with the same engine arguments and threads. Rounds are interleaved, and who goes first
changes from pair to pair, because the machine's speed drifts. The process that was started second was seen to be a
few percent faster for as long as it lived, so for the second half of the pairs both are started anew, in the other
order.
"""

import asyncio
import os
import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from child import Child, child
from figures import Figures, quartiles
from prompts import line
from servers import servers

from backburner import Client
from backburner.local.engine_args import CPU_ARGS
from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from backburner_schemas.routing import pool_name

GOAL = 0.95


def overhead(pairs: int, requests: int, *, threads: int = 1, baseline: str = "serving") -> Figures:
    """Run the pairs. The ratio is queued throughput over bare throughput, so 0.95 means that the queue costs 5 %."""
    model = str(prepare_auto_model(on_progress=print))
    rows: list[dict[str, float]] = []
    with servers(AUTO_MODEL_NAME) as settings:
        env = {**os.environ, **settings, "OMP_NUM_THREADS": str(threads)}
        for bare_starts, numbers in ((True, range(pairs // 2)), (False, range(pairs // 2, pairs))):
            if numbers:
                with _sides(baseline, model, env, bare_starts=bare_starts) as (bare, queued):
                    rows += [_pair(bare, queued, number, requests) for number in numbers]
    low, median, high = quartiles([row["ratio"] for row in rows])
    halves = [rows[: pairs // 2], rows[pairs // 2 :]]
    return Figures(
        scenario="overhead",
        goal=GOAL,
        reached=median >= GOAL,
        ratio=median,
        low=low,
        high=high,
        requests_per_s=requests / statistics.median(row["queued_s"] for row in rows),
        details={
            "bare_requests_per_s": requests / statistics.median(row["bare_s"] for row in rows),
            "median_of_each_half": [statistics.median(row["ratio"] for row in half) for half in halves if half],
            "pairs": rows,
            "requests": requests,
            "threads": threads,
            "baseline": baseline,
            "engine_args": CPU_ARGS,
        },
    )


@contextmanager
def _sides(baseline: str, model: str, env: Mapping[str, str], *, bare_starts: bool) -> Iterator[tuple[Child, Child]]:
    """Both processes, warm, started one after the other."""
    worker = {
        **env,
        "BACKBURNER_ENGINE": "vllm",
        "BACKBURNER_MODEL": model,
        "BACKBURNER_ENGINE_ARGS": CPU_ARGS,
        "BACKBURNER_SERVED_NAME": AUTO_MODEL_NAME,
        "BACKBURNER_POOL": pool_name(AUTO_MODEL_NAME),
    }
    with ExitStack() as stack:
        started = {}
        for name in ("bare", "queued") if bare_starts else ("queued", "bare"):
            started[name] = stack.enter_context(
                child("bare_engine.py", baseline, model, *CPU_ARGS.split(), env=env)
                if name == "bare"
                else child("queued_worker.py", env=worker)
            )
        yield started["bare"], started["queued"]


def _pair(bare: Child, queued: Child, number: int, requests: int) -> dict[str, float]:
    first = number * requests
    asyncio.run(_fill(first, requests))
    answers: dict[str, dict[str, Any]] = {}
    for side in ("bare", "queued") if number % 2 == 0 else ("queued", "bare"):
        if side == "bare":
            answers[side] = bare.ask({"first": first, "count": requests})
        else:
            answers[side] = queued.ask({"count": requests})
    alone, through = answers["bare"], answers["queued"]
    if alone["tokens"] != through["tokens"]:
        raise RuntimeError(f"not the same work: {alone['tokens']} and {through['tokens']} tokens")
    row = {
        "bare_s": alone["seconds"],
        "queued_s": through["seconds"],
        "ratio": alone["seconds"] / through["seconds"],
        "bare_cpu_s": alone["cpu_seconds"],
        "queued_cpu_s": through["cpu_seconds"],
    }
    print(
        f"pair {number + 1:2}: bare {row['bare_s']:6.2f} s, queued {row['queued_s']:6.2f} s, "
        f"ratio {row['ratio']:.3f}; CPU {row['bare_cpu_s']:.1f} s and {row['queued_cpu_s']:.1f} s",
        flush=True,
    )
    return row


async def _fill(first: int, count: int) -> None:
    async with Client() as client:
        await client.submit(line(number, AUTO_MODEL_NAME) for number in range(first, first + count))
