"""A dead letter as users see it, and its id. Finding letters in the store is not here.

Letters come from others: nothing in one is trusted before it is checked against the key where it is stored.
"""

import base64
import binascii
import math
from dataclasses import dataclass

from pydantic import ValidationError

from backburner_schemas import keys
from backburner_schemas.envelope import MAX_UNIX_SECONDS, Envelope
from backburner_schemas.errors import JobError, StoredObjectBroken
from backburner_schemas.letter import StoredDeadLetter
from backburner_schemas.names import is_name

_UNADDRESSED = "it belongs to no request; correct the producer, send the message again, and purge the letter"
_NO_ENVELOPE = "it holds no envelope that could be sent again; inspect its raw bytes, and purge it"
_ANOTHERS = "its envelope belongs to another request than its key; find out what wrote it, and purge it"


@dataclass(frozen=True, slots=True)
class DeadLetterRef:
    """Where a letter is stored: under its request's address, or its message's place on the queue.

    Made by `parse` or `of`.
    """

    tenant: str | None = None
    job: str | None = None
    index: int | str | None = None
    queue: str | None = None
    position: str | None = None

    @classmethod
    def parse(cls, text: str, tenant: str) -> "DeadLetterRef":
        """The letter that an id names, for that tenant. Raises `JobError` for what cannot be a letter's id."""
        if text.count("/") == 1:
            job, _, last = text.partition("/")
            index = keys.index_of(last)
            if is_name(job) and index is not None:
                return cls(tenant=tenant, job=job, index=index)
        elif (found := keys.unaddressed_of(text)) is not None:
            return cls(queue=found[0], position=found[1])
        raise JobError(
            f"{text[:200]!r} is not a dead letter's id; write JOB/INDEX, or dead/QUEUE/POSITION, "
            "as `backburner dlq list` shows it",
            param="id",
        )

    @classmethod
    def of(cls, key: str) -> "DeadLetterRef | None":
        """The letter that a key in the store names; None if no letter is stored at such a key."""
        if (addressed := keys.letter_of(key)) is not None:
            return cls(tenant=addressed[0], job=addressed[1], index=addressed[2])
        found = keys.unaddressed_of(key)
        return cls(queue=found[0], position=found[1]) if found is not None else None

    @property
    def key(self) -> str:
        """The object's key."""
        if self.tenant is not None and self.job is not None and self.index is not None:
            return keys.dead_letter(self.tenant, self.job, self.index)
        return keys.unaddressed_letter(self.queue or "", self.position or "")

    @property
    def id(self) -> str:
        """The id, which `parse` takes."""
        return f"{self.job}/{self.index}" if self.job is not None else self.key


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that ended without an answer, with what it takes to understand it and to send it again."""

    id: str
    """`JOB/INDEX`, or `dead/QUEUE/POSITION` for a message that belongs to no request."""
    tenant: str | None
    """None for a message that belongs to no request; so are `job` and `index`."""
    job: str | None
    """The request's job."""
    index: int | str | None
    """The request's place in its job, from 0; a text in streams."""
    custom_id: str | None
    """The request's own; None where the letter has none."""
    code: str
    """Stable code of the last error."""
    message: str
    """The last error, with its remedy."""
    attempts: int = 0
    """How often it was tried."""
    suspect: bool = False
    """Whether it was in flight when an engine died."""
    worker: str = ""
    """The worker that gave it up."""
    queue: str = ""
    """Topic or queue that it came from."""
    position: str = ""
    """Partition and offset, or message id."""
    failed_at: float = 0.0
    """Unix seconds."""
    envelope: Envelope | None = None
    """The request with its address; its fields are those of docs/schemas/envelope.json."""
    raw: bytes | None = None
    """The message's own bytes, where they are not an envelope."""
    stale: bool = False
    """Whether the request has a response after all: a redelivery brought it. Such a letter is not redriven."""
    problem: str | None = None
    """Why it cannot be redriven, as far as the letter itself shows; None if it can."""


def read_letter(ref: DeadLetterRef, data: bytes) -> DeadLetter:
    """The letter in the bytes stored there. Never raises: what is wrong with it is its `problem`."""
    try:
        found = StoredDeadLetter.model_validate_json(data)
        raw = base64.b64decode(found.raw, validate=True) if found.raw is not None else None
    except (ValidationError, binascii.Error, ValueError) as error:
        reason = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
        return broken_letter(ref, reason)
    envelope = found.envelope
    return DeadLetter(
        id=ref.id,
        tenant=ref.tenant,
        job=ref.job,
        # A stream's index may look like a number; its key does not show which.
        index=envelope.index if envelope is not None and str(envelope.index) == str(ref.index) else ref.index,
        custom_id=envelope.custom_id if envelope is not None else None,
        code=found.code,
        message=found.message,
        attempts=found.attempts,
        suspect=found.suspect,
        worker=found.worker,
        queue=found.queue,
        position=found.position,
        failed_at=min(max(found.failed_at, 0.0), MAX_UNIX_SECONDS) if math.isfinite(found.failed_at) else 0.0,
        envelope=envelope,
        raw=raw,
        problem=_problem(ref, envelope),
    )


def write_letter(letter: DeadLetter) -> bytes:
    """The letter as it is stored: the inverse of `read_letter`, for letters without a problem."""
    return (
        StoredDeadLetter(
            code=letter.code,
            message=letter.message,
            attempts=letter.attempts,
            suspect=letter.suspect,
            worker=letter.worker,
            queue=letter.queue,
            position=letter.position,
            failed_at=letter.failed_at,
            envelope=letter.envelope,
        )
        .model_dump_json(exclude_none=True)
        .encode()
    )


def broken_letter(ref: DeadLetterRef, reason: str) -> DeadLetter:
    """What is shown of a letter that cannot be read."""
    problem = f"it cannot be read ({reason}); find out what wrote it, and purge it"
    return DeadLetter(
        id=ref.id,
        tenant=ref.tenant,
        job=ref.job,
        index=ref.index,
        custom_id=None,
        code=StoredObjectBroken.code,
        message=f"the letter {ref.key} cannot be read ({reason}); find out what wrote it, and purge it",
        problem=problem,
    )


def _problem(ref: DeadLetterRef, envelope: Envelope | None) -> str | None:
    if ref.tenant is None:
        return _UNADDRESSED
    if envelope is None:
        return _NO_ENVELOPE
    if (envelope.tenant, envelope.job, str(envelope.index)) != (ref.tenant, ref.job, str(ref.index)):
        return _ANOTHERS
    if envelope.body_ref is not None and not keys.is_body_of(envelope.body_ref, envelope.tenant, envelope.job):
        return "its body_ref is outside its own job's bodies; find out what wrote it, and purge it"
    return None
