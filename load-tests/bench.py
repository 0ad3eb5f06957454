"""Runs the scenarios of the list, one after the other, each in a process of its own, and prints how each ended.

python load-tests/bench.py [--folder docs] [--quick] [--only NAME]…

One that fails, or takes three times as long as it should, does not stop the rest. Figures go to
FOLDER/benchmarks/NAME.json, the report to FOLDER/benchmarks.md, and the scenarios' output to out/bench-logs. Exits
with 1, and names them, if any scenario failed, or if any did not reach its goal in a run that was not quick.
"""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from apache_kafka.java import find_java
from apache_kafka.release import KafkaMissing, find_jars
from measuring.servers import Broker
from report import write_report
from reporting.saved import load
from run import app as scenarios_app
from scenarios.catalogue import SCENARIOS, Scenario

_HERE = Path(__file__).parent
_ROOT = _HERE.parent
_SHORTEST_LIMIT_SECONDS = 600.0
_END_SECONDS = 120.0
_LOGS = _ROOT / "out" / "bench-logs"


@dataclass(frozen=True, slots=True)
class ScenarioRun:
    """One run of a scenario."""

    name: str
    """Of its file of figures."""
    words: tuple[str, ...]
    """What `run.py` is told."""
    minutes: float
    """About how long it takes on two cores."""
    on_apache: bool = False
    """Whether its broker is Apache Kafka."""

    def missing(self) -> str:
        """What it needs and is not on this machine; empty where all is there."""
        try:
            if self.on_apache:
                find_jars()
                find_java()
        except KafkaMissing as error:
            return str(error)
        return ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How one scenario ended."""

    name: str
    seconds: float
    failed: str = ""
    """Why there are no figures, empty if there are."""
    missed: tuple[str, ...] = ()
    """What was not reached."""

    def row(self) -> str:
        """A line of the summary."""
        how = f"FAILED: {self.failed}" if self.failed else "ran"
        if self.missed:
            how += f", NOT reached: {', '.join(self.missed)}"
        return f"{self.name:14} {self.seconds:6.0f} s  {how}"


def registered() -> set[str]:
    """The scenarios that `run.py` has."""
    return {command.name for command in scenarios_app.registered_commands if command.name}


def run_all(chosen: Sequence[Scenario], folder: Path, *, quick: bool) -> list[Ended]:
    """Run them, with their figures into that folder; what is not registered is reported and skipped."""
    known, ended = registered(), list[Ended]()
    for number, scenario in enumerate(chosen, 1):
        if scenario.name not in known:
            print(f"[{number}/{len(chosen)}] {scenario.name}: there is no such scenario here", flush=True)
            continue
        for run in runs_of(scenario):
            if missing := run.missing():
                print(f"[{number}/{len(chosen)}] {run.name} is left out: {missing}", flush=True)
                continue
            print(f"[{number}/{len(chosen)}] {run.name}, about {run.minutes:g} minutes in full", flush=True)
            ended.append(_run(run, folder / f"{run.name}.json", quick=quick))
            print(ended[-1].row(), flush=True)
    return ended


def runs_of(scenario: Scenario) -> Iterator[ScenarioRun]:
    """Its runs: the one, and a second on Apache Kafka where it has that."""
    yield ScenarioRun(scenario.name, (scenario.name,), scenario.minutes)
    if scenario.apache_minutes:
        words = (scenario.name, "--broker", Broker.APACHE.value)
        yield ScenarioRun(f"{scenario.name}-{Broker.APACHE}", words, scenario.apache_minutes, on_apache=True)


def limit(run: ScenarioRun) -> float:
    """Seconds after which it is given up: something in it hangs."""
    return max(_SHORTEST_LIMIT_SECONDS, 3 * 60 * run.minutes)


def _run(run: ScenarioRun, out: Path, *, quick: bool) -> Ended:
    name = run.name
    # Figures of an older run would pass for this one's if it failed.
    out.unlink(missing_ok=True)
    _LOGS.mkdir(parents=True, exist_ok=True)
    log, started = _LOGS / f"{name}.log", time.monotonic()
    argv = [sys.executable, str(_HERE / "run.py"), *run.words, "--json", str(out), *(["--quick"] if quick else [])]
    with log.open("w") as file:
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=file, text=True)
        assert process.stdout is not None
        late = threading.Event()
        watch = threading.Timer(limit(run), _give_up, [process, late])
        watch.start()
        for line in process.stdout:
            print(f"  {line}", end="", flush=True)
            file.write(line)
        status = process.wait()
        watch.cancel()
    seconds = time.monotonic() - started
    if late.is_set():
        return Ended(name, seconds, f"it did not end within {limit(run):.0f} s; see {log}")
    if not out.exists():
        return Ended(name, seconds, f"it ended with {status} and wrote no figures; see {log}")
    try:
        saved = load(out)
    except (ValueError, TypeError, json.JSONDecodeError) as error:
        return Ended(name, seconds, f"its figures cannot be read: {error}")
    return Ended(name, seconds, missed=tuple(saved.figures.missed))


def _give_up(process: "subprocess.Popen[str]", late: threading.Event) -> None:
    """Interrupt it, so that it ends its servers; kill it if it does not react."""
    late.set()
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def main(
    folder: Annotated[Path, typer.Option(help="Where benchmarks.md and benchmarks/ lie.")] = _ROOT / "docs",
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds: whether all of it runs.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="This scenario alone; may be given again.")] = None,
) -> None:
    """Run the scenarios and write the report."""
    chosen = [scenario for scenario in SCENARIOS if not only or scenario.name in only]
    unknown = set(only or ()) - {scenario.name for scenario in chosen}
    if unknown:
        raise typer.BadParameter(f"not in the list of load-tests/scenarios/catalogue.py: {', '.join(sorted(unknown))}")
    started = time.monotonic()
    if not quick:
        minutes = sum(run.minutes for scenario in chosen for run in runs_of(scenario))
        print(f"{len(chosen)} scenarios, about {minutes:.0f} minutes", flush=True)
    ended = run_all(chosen, folder / "benchmarks", quick=quick)
    page = write_report(folder, readme=_ROOT / "README.md" if folder.resolve() == _ROOT / "docs" else None)
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes; the report is {page}")
    for one in ended:
        print(one.row())
    if any(one.failed or (one.missed and not quick) for one in ended):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
