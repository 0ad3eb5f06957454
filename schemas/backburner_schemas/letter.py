"""A dead letter: a message that ended without an answer, kept with what it takes to understand and resend it."""

import base64
from typing import Self

from pydantic import BaseModel, ConfigDict
from pydantic_core import from_json

from backburner_schemas.codec import Origin
from backburner_schemas.envelope import DeliveryFacts, Envelope
from backburner_schemas.errors import BackburnerError

CODE_BYTES = 1024
"""The first bytes of a letter that hold its code: it comes second, whoever writes the letter."""


class StoredDeadLetter(BaseModel):
    """One dead letter. It holds the envelope where there is one, else the message's own bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1
    code: str
    """Stable code of the last error."""
    message: str
    """The last error, with its remedy."""
    attempts: int
    suspect: bool = False
    worker: str
    queue: str
    """Topic or queue that the message came from."""
    position: str
    """Partition and offset, or message id."""
    failed_at: float
    """Unix seconds."""
    envelope: Envelope | None = None
    raw: str | None = None
    """The message's bytes in base64, where they are not an envelope."""

    @classmethod
    def of(
        cls,
        error: BackburnerError,
        *,
        origin: Origin,
        facts: DeliveryFacts,
        worker: str,
        now: float,
        envelope: Envelope | None = None,
        raw: bytes = b"",
    ) -> Self:
        """The letter of a delivery that ended with that error."""
        return cls(
            code=error.code,
            message=error.message,
            attempts=facts.attempt,
            suspect=facts.suspect,
            worker=worker,
            queue=origin.queue,
            position=origin.position,
            failed_at=now,
            envelope=envelope,
            raw=None if envelope else base64.b64encode(raw).decode("ascii"),
        )


def code_of(head: bytes) -> str | None:
    """The code of a letter of which these are the first `CODE_BYTES`; None if they hold none. Never raises."""
    try:
        found = from_json(head, allow_partial=True)
    except ValueError:
        return None
    code = found.get("code") if isinstance(found, dict) else None
    return code if isinstance(code, str) else None
