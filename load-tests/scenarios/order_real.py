"""What the order of a whole job gains on a real engine: file order, our queue alone, and a dispatcher's plan.

The job is shuffled and ten times as large as what the worker holds; the KV cache has room for 8 of its 64 passages. As
much of it is answered as shows the rate: in each of the orders, hits come as often at the job's beginning as later. A
warm engine answers in file order, as vLLM would; the other one is a worker's. That takes the job as it was submitted,
and puts what it holds in order; and then such a job, with passages of its own, from a dispatcher. Clocks run from the
first request that an engine could have to the last answer that is there: of the worker's, durable.
"""

import asyncio
import os
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from backburner import Client
from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from backburner.publishers import ensure_topics
from backburner.settings import Settings
from backburner_schemas.routing import pool_name
from measuring.child import Child, child
from measuring.figures import Check, Figures
from measuring.pairs import Measured, Pair
from measuring.part import part
from measuring.passages import JOB_PASSAGE_COUNT, JOB_REQUESTS, MAX_TOKENS, job_line
from measuring.servers import servers
from scenarios.prefix import engine_args

GOAL_RATIO = 3.0
UNDISPATCHED_GOAL_RATIO = 1.5
KV_PASSAGE_COUNT = 8
PARTITION_COUNT = 2
"""So that each has four times the passages that the cache has room for, as each of many has of a job of thousands: what
begins alike goes to one partition in any case, and of few passages on each that alone would be order enough."""
HELD_REQUESTS = JOB_REQUESTS // 10
"""What the worker holds before its engine."""
ANSWERED_REQUESTS = {"bare": 96, "undispatched": 192, "dispatched": 384}
"""Of the job, in each order: as many as take about as long."""
_QUICK_FACTOR = 4


def order_real(rounds: int, *, threads: int = 1, quick: bool = False) -> Figures:
    """Run the rounds, each with jobs of its own. The ratio is the dispatched rate over that of the bare engine."""
    model = str(prepare_auto_model(on_progress=print))
    counts = {name: count // (_QUICK_FACTOR if quick else 1) for name, count in ANSWERED_REQUESTS.items()}
    arguments = engine_args(KV_PASSAGE_COUNT)
    found: list[_Round] = []
    with servers(AUTO_MODEL_NAME, partitions=PARTITION_COUNT) as settings:
        env = {**os.environ, **settings, "OMP_NUM_THREADS": str(threads)}
        worker = {
            **env,
            "BACKBURNER_ENGINE": "vllm",
            "BACKBURNER_MODEL": model,
            "BACKBURNER_ENGINE_ARGS": arguments,
            "BACKBURNER_SERVED_NAME": AUTO_MODEL_NAME,
            "BACKBURNER_POOL": pool_name(AUTO_MODEL_NAME),
            "BACKBURNER_PREFETCH": str(HELD_REQUESTS),
        }
        with (
            child("bare_engine", "job", model, *arguments.split(), env=env) as engine,
            child("queued_worker", env=worker) as behind,
        ):
            for number in range(rounds):
                found.append(_round(number, engine, behind, counts))
                print(f"round {number + 1}: {found[-1].said}", flush=True)
    undispatched = statistics.median(one.dispatched.rate / one.undispatched.rate for one in found)
    return Figures.of_pairs(
        "order-real",
        [Pair(one.bare, one.dispatched) for one in found],
        ("AsyncLLM", "dispatched"),
        goal=GOAL_RATIO,
        against="AsyncLLM in file order",
        settings={
            "passages": JOB_PASSAGE_COUNT,
            "requests": JOB_REQUESTS,
            "held": HELD_REQUESTS,
            "partitions": PARTITION_COUNT,
            "answered": counts,
            "max_tokens": MAX_TOKENS,
            "threads": threads,
            "engine_args": arguments,
        },
        checks=[
            Check.of(
                "speed over the undispatched path",
                undispatched,
                UNDISPATCHED_GOAL_RATIO,
                against="our own queue and worker, the job as it was submitted",
            )
        ],
        details={
            "undispatched_per_s": [one.undispatched.rate for one in found],
            "cached": [[side.extra["cached"] for side in one.sides] for one in found],
        },
        quick=quick,
    )


@dataclass(frozen=True, slots=True)
class _Round:
    """One job in each of the three orders."""

    bare: Measured
    undispatched: Measured
    dispatched: Measured

    @property
    def sides(self) -> tuple[Measured, ...]:
        """All three."""
        return self.bare, self.undispatched, self.dispatched

    @property
    def said(self) -> str:
        """In a line."""
        parts = (f"{side.rate:.2f} requests/s, {side.extra['cached']:.0%} of the tokens cached" for side in self.sides)
        return "; ".join(f"{name} {part}" for name, part in zip(ANSWERED_REQUESTS, parts, strict=True))


def _round(number: int, engine: Child, behind: Child, counts: dict[str, int]) -> _Round:
    """Each order has a job of its own, so that none finds in a cache what another one left."""
    first = 3 * number * JOB_REQUESTS

    def bare() -> Measured:
        return engine.measure(counts["bare"], first=first, count=counts["bare"])

    def queued(name: str, start: int, *, stored: bool) -> Measured:
        with _queue(f"{name}-{number}", dispatcher=stored) as prefix:
            asyncio.run(_submit(start, stored=stored))
            return behind.measure(counts[name], count=counts[name], prefix=prefix)

    undispatched = queued("undispatched", first + JOB_REQUESTS, stored=False)
    return _Round(bare(), undispatched, queued("dispatched", first + 2 * JOB_REQUESTS, stored=True))


@contextmanager
def _queue(prefix: str, *, dispatcher: bool) -> Iterator[str]:
    """A queue of its own for a job that is not answered whole, so that nothing of it is left for the next."""
    before = os.environ.get("BACKBURNER_PREFIX")
    os.environ["BACKBURNER_PREFIX"] = prefix
    try:
        asyncio.run(ensure_topics(Settings.load(), pool_name(AUTO_MODEL_NAME)))
        with ExitStack() as stack:
            if dispatcher:
                stack.enter_context(part("backburner.dispatcher"))
            yield prefix
    finally:
        del os.environ["BACKBURNER_PREFIX"]
        if before is not None:
            os.environ["BACKBURNER_PREFIX"] = before


async def _submit(first: int, *, stored: bool) -> None:
    async with Client() as client:
        lines = (job_line(number, AUTO_MODEL_NAME) for number in range(first, first + JOB_REQUESTS))
        await client.submit(lines, stored=stored)
