"""How long a cold worker takes to its first answer, against the bare engine.

Both are whole processes, from their start to the answer of the same chat request, with the same engine arguments,
environment and threads. The bare side has nothing but vLLM. Ours is `backburner-worker` as users start it: its request
waits on the queue already, and the clock stops when the answer is an object in the store. So our time has in it the
checks of pool and queue, a warm-up before `/readyz`, the group's join, the pull and the PUT.

What is not in it is how long a broker lets a new group wait for further members: that is the broker's setting (Kafka's
`group.initial.rebalance.delay.ms`), and on the Apache Kafka that is used here it is 0.
"""

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backburner import Client
from backburner.local.engine_args import CPU_ARGS
from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_worker.engine.vllm.environment import environment
from measuring.figures import Bound, Figures
from measuring.pairs import Measured, Pair, Side, interleaved
from measuring.prompts import line
from measuring.servers import Broker, servers

GOAL_RATIO = 1.05
_PROGRAM = Path(__file__).parents[1] / "programs" / "bare_start.py"
_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 300.0


def ready(pairs: int, *, threads: int = 1, quick: bool = False) -> Figures:
    """Run the pairs. The ratio is our seconds over the bare engine's, so 1.05 means that the queue costs 5 %."""
    model = str(prepare_auto_model(on_progress=print))
    with servers(AUTO_MODEL_NAME, broker=Broker.APACHE) as settings:
        env = {**os.environ, **settings, "OMP_NUM_THREADS": str(threads), "VLLM_LOGGING_LEVEL": "ERROR"}
        found = interleaved(
            pairs,
            Side("bare", lambda number: _bare(number, model, {**environment(model), **env})),
            Side("queued", lambda number: _queued(number, model, env)),
            check=_same_tokens,
        )
    return Figures.of_pairs(
        "ready",
        found,
        ("bare", "queued"),
        goal=GOAL_RATIO,
        bound=Bound.AT_MOST,
        ratio_of=lambda pair: pair.ours.seconds / pair.baseline.seconds,
        of="time to the first answer",
        unit="starts",
        against="bare engine, process start to first answer",
        settings={"threads": threads, "engine_args": CPU_ARGS},
        quick=quick,
    )


def _bare(number: int, model: str, env: Mapping[str, str]) -> Measured:
    body = json.dumps(line(number, AUTO_MODEL_NAME)["body"])
    arguments = ("--model", model, "--served-model-name", AUTO_MODEL_NAME, *CPU_ARGS.split())
    spent, started = _children_seconds(), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(_PROGRAM), body, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=dict(env),
    )
    assert process.stdout is not None
    answer = next((json.loads(text) for text in process.stdout if text.startswith("{")), None)
    seconds = time.monotonic() - started
    process.wait()
    if answer is None:
        raise RuntimeError(f"the bare engine ended with {process.returncode}; its last output is above")
    return Measured(seconds, _children_seconds() - spent, extra=answer)


def _queued(number: int, model: str, env: Mapping[str, str]) -> Measured:
    return asyncio.run(_first_answer(number, model, env))


async def _first_answer(number: int, model: str, env: Mapping[str, str]) -> Measured:
    async with Client() as client:
        handle = await client.enqueue(body=line(number, AUTO_MODEL_NAME)["body"])
    worker = {
        **env,
        "BACKBURNER_ENGINE": "vllm",
        "BACKBURNER_MODEL": model,
        "BACKBURNER_ENGINE_ARGS": CPU_ARGS,
        "BACKBURNER_SERVED_NAME": AUTO_MODEL_NAME,
    }
    storage = Storage.open(Settings.load())
    spent, started = _children_seconds(), time.monotonic()
    # Started as the bare one is; it takes a millisecond.
    process = subprocess.Popen([sys.executable, "-m", "backburner_worker"], env=worker)  # noqa: ASYNC220
    try:
        while (stored := await storage.get(handle.key)) is None:
            if process.poll() is not None or time.monotonic() - started > _PATIENCE_SECONDS:
                raise RuntimeError(f"the worker did not answer (exit status {process.returncode}); its log is above")
            await asyncio.sleep(_POLL_SECONDS)
        seconds = time.monotonic() - started
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait()
    record: dict[str, Any] = json.loads(stored.data)
    tokens = record["response"]["body"]["usage"]["completion_tokens"]
    return Measured(seconds, _children_seconds() - spent, extra={"tokens": tokens})


def _children_seconds() -> float:
    """CPU seconds of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _same_tokens(pair: Pair) -> None:
    if pair.baseline.extra["tokens"] != pair.ours.extra["tokens"]:
        raise RuntimeError(f"not the same work: {pair.baseline.extra} and {pair.ours.extra} tokens")
