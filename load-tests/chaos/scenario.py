"""The scenario `chaos`: servers up, a crew of workers, faults from a seed, a verdict."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model
from chaos.premises import Scene, premises
from chaos.report import Report
from chaos.running import Run
from chaos.schedule import BROKER_LINKS, SERVICE_FAULTS, STORE_LINKS, Kind, schedule
from chaos.servers import Servers, apache, emulator, outside, tansu
from chaos.stage import FAKE, QUICK, CrewSpec, stage

_WORKER_COUNT = 3
_REAL_WORKER_COUNT = 2
_CLUSTER_BROKER_COUNT = 3
_ENGINE_ARGS = (
    "--max-model-len 512 --max-num-seqs 8 --max-num-batched-tokens 512 --enforce-eager "
    "--kv-cache-memory-bytes 67108864 --dtype bfloat16"
)
_OF_THE_FAKE = (Kind.POISON, Kind.POISON_WORKER)
"""Faults that only the fake engine can produce."""
_STOPPED_FACTOR = 2.0
"""How many times its session or visibility a stopped worker sleeps."""
_NAMED_COUNT = 1
"""Workers that keep their names, where the broker knows static members."""
_PARTS_ALONE = (
    Kind.KILL_WORKER,
    Kind.KILL_ENGINE,
    Kind.STOP_WORKER,
    Kind.TERM_WORKER,
    Kind.JOIN,
    Kind.LEAVE,
    Kind.POISON,
    *SERVICE_FAULTS,
)
_APACHE = (
    *_PARTS_ALONE,
    Kind.POISON_WORKER,
    Kind.KILL_BROKER,
    Kind.STOP_BROKER,
    Kind.RESTART_BROKERS,
    Kind.KILL_STORE,
    *BROKER_LINKS,
    *STORE_LINKS,
)


class QueuePlace(StrEnum):
    """Where a run's queue is."""

    TANSU = "tansu"
    """Kafka, durable: survives SIGKILL. Drops commit metadata."""
    APACHE = "apache"
    """Apache Kafka, one broker. Keeps commit metadata, and static members."""
    CLUSTER = "apache of three"
    """Apache Kafka, three brokers: every topic on all of them, two of which have to be in sync."""
    EMULATOR = "emulator"
    """SQS. Forgets everything at a SIGKILL."""
    OUTSIDE = "outside"
    """What BACKBURNER_TEST_QUEUE_URL and BACKBURNER_TEST_STORE_URL name: not ours to kill, and no proxy before it."""


KINDS: dict[QueuePlace, Sequence[Kind]] = {
    QueuePlace.TANSU: (*_PARTS_ALONE, Kind.KILL_BROKER, Kind.KILL_STORE, *BROKER_LINKS, *STORE_LINKS),
    QueuePlace.APACHE: _APACHE,
    QueuePlace.CLUSTER: (*_APACHE, Kind.MOVE_LEADERS, Kind.MOVE_COORDINATOR),
    QueuePlace.EMULATOR: (*_PARTS_ALONE, Kind.POISON_WORKER, Kind.KILL_STORE, *BROKER_LINKS, *STORE_LINKS),
    QueuePlace.OUTSIDE: _PARTS_ALONE,
}
"""The faults that can be judged there."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run."""

    seed: int
    faults: int
    requests: int
    place: QueuePlace
    real: bool = False
    """Whether the workers hold the real vLLM with a small model."""


def chaos(options: Options) -> Report:
    """Run it all; servers and workers are gone afterwards, and so are their logs if every promise was kept."""
    kinds = [kind for kind in KINDS[options.place] if not (options.real and kind in _OF_THE_FAKE)]
    plan = schedule(options.seed, options.faults, kinds)
    print(f"seed {options.seed}: " + ", ".join(fault.kind.value for fault in plan), flush=True)

    async def play(scene: Scene) -> None:
        crew = _real_crew() if options.real else fake_crew(options.place, scene.servers)
        async with stage(scene.servers, crew, scene.folder, seed=options.seed) as on:
            run = Run(
                on,
                scene.report,
                requests=options.requests,
                stopped_seconds=scene.servers.patience * _STOPPED_FACTOR,
                judged=scene.servers.keeps_marks,
            )
            await run.run(plan)

    return premises({"scenario": "chaos", **asdict(options)}, starter(options.place), play)


def fake_crew(place: QueuePlace, servers: Servers) -> CrewSpec:
    """Workers with the fake engine, gateway and dispatchers, as that place can bear them."""
    named = {QueuePlace.APACHE: _NAMED_COUNT, QueuePlace.CLUSTER: _NAMED_COUNT}
    settings = {**QUICK, **FAKE, "BACKBURNER_MODEL": servers.model}
    return CrewSpec(_WORKER_COUNT, named=named.get(place, 0), services=True, model=servers.model, settings=settings)


def _real_crew() -> CrewSpec:
    """Two workers with the real vLLM on the CPU. Makes the model at the first run."""
    folder = prepare_auto_model(on_progress=print)
    settings = {
        **QUICK,
        "BACKBURNER_ENGINE": "vllm",
        "BACKBURNER_MODEL": str(folder),
        "BACKBURNER_SERVED_NAME": AUTO_MODEL_NAME,
        "BACKBURNER_ENGINE_ARGS": _ENGINE_ARGS,
        # Two engines share the cores with everything else.
        "OMP_NUM_THREADS": "1",
    }
    return CrewSpec(_REAL_WORKER_COUNT, services=True, model=AUTO_MODEL_NAME, settings=settings, real=True)


def starter(place: QueuePlace) -> Callable[[Path], AbstractContextManager[Servers]]:
    """What brings up the servers of that place, with their data in a folder."""
    if place is QueuePlace.OUTSIDE:
        queue, store = os.environ["BACKBURNER_TEST_QUEUE_URL"], os.environ["BACKBURNER_TEST_STORE_URL"]
        return partial(
            outside, queue_url=queue, store_url=store, endpoint=os.environ.get("BACKBURNER_TEST_STORE_ENDPOINT")
        )
    starters: dict[QueuePlace, Callable[[Path], AbstractContextManager[Servers]]] = {
        QueuePlace.TANSU: tansu,
        QueuePlace.APACHE: partial(apache, brokers=1),
        QueuePlace.CLUSTER: partial(apache, brokers=_CLUSTER_BROKER_COUNT),
        QueuePlace.EMULATOR: emulator,
    }
    return starters[place]


def place_of(queue: str, broker: str, brokers: int) -> QueuePlace:
    """The place that a command line names; outside servers, where the environment names some, come first.

    Raises `ValueError` for more brokers than one of a queue that has but one, or another number than three.
    """
    if os.environ.get("BACKBURNER_TEST_QUEUE_URL"):
        return QueuePlace.OUTSIDE
    if brokers != 1:
        if (queue, broker, brokers) != ("kafka", QueuePlace.APACHE, _CLUSTER_BROKER_COUNT):
            raise ValueError(f"--brokers {brokers}: there is one, or {_CLUSTER_BROKER_COUNT} of --broker apache")
        return QueuePlace.CLUSTER
    return QueuePlace.EMULATOR if queue == "sqs" else QueuePlace(broker)
