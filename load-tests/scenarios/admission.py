"""Whether `auto` reaches the best hand setting: the same worker, engine and requests with both.

One process holds one warm engine. Before the pairs, each of several hand settings has a round; the best of them is the
baseline of the pairs, which are measured anew. Each round is a new worker on the engine that stays: it knows nothing of
the requests yet, so what `auto` has to learn is on the clock.

The fake engine is paced as a real one and runs faster than that. Its workloads are bound by different things: places in
the batch, the KV cache, and a KV cache that many prompts share. The figure is that of the workload that does worst, and
each has a check.
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from backburner import Client
from backburner.local.engine_args import CPU_ARGS
from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from backburner_schemas.routing import pool_name
from measuring.child import Child, child
from measuring.figures import Check, Figures
from measuring.pairs import Measured, Pair, Side, interleaved
from measuring.prompts import messages
from measuring.servers import servers

_FAKE = "fake"
_SPEED_FACTOR = 20
"""Seconds of simulated time in one of real time."""
_STEP_SECONDS = 0.04
"""Seconds of its step. At that speed the worker's own part in it is still small, as beside a real engine."""

Lines = Callable[[int], Iterator[dict[str, Any]]]
"""That many requests, the same at each call."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one kind, and the engine that they are for."""

    name: str
    lines: Lines
    requests: int
    pace: str = ""
    """The fake engine's; empty for the real one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured on one of the engines."""

    scenario: str
    workloads: tuple[Workload, ...]
    hands: tuple[int, ...]
    """Requests in the engine at once, as someone who knows engines would try them."""
    goal: float


def admission(plan: Plan, pairs: int, *, quick: bool = False) -> Figures:
    """Run so many pairs of each workload. The ratio is the throughput of `auto` over that of the best hand setting.

    `quick` is a quarter of the requests: what has to be learned then takes a larger part.
    """
    real = not plan.workloads[0].pace
    model = str(prepare_auto_model(on_progress=print)) if real else _FAKE
    found: list[Figures] = []
    with servers(AUTO_MODEL_NAME if real else _FAKE) as settings:
        for workload in plan.workloads:
            env = {**os.environ, **settings, "BACKBURNER_LOG_LEVEL": "error", **_engine(model, workload)}
            with child("queued_worker", env=env) as worker:
                found.append(_compare(plan, workload, worker, pairs, quick=quick))
    worst = min(found, key=lambda figures: figures.ratio or 0.0)
    each = {figures.settings["workload"]: figures for figures in found}
    return replace(
        worst,
        checks=tuple(Check.of(name, one.ratio or 0.0, one.goal) for name, one in each.items() if len(each) > 1),
        details={
            "workload": worst.settings["workload"],
            "intervals": {name: (one.low, one.high) for name, one in each.items()},
            "hand_requests_per_s": {name: one.details["hands"] for name, one in each.items()},
        },
    )


def _compare(plan: Plan, workload: Workload, worker: Child, pairs: int, *, quick: bool) -> Figures:
    count = workload.requests // 4 if quick and workload.pace else workload.requests

    def side(name: str, concurrency: int) -> Side:
        def run(_number: int) -> Measured:
            # For this side alone: a worker takes in all that it finds.
            asyncio.run(_submit(workload, count))
            return worker.measure(count, count=count, concurrency=concurrency)

        return Side(name, run)

    rates: dict[int, float] = {}
    for hand in plan.hands:
        rates[hand] = side("", hand).run(0).rate
        print(f"{workload.name}, {hand} at once: {rates[hand]:.1f} requests/s", flush=True)
    best = max(rates, key=lambda hand: rates[hand])
    return Figures.of_pairs(
        plan.scenario,
        interleaved(pairs, side(f"{best} at once", best), side("auto", 0), check=_same_tokens),
        (f"{best} at once", "auto"),
        goal=plan.goal,
        against="the best hand setting",
        settings={"workload": workload.name, "requests": count, "pace": workload.pace, "hands": plan.hands},
        details={"hands": {str(hand): rate for hand, rate in rates.items()}},
        quick=quick,
    )


def _engine(model: str, workload: Workload) -> Mapping[str, str]:
    if workload.pace:
        return {
            "BACKBURNER_ENGINE": "fake",
            "BACKBURNER_POOL": _FAKE,
            "BACKBURNER_FAKE_PACE": f"{workload.pace},step={_STEP_SECONDS},speed={_SPEED_FACTOR}",
        }
    return {
        "BACKBURNER_ENGINE": "vllm",
        "BACKBURNER_MODEL": model,
        "BACKBURNER_ENGINE_ARGS": CPU_ARGS,
        "BACKBURNER_SERVED_NAME": AUTO_MODEL_NAME,
        "BACKBURNER_POOL": pool_name(AUTO_MODEL_NAME),
        "OMP_NUM_THREADS": "1",
    }


async def _submit(workload: Workload, count: int) -> None:
    async with Client() as client:
        await client.submit(workload.lines(count))


def _same_tokens(pair: Pair) -> None:
    hand, auto = pair.baseline.extra["tokens"], pair.ours.extra["tokens"]
    if hand != auto:
        raise RuntimeError(f"not the same work: {hand} and {auto} tokens")


# --- requests -----------------------------------------------------------------------------------------------------


def _short_answers(count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(1)
    for number in range(count):
        yield _fake_line(number, _words(number, chance.randint(10, 50)), _answer(chance, 60, 256), 256)


def _long_answers(count: int) -> Iterator[dict[str, Any]]:
    """Most of them far below what they ask for."""
    chance = random.Random(2)
    for number in range(count):
        yield _fake_line(number, _words(number, chance.randint(100, 200)), _answer(chance, 150, 1500), 4096)


def _shared_prefixes(count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(3)
    for number in range(count):
        shared = _words(-1 - number // 16, 400)
        yield _fake_line(number, f"{shared} {_words(number, 12)}", _answer(chance, 60, 256), 256)


def _chat(count: int) -> Iterator[dict[str, Any]]:
    """Of mixed lengths, for a real model; each generates all that it asks for."""
    chance = random.Random(4)
    for number in range(count):
        body = {
            "model": AUTO_MODEL_NAME,
            "messages": messages(chance.randrange(1_000_000)),
            "max_tokens": (8, 16, 32, 72)[number % 4],
            "temperature": 0,
            "ignore_eos": True,
        }
        yield _line(number, body)


def _fake_line(number: int, text: str, answer: int, limit: int) -> dict[str, Any]:
    said = [{"role": "user", "content": f"{text} [[tokens:{answer}]]"}]
    return _line(number, {"model": _FAKE, "messages": said, "max_tokens": limit})


def _line(number: int, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def _words(number: int, count: int) -> str:
    return " ".join(f"{number}w{place}" for place in range(count))


def _answer(chance: random.Random, mean: int, most: int) -> int:
    return max(1, min(most, round(chance.expovariate(1 / mean))))


FAKE = Plan(
    "admission",
    (
        Workload("short answers, bound by the batch", _short_answers, 1000, "sequences=64,kv=65536"),
        Workload("long answers, bound by the KV cache", _long_answers, 300, "sequences=64,kv=8192"),
        Workload("shared prefixes, bound by the KV cache", _shared_prefixes, 640, "sequences=64,kv=4096"),
    ),
    hands=(16, 32, 64, 128),
    goal=0.97,
)
REAL = Plan("admission-real", (Workload("chat of mixed lengths", _chat, 64),), hands=(8, 16, 24, 32), goal=0.9)
