"""Admission before the modelled engine, on a clock that is a number: what a worker does between feeder and engine.

A request that ends is replaced one step later than it could be, since the engine schedules its next step before the
worker has heard of the last one.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from backburner_schemas.codec import Origin
from backburner_schemas.envelope import AnswerMode, DeliveryFacts, Envelope
from backburner_schemas.names import Lane
from backburner_schemas.prefix import BLOCK_CHARACTERS, prefix_chain
from backburner_schemas.request import Endpoint
from backburner_worker.admission.admission import Admission
from backburner_worker.engine.base import EngineInfo, Usage
from backburner_worker.engine.fake.model import FakeModel, Pace, Sequence
from backburner_worker.policy import Run
from backburner_worker.scheduling.work import Work
from backburner_worker.sources.base import Delivery

LOOK_SECONDS = 0.25
BYTES_A_TOKEN = 5
FACTS = DeliveryFacts()


@dataclass(slots=True)
class Asked:
    """A request as the one who asks knows it, and what the model will answer."""

    prompt: int
    answer: int
    limit: int = 4096
    shared: int = 0
    """Number of the prefix that its prompt begins with; 0 for none of its own kind."""
    shared_tokens: int = 0
    job: str = "batch_x"


def pace_info(pace: Pace) -> EngineInfo:
    return EngineInfo(("m",), frozenset(Endpoint), "fake-1", kv_tokens=pace.kv, max_sequences=pace.sequences)


def text_of(number: int, asked: Asked) -> str:
    shared = (f"prefix {asked.shared} " * asked.shared_tokens)[: asked.shared_tokens * BYTES_A_TOKEN]
    own = (f"request {number} " * asked.prompt)[: max(0, asked.prompt - asked.shared_tokens) * BYTES_A_TOKEN]
    return shared + own


def work_of(admission: Admission, number: int, asked: Asked) -> Work:
    body = {"model": "m", "prompt": text_of(number, asked), "max_tokens": asked.limit}
    envelope = Envelope(
        tenant="t", job=asked.job, index=number, custom_id=f"c{number}", url=Endpoint.COMPLETIONS, body=body
    )
    raw = b"x" * (len(body["prompt"]) + 250)
    delivery = Delivery(envelope, raw, Origin("q", str(number), 0.0), Lane.NORMAL, FACTS, number)
    estimate = admission.estimate(envelope, len(raw))
    return Work(delivery, Run(envelope, AnswerMode.SEGMENT), estimate.tokens, prefix_chain(body), estimate)


@dataclass
class Simulated:
    """What came of a simulation."""

    seconds: float = 0.0
    steps: int = 0
    waiting: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    kv: list[float] = field(default_factory=list)
    limits: list[tuple[float, int, int]] = field(default_factory=list)
    preempted: int = 0


def simulate(
    pace: Pace, requests: Iterable[Asked], concurrency: int = 0, admission: Admission | None = None
) -> Simulated:
    """Run them all; how long that took on the model's clock."""
    admission = admission or Admission(pace_info(pace), concurrency)
    model = FakeModel(pace)
    found = Simulated()
    flying: dict[Sequence, tuple[Work, Asked]] = {}
    numbered: Iterator[tuple[int, Asked]] = iter(enumerate(requests))
    held: tuple[Work, Asked] | None = None
    heard: list[Sequence] = []
    looked = 0.0
    block = BLOCK_CHARACTERS // BYTES_A_TOKEN

    def admit() -> None:
        nonlocal held
        while admission.open:
            if held is None:
                following = next(numbered, None)
                if following is None:
                    return
                held = (work_of(admission, *following), following[1])
            work, asked = held
            if not admission.enter(work):
                return
            prefix = work.prefix[: asked.shared_tokens // block] if asked.shared else ()
            sequence = Sequence(asked.prompt, min(asked.answer, asked.limit), prefix, block)
            flying[sequence] = held
            model.add(sequence)
            held = None

    admit()
    while flying:
        seconds = model.begin()
        found.seconds += seconds
        found.steps += 1
        for sequence in heard:
            work, asked = flying.pop(sequence)
            admission.leave(work)
            work.estimate.learn(Usage(asked.prompt, sequence.generated))
        if found.seconds - looked >= LOOK_SECONDS:
            looked = found.seconds
            if (load := model.meter.load()) is not None:
                admission.observe(load, found.seconds)
                found.waiting.append(load.waiting)
                found.running.append(load.running)
                found.kv.append(load.kv_used)
                found.limits.append((round(found.seconds, 1), admission.sequence_limit, admission.token_limit))
                found.preempted = load.preempted
        admit()
        heard = model.end()
    return found


def spread(chance: random.Random, mean: float, most: int) -> int:
    """An answer's tokens, exponentially spread."""
    return max(1, min(most, round(chance.expovariate(1 / mean))))
