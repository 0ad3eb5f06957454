"""The scenario `chaos`: servers up, a crew of workers, faults from a seed, a verdict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from chaos.premises import Scene, premises
from chaos.report import Report
from chaos.running import Run
from chaos.schedule import BROKER_LINKS, STORE_LINKS, Kind, schedule
from chaos.servers import noida, tansu
from chaos.stage import Crew, stage

_WORKERS = 3


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
    keeps_marks = options.broker is BrokerKind.NOIDA

    async def play(scene: Scene) -> None:
        # A dead member of a broker that evicts nobody would keep its partitions: there each comes back by its name.
        crew = Crew(_WORKERS, static=keeps_marks)
        async with stage(scene.servers, crew, scene.folder, seed=options.seed) as on:
            stopped = 2 * float(scene.servers.settings["BACKBURNER_KAFKA_SESSION_SECONDS"])
            run = Run(on, scene.report, requests=options.requests, stopped_seconds=stopped, judged=keeps_marks)
            await run.run(plan)

    return premises({"scenario": "chaos", **asdict(options)}, noida if keeps_marks else tansu, play)


def kinds_of(broker: BrokerKind) -> Sequence[Kind]:
    """The faults that a broker can judge."""
    if broker is BrokerKind.NOIDA:
        return (Kind.KILL_WORKER, Kind.KILL_ENGINE, Kind.TERM_WORKER, Kind.JOIN, Kind.POISON, Kind.POISON_WORKER)
    return (
        *(Kind.KILL_WORKER, Kind.KILL_ENGINE, Kind.KILL_BROKER, Kind.KILL_STORE, Kind.STOP_WORKER, Kind.TERM_WORKER),
        *(Kind.JOIN, Kind.LEAVE, Kind.POISON, *BROKER_LINKS, *STORE_LINKS),
    )
