"""A queue with a resident worker, against Ray Data's batch inference with vLLM, on the same model and requests.

Ray is no dependency of ours. It is installed into an environment of its own, which sees this one's vLLM; where that
does not work the scenario is skipped with the reason. Ray Data creates its engine anew for each dataset, so its clock
is its wall time, start included; ours runs from the submit to the last durable record. What it does once its engine is
warm is reported beside it.
"""

import json
import os
import statistics
import subprocess
import sysconfig
import tempfile
import venv
from pathlib import Path

from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from backburner_worker.engine.vllm.environment import prepare_environment
from measuring.engines import Build, arguments, build
from measuring.figures import Figures
from measuring.pairs import Measured, Side, interleaved
from measuring.resident import resident_worker, same_tokens, submitted_and_done, write_requests
from measuring.servers import servers

GOAL_RATIO = 1.3
REQUIREMENT = "ray[data]==2.60.0"
_AGAINST = "Ray Data LLM, wall time with its start"
_ROOT = Path(__file__).parents[2]
_PROGRAM = _ROOT / "load-tests" / "programs" / "ray_batch.py"
_PLACE = _ROOT / "out" / "ray-venv"


class RayMissing(Exception):
    """Ray is not here and cannot be installed; the text says why."""


def ray_data(pairs: int, requests: int, *, threads: int = 1, quick: bool = False) -> Figures:
    """Run the pairs. The ratio is our requests a second of wall time over those of Ray Data."""
    model = str(prepare_auto_model(on_progress=print))
    # What the worker sets for itself holds for the other side too.
    prepare_environment(model)
    try:
        python = ray_python()
    except RayMissing as missing:
        return Figures.skip("ray", str(missing), goal=GOAL_RATIO, against=_AGAINST)
    with servers(AUTO_MODEL_NAME) as settings, tempfile.TemporaryDirectory(prefix="backburner-load-") as folder:
        env = {**os.environ, **settings, "OMP_NUM_THREADS": str(threads), "RAY_USAGE_STATS_ENABLED": "0"}
        env["BENCH_GPUS"] = "1" if build() is Build.GPU else "0"
        given = Path(folder, "requests.jsonl")
        with resident_worker(model, env) as worker:
            found = interleaved(
                pairs,
                Side("Ray Data", lambda number: _ray([python, str(_PROGRAM), model], env, given, number, requests)),
                Side("queued", lambda number: submitted_and_done(worker, number * requests, requests)),
                check=same_tokens,
            )
    theirs = statistics.median(pair.baseline.work / pair.baseline.extra["steady_seconds"] for pair in found)
    ours = statistics.median(pair.ours.work / pair.ours.extra["steady_seconds"] for pair in found)
    return Figures.of_pairs(
        "ray",
        found,
        ("Ray Data", "queued"),
        goal=GOAL_RATIO,
        against=_AGAINST,
        settings={"requests": requests, "threads": threads, "engine_args": arguments(), "ray": REQUIREMENT},
        details={"steady_requests_per_s": {"Ray Data": theirs, "queued": ours}},
        notes=[
            f"From the first request that its engine took to the last row, Ray Data did {theirs:.1f} requests/s.",
            f"Our worker did {ours:.1f} from its first pull to the last durable record.",
        ],
        quick=quick,
    )


def ray_python() -> str:
    """A Python that has Ray and this environment's vLLM; BENCH_RAY_PYTHON names one of your own.

    Raises `RayMissing`.
    """
    own = os.environ.get("BENCH_RAY_PYTHON")
    if own:
        return own
    python = _PLACE / "bin" / "python"
    if not python.exists():
        print(f"installing {REQUIREMENT} into {_PLACE}", flush=True)
        venv.create(_PLACE, with_pip=True)
        site = sysconfig.get_path("purelib", vars={"base": str(_PLACE), "platbase": str(_PLACE)})
        # vLLM, and what it needs, from here; what is installed there goes first.
        Path(site, "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    argv = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", REQUIREMENT]
    for command in (argv, [str(python), "-c", "import ray.data.llm, vllm"]):
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            why = (ended.stderr.strip().splitlines() or ["it gave no reason"])[-1]
            raise RayMissing(f"{REQUIREMENT} cannot be installed beside this vLLM: {why}")
    return str(python)


def _ray(program: list[str], env: dict[str, str], given: Path, number: int, count: int) -> Measured:
    log = given.with_name("ray.log")
    write_requests(given, number * count, count)
    with log.open("wb") as file:
        ended = subprocess.run(
            [*program, str(given), *arguments().split()],
            env=env,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            check=False,
        )
    if ended.returncode != 0:
        said = log.read_text(errors="replace")
        raise RuntimeError(f"Ray Data ended with {ended.returncode}; its last output: {said[-2000:]}")
    found = json.loads(ended.stdout.splitlines()[-1])
    if found["rows"] != count:
        raise RuntimeError(f"Ray Data answered {found['rows']} of {count}")
    return Measured(found.pop("seconds"), found.pop("cpu_seconds"), count, found)
