"""What happens to a delivery: whether it is run, and how it ends. Pure decisions; nothing is read or written here."""

from dataclasses import dataclass

from backburner_schemas.codec import Refused, Unaddressed
from backburner_schemas.envelope import Address, Envelope
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


@dataclass(frozen=True, slots=True)
class Run:
    """Give it to the engine."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Complete:
    """It ends with one error record."""

    address: Address
    error: BackburnerError


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """It ends as a dead letter, and with an error record too if it has an address."""

    address: Address | None
    error: BackburnerError


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
    if facts.cancelled:
        return Complete(address, Cancelled())
    if isinstance(message, Refused):
        return Complete(address, message.error)
    deadline = message.deadline
    if deadline is None and facts.manifest is not None:
        deadline = facts.manifest.deadline
    if deadline is not None and now > deadline:
        return Complete(address, Expired())
    return Run(message)


def after_failure(envelope: Envelope, error: BackburnerError) -> Complete | DeadLettered:
    """How a request ends that the engine could not answer: what a retry could mend is kept as a dead letter too."""
    if isinstance(error, EngineError):
        return DeadLettered(envelope.address, error)
    return Complete(envelope.address, error)


def _no_place_in(address: Address, facts: JobFacts) -> str | None:
    """Why a job with a manifest has no such index, if so."""
    if facts.manifest is None:
        return None
    if not isinstance(address.index, int):
        return f"job {address.job} has a manifest, so its indexes are integers; {address.index!r} is none"
    if facts.sealed is not None and address.index >= facts.sealed.total:
        return f"job {address.job} has {facts.sealed.total} requests; there is no index {address.index}"
    return None
