"""Turns a dead letter back into the line of an input, or reports why it stays."""

from dataclasses import dataclass

from pydantic_core import to_json

from backburner.dead_letters.letter import DeadLetter
from backburner.storage import Storage
from backburner_schemas.codec import parse_body
from backburner_schemas.envelope import Envelope
from backburner_schemas.errors import InvalidJson


@dataclass(frozen=True, slots=True)
class LetterNotSent:
    """A letter that was not redriven. It stays where it is."""

    id: str
    """The letter's id."""
    reason: str
    """Why, with the remedy."""


async def line_of(storage: Storage, envelope: Envelope, *, max_bytes: int) -> bytes:
    """The request as a line of an input, its stored body fetched into it.

    Raises `RequestRefused` if there is no such body, or what is stored there is not one; and `StoreError`.
    """
    body = envelope.body
    if body is None:
        key = envelope.body_ref or ""
        data = await storage.head(key, max_bytes + 1)
        if data is None:
            raise InvalidJson(
                f"its body at {key} is gone; restore it, or submit the request again and purge the letter"
            )
        body = parse_body(data, max_bytes)
    return to_json({"custom_id": envelope.custom_id, "url": envelope.url, "body": body}, inf_nan_mode="null")


def why_kept(letter: DeadLetter, reason: str | None = None) -> LetterNotSent:
    """The letter as one that stays, for this reason or for its own problem."""
    return LetterNotSent(letter.id, reason or letter.problem or letter.message)
