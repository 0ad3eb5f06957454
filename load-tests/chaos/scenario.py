"""The scenario `chaos`: servers up, a crew of workers, faults from a seed, a verdict. Everything is gone afterwards."""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from chaos.report import Report
from chaos.running import Crew, Run
from chaos.schedule import BROKER_LINKS, STORE_LINKS, Kind, schedule
from chaos.servers import noida, tansu

_WORKERS = 3

# Short times, so that ends come soon; the grace still covers marker, segment and drain, as it must.
_QUICK = {
    "BACKBURNER_FREEZE_GRACE_SECONDS": "4",
    "BACKBURNER_MARKER_SECONDS": "0.25",
    "BACKBURNER_SWEEP_SECONDS": "1",
    "BACKBURNER_SEGMENT_MIN_AGE_SECONDS": "0.2",
    "BACKBURNER_SEGMENT_MAX_AGE_SECONDS": "1",
    "BACKBURNER_DRAIN_SECONDS": "2",
    "BACKBURNER_RETRY_BASE_SECONDS": "0.2",
    "BACKBURNER_RETRY_MAX_SECONDS": "1",
    "BACKBURNER_HTTP_HOST": "127.0.0.1",
    # Few at once, so that a batch lasts as long as its fault.
    "BACKBURNER_CONCURRENCY": "8",
}
_FAKE = {
    "BACKBURNER_ENGINE": "fake",
    "BACKBURNER_MODEL": "fake",
    "BACKBURNER_FAKE_LATENCY_SECONDS": "0.05",
    "BACKBURNER_FAKE_PROCESS": "true",
}


class BrokerKind(StrEnum):
    """Kafka brokers that a run can bring up."""

    TANSU = "tansu"
    """Durable: survives SIGKILL. Drops commit metadata."""
    NOIDA = "noida-db"
    """Keeps commit metadata and static members. Survives no SIGKILL, evicts nobody."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is told."""

    seed: int
    faults: int
    requests: int
    broker: BrokerKind


def chaos(options: Options) -> Report:
    """Run it all; servers and workers are gone afterwards, and so are their logs if every promise was kept."""
    plan = schedule(options.seed, options.faults, kinds_of(options.broker))
    print(f"seed {options.seed}: " + ", ".join(fault.kind.value for fault in plan), flush=True)
    folder = Path(tempfile.mkdtemp(prefix="backburner-chaos-"))
    # What the client libraries say while servers are away.
    logging.basicConfig(filename=folder / "harness.log", level=logging.INFO, force=True)
    keeps_marks = options.broker is BrokerKind.NOIDA
    with (noida if keeps_marks else tansu)(folder) as servers:
        # A dead member of a broker that evicts nobody would keep its partitions: there each comes back by its name.
        session = float(servers.settings["BACKBURNER_KAFKA_SESSION_SECONDS"])
        crew = Crew("fake", _WORKERS, {**_QUICK, **_FAKE}, static=keeps_marks, stopped_seconds=session * 2)
        run = Run(servers, crew, requests=options.requests, seed=options.seed, folder=folder, judged=keeps_marks)
        report = asyncio.run(run.run(plan))
    report.command = {"scenario": "chaos", **asdict(options)}
    if report.kept:
        shutil.rmtree(folder)
    else:
        print(f"logs and journals are in {folder}", flush=True)
    return report


def kinds_of(broker: BrokerKind) -> Sequence[Kind]:
    """The faults that a broker can judge."""
    if broker is BrokerKind.NOIDA:
        return (Kind.KILL_WORKER, Kind.KILL_ENGINE, Kind.TERM_WORKER, Kind.JOIN, Kind.POISON, Kind.POISON_WORKER)
    return (
        *(Kind.KILL_WORKER, Kind.KILL_ENGINE, Kind.KILL_BROKER, Kind.KILL_STORE, Kind.STOP_WORKER, Kind.TERM_WORKER),
        *(Kind.JOIN, Kind.LEAVE, Kind.POISON, *BROKER_LINKS, *STORE_LINKS),
    )
