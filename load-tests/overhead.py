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

from child import child
from figures import Figures
from pairs import Pair, Side, interleaved
from prompts import line
from servers import servers

from backburner import Client
from backburner.local.engine_args import CPU_ARGS
from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from backburner_schemas.routing import pool_name

GOAL = 0.98


def overhead(pairs: int, requests: int, *, threads: int = 1, baseline: str = "serving", quick: bool = False) -> Figures:
    """Run the pairs. The ratio is queued throughput over bare throughput, so 0.98 means that the queue costs 2 %."""
    model = str(prepare_auto_model(on_progress=print))
    found: list[Pair] = []
    with servers(AUTO_MODEL_NAME) as settings:
        env = {**os.environ, **settings, "OMP_NUM_THREADS": str(threads)}
        for bare_starts, numbers in ((True, range(pairs // 2)), (False, range(pairs // 2, pairs))):
            if numbers:
                with _sides(baseline, model, env, requests, bare_starts=bare_starts) as (bare, queued):
                    found += interleaved(
                        numbers,
                        bare,
                        queued,
                        prepare=lambda number: asyncio.run(_fill(number * requests, requests)),
                        check=_same_tokens,
                    )
    halves = [found[: pairs // 2], found[pairs // 2 :]]
    return Figures.of_pairs(
        "overhead",
        found,
        (baseline, "queued"),
        goal=GOAL,
        settings={"requests": requests, "threads": threads, "baseline": baseline, "engine_args": CPU_ARGS},
        details={"median_of_each_half": [statistics.median(pair.speed for pair in half) for half in halves if half]},
        quick=quick,
    )


@contextmanager
def _sides(
    baseline: str, model: str, env: Mapping[str, str], requests: int, *, bare_starts: bool
) -> Iterator[tuple[Side, Side]]:
    """Both sides in processes of their own, warm, started one after the other."""
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
        yield (
            Side(baseline, lambda number: started["bare"].measure(requests, first=number * requests, count=requests)),
            Side("queued", lambda _: started["queued"].measure(requests, count=requests)),
        )


def _same_tokens(pair: Pair) -> None:
    alone, through = pair.baseline.extra["tokens"], pair.ours.extra["tokens"]
    if alone != through:
        raise RuntimeError(f"not the same work: {alone} and {through} tokens")


async def _fill(first: int, count: int) -> None:
    async with Client() as client:
        await client.submit(line(number, AUTO_MODEL_NAME) for number in range(first, first + count))
