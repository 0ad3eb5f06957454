"""A queue with a resident worker, against vLLM's own batch program, which loads the model for each file.

Both answer the same file of mixed requests. The clock of `run_batch` is its wall time, start included; ours runs from
the submit to the last durable record. What `run_batch` does once it is warm is reported beside it.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from backburner_worker.engine.vllm.environment import prepare_environment
from measuring.engines import arguments
from measuring.figures import Figures
from measuring.pairs import Measured, Side, interleaved
from measuring.resident import resident_worker, same_tokens, submitted_and_done, write_requests
from measuring.servers import servers

GOAL_RATIO = 1.1
_PROGRAM = "vllm.entrypoints.openai.run_batch"
_RATE = re.compile(r"([0-9.]+)\s*(req/s|s/req)")


def run_batch(pairs: int, requests: int, *, threads: int = 1, quick: bool = False) -> Figures:
    """Run the pairs. The ratio is our requests a second of wall time over those of `run_batch`."""
    model = str(prepare_auto_model(on_progress=print))
    # What the worker sets for itself holds for the other side too.
    prepare_environment(model)
    with servers(AUTO_MODEL_NAME) as settings, tempfile.TemporaryDirectory(prefix="backburner-load-") as folder:
        env = {**os.environ, **settings, "OMP_NUM_THREADS": str(threads)}
        with resident_worker(model, env) as worker:
            found = interleaved(
                pairs,
                Side("run_batch", lambda number: _run_batch(model, env, Path(folder), number * requests, requests)),
                Side("queued", lambda number: submitted_and_done(worker, number * requests, requests)),
                check=same_tokens,
            )
    steady = [pair.baseline.extra["steady_rate"] for pair in found if pair.baseline.extra["steady_rate"]]
    ours = statistics.median(pair.ours.work / pair.ours.extra["steady_seconds"] for pair in found)
    return Figures.of_pairs(
        "run-batch",
        found,
        ("run_batch", "queued"),
        goal=GOAL_RATIO,
        against="vLLM's run_batch, wall time with its start",
        settings={"requests": requests, "threads": threads, "engine_args": arguments()},
        details={"steady_requests_per_s": {"run_batch": steady, "queued": ours}},
        notes=[
            *(
                f"Warm, run_batch did {statistics.median(steady):.1f} requests/s by its own account."
                for _ in steady[:1]
            ),
            f"Our worker did {ours:.1f} from its first pull to the last durable record.",
        ],
        quick=quick,
    )


def _run_batch(model: str, env: dict[str, str], folder: Path, first: int, count: int) -> Measured:
    given, answers = folder / "requests.jsonl", folder / "answers.jsonl"
    write_requests(given, first, count)
    answers.unlink(missing_ok=True)
    log = folder / "run_batch.log"
    argv = [sys.executable, "-m", _PROGRAM, "-i", str(given), "-o", str(answers), "--model", model]
    argv += ["--served-model-name", AUTO_MODEL_NAME, *arguments().split()]
    before, started = os.times(), time.monotonic()
    with log.open("wb") as file:
        ended = subprocess.run(argv, env=env, stdout=file, stderr=subprocess.STDOUT, check=False)
    seconds, after = time.monotonic() - started, os.times()
    said = log.read_text(errors="replace")
    if ended.returncode != 0:
        raise RuntimeError(f"run_batch ended with {ended.returncode}; its last output: {said[-2000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    answered = [json.loads(line) for line in answers.read_text().splitlines()]
    tokens = sum(one["response"]["body"]["usage"]["completion_tokens"] for one in answered)
    return Measured(seconds, cpu, count, {"tokens": tokens, "steady_rate": steady_rate(said)})


def steady_rate(log: str) -> float | None:
    """The requests a second in the last progress bar of the log; None if there is none."""
    found = _RATE.findall(log)
    if not found:
        return None
    value, unit = found[-1]
    return float(value) if unit == "req/s" else 1 / float(value)
