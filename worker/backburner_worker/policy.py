"""Decides what happens to a delivery: whether it runs, and how it ends. Pure; nothing is read or written here."""

import math
from dataclasses import dataclass, replace
from typing import Self

from backburner_schemas.codec import MAX_RETRY_DELAY_SECONDS, Refused, Unaddressed
from backburner_schemas.envelope import MAX_ATTEMPTS, Address, AnswerMode, DeliveryFacts, Envelope
from backburner_schemas.errors import (
    BackburnerError,
    Cancelled,
    EngineError,
    EngineLost,
    Expired,
    PoisonRequest,
    RunsElsewhere,
    Undeliverable,
    cut,
)
from backburner_schemas.job import JobManifest, Sealed
from backburner_worker.sources.base import Delivery

_MAX_QUOTED_BYTES = 900
"""Of the last error in one that says why it was given up, so that it says so in any case."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What a worker knows of a job: of its objects only what decides, since thousands of jobs are remembered.

    Streams and single requests have no manifest.
    """

    created_at: float | None = None
    """Unix seconds; None where there is no manifest."""
    deadline: float = math.inf
    """Unix seconds."""
    total: int | None = None
    """Its requests; None until it is sealed."""
    frozen: bool = False
    cancelled: bool = False
    unreadable: bool = False
    """Whether the job's own objects could not be parsed."""

    @classmethod
    def of(cls, manifest: JobManifest | None, sealed: Sealed | None = None, *, frozen: bool = False) -> Self:
        """What these objects say."""
        total = sealed.total if sealed is not None else None
        if manifest is None:
            return cls(total=total, frozen=frozen)
        return cls(manifest.created_at, manifest.deadline, total, frozen)

    @property
    def has_manifest(self) -> bool:
        """Whether it is a job with an end, which its segments alone tell."""
        return self.created_at is not None


@dataclass(slots=True)  # not frozen: the verdict on nearly every message would cost four times as much
class Run:
    """It goes to the engine."""

    envelope: Envelope
    answer: AnswerMode
    """Where the record goes."""
    deadline: float = math.inf
    """Unix seconds after which it is not started."""


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


@dataclass(frozen=True, slots=True)
class AlreadyAnswered:
    """An earlier delivery of it has its response in the store."""


End = Complete | DeadLettered | Drop | AlreadyAnswered
"""Ways to end without a run, or after one that failed."""
Verdict = Run | End


@dataclass(frozen=True, slots=True)
class Retry:
    """It is put back onto the queue, and runs again."""

    envelope: Envelope
    facts: DeliveryFacts
    error: BackburnerError
    """Why."""
    answer: AnswerMode = AnswerMode.SEGMENT
    """Where a record goes if it cannot be put back."""

    @property
    def has_failed(self) -> bool:
        """Whether an attempt failed; else another worker runs a copy of it, and it only waits for the end of that."""
        return not isinstance(self.error, RunsElsewhere)

    @property
    def kind(self) -> str:
        """Its label in metrics and logs."""
        return "retried"

    @property
    def code(self) -> str:
        """The error's code."""
        return self.error.code


@dataclass(frozen=True, slots=True)
class RetryRules:
    """How often a request is tried, and how far apart."""

    max_attempts: int = 5
    base: float = 1.0
    """Seconds before the second attempt at most; twice as many before each further one."""
    longest: float = 60.0
    """Seconds between two attempts at most."""

    def delay(self, attempt: int, chance: float) -> float:
        """Seconds to wait after that attempt failed: a random part of the back-off, so that retries spread out."""
        # Beyond 2^32 times the base nothing changes any more, and a float would overflow.
        return chance * min(self.longest, self.base * 2.0 ** min(attempt - 1, 32))


def judge(delivery: Delivery, facts: JobFacts, now: float) -> Verdict:
    """What to do with a delivery before it goes to the engine.

    `now` is in Unix seconds by the store's clock; at -inf, which stands for a clock that is not known, nothing is late.
    """
    message = delivery.message
    if isinstance(message, Unaddressed):
        return DeadLettered(None, message.error)
    address = message.address
    if facts.frozen:
        return Drop()
    if (reason := _no_place_in(address, facts)) is not None:
        return DeadLettered(None, Undeliverable(reason))
    # A job's end is determined from its segments alone, so all of its records go there.
    answer = AnswerMode.SEGMENT if facts.has_manifest else message.answer
    if facts.cancelled:
        return Complete(address, Cancelled(), answer)
    if isinstance(message, Refused):
        return Complete(address, message.error, answer)
    deadline = _deadline(message, facts)
    if now > deadline:
        return Complete(address, Expired(), answer)
    return Run(message, answer, deadline)


def after_failure(
    run: Run,
    error: BackburnerError,
    facts: DeliveryFacts,
    *,
    now: float,
    trusted: bool = True,
    rules: RetryRules,
    chance: float,
) -> Complete | Retry | DeadLettered:
    """What becomes of a request that failed in the engine. `now` is in Unix seconds, `chance` in 0 to 1.

    Where `now` cannot be `trusted`, no deadline is held against it.

    A failure that is its own fault ends it with a record. Others are retried while there are attempts left and the
    deadline allows; after that it is a dead letter, whose error states why it was given up.
    """
    if isinstance(error, EngineLost):
        return after_engine_death(run, facts)
    address = run.envelope.address
    if not isinstance(error, EngineError):
        return Complete(address, error, run.answer)
    if not error.retryable:
        return DeadLettered(address, error, run.answer)
    if facts.attempt >= min(rules.max_attempts, error.max_attempts or rules.max_attempts):
        return DeadLettered(address, _given_up(error, facts, "no more are allowed"), run.answer)
    # A suspect waits for nothing: while it is held, it keeps everything else out of the engine.
    due = now if facts.suspect else now + rules.delay(facts.attempt, chance)
    if trusted and due > run.deadline:
        return DeadLettered(address, _given_up(error, facts, "the next would come after the deadline"), run.answer)
    next_facts = _next(facts, suspect=facts.suspect, not_before=None if facts.suspect else due, among=facts.among)
    return Retry(run.envelope, next_facts, error, run.answer)


def after_engine_death(
    run: Run, facts: DeliveryFacts, together: int = 1, *, stopping: bool = False
) -> Retry | DeadLettered:
    """What becomes of a request that was in the engine when it died, one of so many together.

    A suspect that was alone there caused the death, unless the worker was `stopping`: whatever stopped that may have
    ended the engine's process as well. Any other may be innocent however often that happens to it: it is
    put back as a suspect, whatever the number of its attempts, and runs apart from what is none next time, with fewer.
    """
    if facts.suspect and together <= 1 and not stopping:
        return convicted(run)
    return Retry(run.envelope, _next(facts, suspect=True, not_before=None, among=together), EngineLost(), run.answer)


def among_fewer(run: Run, facts: DeliveryFacts, together: int) -> Retry:
    """What becomes of a suspect that ran with so many others in a worker that vanished: it runs with fewer next time.

    Nothing failed here, so this is no attempt.
    """
    return Retry(run.envelope, replace(facts, among=together, not_before=None), EngineLost(), run.answer)


def runs_elsewhere(run: Run, facts: DeliveryFacts, now: float) -> Retry:
    """What becomes of a suspect of which another worker runs a copy at this Unix time.

    Nothing was tried, so this is no attempt. What to wait for can take long, and nothing else could run meanwhile.
    """
    later = replace(facts, not_before=now + MAX_RETRY_DELAY_SECONDS)
    return Retry(run.envelope, later, RunsElsewhere(), run.answer)


def convicted(run: Run) -> DeadLettered:
    """The end of a suspect that killed again."""
    return DeadLettered(run.envelope.address, PoisonRequest(), run.answer)


def _next(facts: DeliveryFacts, *, suspect: bool, not_before: float | None, among: int) -> DeliveryFacts:
    attempt = min(facts.attempt + 1, MAX_ATTEMPTS)
    return replace(facts, attempt=attempt, suspect=suspect, not_before=not_before, among=among)


def _given_up(error: EngineError, facts: DeliveryFacts, why: str) -> EngineError:
    attempts = f"{facts.attempt} attempt{'s' if facts.attempt > 1 else ''}"
    return type(error)(f"{cut(error.message, _MAX_QUOTED_BYTES)} (given up after {attempts}: {why})", param=error.param)


def _deadline(envelope: Envelope, facts: JobFacts) -> float:
    """The earlier of its own and its job's."""
    own = math.inf if envelope.deadline is None else envelope.deadline
    return min(own, facts.deadline)


def _no_place_in(address: Address, facts: JobFacts) -> str | None:
    """Why the job has no such index, if so."""
    if facts.unreadable:
        return f"the objects of job {address.job} in the store cannot be read; check its job.json and sealed.json"
    if not facts.has_manifest:
        return None
    if not isinstance(address.index, int):
        return f"job {address.job} has a manifest, so its indexes are integers; {address.index!r} is none"
    if facts.total is not None and address.index >= facts.total:
        return f"job {address.job} has {facts.total} requests; there is no index {address.index}"
    return None
