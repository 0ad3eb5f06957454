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
from chaos.schedule import BROKER_LINKS, STORE_LINKS, Kind, schedule
from chaos.servers import Servers, emulator, noida, outside, tansu
from chaos.stage import QUICK, CrewSpec, stage

_WORKER_COUNT = 3
_REAL_WORKER_COUNT = 2
_ENGINE_ARGS = (
    "--max-model-len 512 --max-num-seqs 8 --max-num-batched-tokens 512 --enforce-eager "
    "--kv-cache-memory-bytes 67108864 --dtype bfloat16"
)
_OF_THE_FAKE = (Kind.POISON, Kind.POISON_WORKER)
"""Faults that only the fake engine can produce."""
_STOPPED_FACTOR = 2.0
"""How many times its session or visibility a stopped worker sleeps."""
_WORKERS_ALONE = (
    Kind.KILL_WORKER,
    Kind.KILL_ENGINE,
    Kind.STOP_WORKER,
    Kind.TERM_WORKER,
    Kind.JOIN,
    Kind.LEAVE,
    Kind.POISON,
)


class QueuePlace(StrEnum):
    """Where a run's queue is."""

    TANSU = "tansu"
    """Kafka, durable: survives SIGKILL. Drops commit metadata."""
    NOIDA = "noida-db"
    """Kafka, with commit metadata and static members. Survives no SIGKILL, evicts nobody."""
    EMULATOR = "emulator"
    """SQS. Forgets everything at a SIGKILL."""
    OUTSIDE = "outside"
    """What BACKBURNER_TEST_QUEUE_URL and BACKBURNER_TEST_STORE_URL name: not ours to kill, and no proxy before it."""


KINDS: dict[QueuePlace, Sequence[Kind]] = {
    QueuePlace.TANSU: (*_WORKERS_ALONE, Kind.KILL_BROKER, Kind.KILL_STORE, *BROKER_LINKS, *STORE_LINKS),
    # It evicts nobody, so that a stopped member would keep its partitions; and its group stands still when a member
    # that keeps its name comes back while one without a name is there.
    QueuePlace.NOIDA: (
        Kind.KILL_WORKER,
        Kind.KILL_ENGINE,
        Kind.TERM_WORKER,
        Kind.JOIN,
        Kind.POISON,
        Kind.POISON_WORKER,
    ),
    QueuePlace.EMULATOR: (*_WORKERS_ALONE, Kind.POISON_WORKER, Kind.KILL_STORE, *BROKER_LINKS, *STORE_LINKS),
    QueuePlace.OUTSIDE: _WORKERS_ALONE,
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
    # A dead member of a broker that evicts nobody would keep its partitions: there each comes back by its name.
    keeps_marks = options.place is QueuePlace.NOIDA

    async def play(scene: Scene) -> None:
        crew = _real_crew(static=keeps_marks) if options.real else CrewSpec(_WORKER_COUNT, static=keeps_marks)
        async with stage(scene.servers, crew, scene.folder, seed=options.seed) as on:
            run = Run(
                on,
                scene.report,
                requests=options.requests,
                stopped_seconds=scene.servers.patience * _STOPPED_FACTOR,
                judged=keeps_marks,
            )
            await run.run(plan)

    return premises({"scenario": "chaos", **asdict(options)}, _starter(options.place), play)


def _real_crew(*, static: bool) -> CrewSpec:
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
    return CrewSpec(_REAL_WORKER_COUNT, static=static, model=AUTO_MODEL_NAME, settings=settings, real=True)


def _starter(place: QueuePlace) -> Callable[[Path], AbstractContextManager[Servers]]:
    if place is QueuePlace.OUTSIDE:
        queue, store = os.environ["BACKBURNER_TEST_QUEUE_URL"], os.environ["BACKBURNER_TEST_STORE_URL"]
        return partial(
            outside, queue_url=queue, store_url=store, endpoint=os.environ.get("BACKBURNER_TEST_STORE_ENDPOINT")
        )
    return {QueuePlace.TANSU: tansu, QueuePlace.NOIDA: noida, QueuePlace.EMULATOR: emulator}[place]


def place_of(queue: str, broker: str) -> QueuePlace:
    """The place that a command line names; outside servers, where the environment names some, come first."""
    if os.environ.get("BACKBURNER_TEST_QUEUE_URL"):
        return QueuePlace.OUTSIDE
    return QueuePlace.EMULATOR if queue == "sqs" else QueuePlace(broker)
