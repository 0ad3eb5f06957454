"""What happens to a delivery: whether it is run, and how it ends. Pure decisions; nothing is read or written here."""

from collections.abc import Iterator
from dataclasses import dataclass

from backburner_schemas.codec import Refused, Unaddressed
from backburner_schemas.envelope import Address, AnswerMode, Envelope
from backburner_schemas.errors import BackburnerError, Cancelled, EngineError, Expired, Undeliverable
from backburner_schemas.job import JobManifest, Sealed
from backburner_worker.sources.base import Delivery


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a worker knows of a job. Streams and single requests have no manifest."""

    manifest: JobManifest | None = None
    sealed: Sealed | None = None
    frozen: bool = False
    cancelled: bool = False
    unreadable: bool = False
    """Whether the job's own objects hold something else than they should."""


@dataclass(frozen=True, slots=True)
class Run:
    """Give it to the engine."""

    envelope: Envelope
    answer: AnswerMode
    """Where the record goes."""


@dataclass(frozen=True, slots=True)
class Complete:
    """It ends with one error record."""

    address: Address
    error: BackburnerError
    answer: AnswerMode = AnswerMode.SEGMENT


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """It ends as a dead letter, and with an error record too if it has an address."""

    address: Address | None
    error: BackburnerError
    answer: AnswerMode = AnswerMode.SEGMENT


@dataclass(frozen=True, slots=True)
class Drop:
    """Its job is frozen: nobody would read a record."""


Verdict = Run | Complete | DeadLettered | Drop


def judge(delivery: Delivery, facts: JobFacts, now: float) -> Verdict:
    """What to do with a delivery before it goes to the engine. `now` is in Unix seconds."""
    message = delivery.message
    if isinstance(message, Unaddressed):
        return DeadLettered(None, message.error)
    address = message.address
    if facts.frozen:
        return Drop()
    if (reason := _no_place_in(address, facts)) is not None:
        return DeadLettered(None, Undeliverable(reason))
    # A job's end is told from its segments alone, so all of its records go there.
    answer = AnswerMode.SEGMENT if facts.manifest is not None else message.answer
    if facts.cancelled:
        return Complete(address, Cancelled(), answer)
    if isinstance(message, Refused):
        return Complete(address, message.error, answer)
    if now > min(_deadlines(message, facts), default=now):
        return Complete(address, Expired(), answer)
    return Run(message, answer)


def after_failure(run: Run, error: BackburnerError) -> Complete | DeadLettered:
    """How a request ends that the engine could not answer: what a retry could mend is kept as a dead letter too."""
    ending = DeadLettered if isinstance(error, EngineError) else Complete
    return ending(run.envelope.address, error, run.answer)


def _deadlines(envelope: Envelope, facts: JobFacts) -> Iterator[float]:
    if envelope.deadline is not None:
        yield envelope.deadline
    if facts.manifest is not None:
        yield facts.manifest.deadline


def _no_place_in(address: Address, facts: JobFacts) -> str | None:
    """Why the job has no such index, if so."""
    if facts.unreadable:
        return f"the objects of job {address.job} in the store cannot be read; look at its job.json and sealed.json"
    if facts.manifest is None:
        return None
    if not isinstance(address.index, int):
        return f"job {address.job} has a manifest, so its indexes are integers; {address.index!r} is none"
    if facts.sealed is not None and address.index >= facts.sealed.total:
        return f"job {address.job} has {facts.sealed.total} requests; there is no index {address.index}"
    return None
