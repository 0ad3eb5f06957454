"""What the queue costs: the same chat requests through vLLM alone, and through broker → worker → store.

Both sides keep one process warm with the same engine arguments and threads. Rounds are interleaved, and who goes first
changes from pair to pair, because the machine's speed drifts.
"""

import asyncio
import os
import statistics

from child import child
from figures import Figures, quartiles
from prompts import line
from servers import servers

from backburner import Client
from backburner.local.engine_args import CPU_ARGS
from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from backburner_schemas.routing import pool_name

GOAL = 0.95


def overhead(pairs: int, requests: int, *, threads: int = 1) -> Figures:
    """Run the pairs. The ratio is queued throughput over bare throughput, so 0.95 means that the queue costs 5 %."""
    model = str(prepare_auto_model(on_progress=print))
    arguments = CPU_ARGS.split()
    with servers(AUTO_MODEL_NAME) as settings:
        env = {**os.environ, **settings, "OMP_NUM_THREADS": str(threads)}
        worker_env = {
            **env,
            "BACKBURNER_ENGINE": "vllm",
            "BACKBURNER_MODEL": model,
            "BACKBURNER_ENGINE_ARGS": CPU_ARGS,
            "BACKBURNER_SERVED_NAME": AUTO_MODEL_NAME,
            "BACKBURNER_POOL": pool_name(AUTO_MODEL_NAME),
        }
        with (
            child("bare_engine.py", model, *arguments, env=env) as bare,
            child("queued_worker.py", env=worker_env) as queued,
        ):
            rows = []
            for pair in range(pairs):
                first = pair * requests
                asyncio.run(_fill(first, requests))

                def run_bare(first: int = first) -> dict[str, float]:
                    return bare.ask({"first": first, "count": requests})

                def run_queued() -> dict[str, float]:
                    return queued.ask({"count": requests})

                if pair % 2:
                    through = run_queued()
                    alone = run_bare()
                else:
                    alone = run_bare()
                    through = run_queued()
                row = {
                    "bare_s": alone["seconds"],
                    "queued_s": through["seconds"],
                    "ratio": alone["seconds"] / through["seconds"],
                    "bare_cpu_s": alone["cpu_seconds"],
                    "queued_cpu_s": through["cpu_seconds"],
                }
                rows.append(row)
                print(
                    f"pair {pair + 1:2}: bare {row['bare_s']:6.2f} s, queued {row['queued_s']:6.2f} s, "
                    f"ratio {row['ratio']:.3f}; CPU {row['bare_cpu_s']:.1f} s and {row['queued_cpu_s']:.1f} s",
                    flush=True,
                )
    low, median, high = quartiles([row["ratio"] for row in rows])
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
            "pairs": rows,
            "requests": requests,
            "threads": threads,
            "engine_args": CPU_ARGS,
        },
    )


async def _fill(first: int, count: int) -> None:
    async with Client() as client:
        await client.submit(line(number, AUTO_MODEL_NAME) for number in range(first, first + count))
