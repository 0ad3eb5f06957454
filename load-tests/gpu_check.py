"""Engine tests, and the scenarios that are about a GPU, with the GPU build of vLLM; skipped where none is.

python load-tests/gpu_check.py [--cpu] [--quick]

Figures go to docs/benchmarks/gpu, and the report has a section for them. `--cpu` runs the same with the CPU
build, to see that it works; its figures go to out/gpu-check and are not a GPU's. Exits with 1, and names what
failed, if a test or a scenario did.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench import run_all
from measuring.engines import Build, build
from report import write_report
from scenarios.catalogue import SCENARIOS

_ROOT = Path(__file__).parent.parent
_ON_CPU = "BACKBURNER_TEST_GPU_ON_CPU"
"""Allows the tests to run on the CPU build."""


def main(
    *,
    cpu: Annotated[bool, typer.Option("--cpu", help="With the CPU build: whether it runs, not how fast.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds, with wide intervals.")] = False,
) -> None:
    """Run the tests, then the scenarios."""
    wanted = Build.CPU if cpu else Build.GPU
    here = build()
    if here is not wanted:
        has = f"there is the {here} build" if here else "there is none that can run"
        remedy = "run `make setup`" if cpu else "install `backburner[worker]` where a GPU is, or pass CPU=1"
        print(f"gpu-check: skipped, it needs the {wanted} build of vLLM and {has}; {remedy}")
        return
    tests = [sys.executable, "-m", "pytest", "-q", "tests/gpu"]
    env = {**os.environ, **({_ON_CPU: "1"} if cpu else {})}
    failed = [] if subprocess.run(tests, cwd=_ROOT, env=env, check=False).returncode == 0 else ["tests/gpu"]
    runs = _ROOT / "out" / "gpu-check" if cpu else _ROOT / "docs" / "benchmarks" / "gpu"
    runs.mkdir(parents=True, exist_ok=True)
    ended = run_all([scenario for scenario in SCENARIOS if scenario.gpu], runs, quick=quick)
    if not cpu:
        write_report(_ROOT / "docs", readme=_ROOT / "README.md")
    for one in ended:
        print(one.row())
        if one.failed or (one.missed and not quick and not cpu):
            failed.append(one.name)
    if failed:
        print(f"gpu-check: failed: {', '.join(failed)}")
        raise typer.Exit(1)
    print(f"gpu-check: all of it ran on the {wanted} build; figures are in {runs}")


if __name__ == "__main__":
    typer.run(main)
