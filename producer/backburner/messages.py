"""From accepted requests to messages for the publisher. A body that is too large for the broker is stored first."""

from dataclasses import replace

from pydantic_core import to_json

from backburner.checks import Accepted
from backburner.publishers.base import Message
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import VERSION, AnswerMode, Envelope
from backburner_schemas.job import JobManifest
from backburner_schemas.request import ENVELOPE_BYTES

INLINE_BYTES = 900_000
"""Bytes of a request that still travel on the broker, whose usual limit is a mebibyte with the headers."""


def message_of(manifest: JobManifest, index: int, accepted: Accepted, now: float) -> Message:
    """The message of a job's request number `index`, counted from 0."""
    request = accepted.request
    # Not validated a second time: the request and the manifest were, and this is the hottest line of a submit.
    # Defaults are named too, or pydantic copies them.
    envelope = Envelope.model_construct(
        v=VERSION,
        tenant=manifest.tenant,
        job=manifest.id,
        index=index,
        custom_id=request.custom_id,
        url=request.url,
        body=request.body,
        body_ref=None,
        answer=AnswerMode.SEGMENT,
        deadline=manifest.deadline,
        enqueued_at=now,
    )
    return Message(accepted.pool, manifest.priority, envelope)


async def claim_check(storage: Storage, message: Message, size: int) -> Message:
    """The message itself or, where its request has too many bytes for the broker, one with its stored body's key.

    `size` is that of the request's JSON.
    """
    if size + ENVELOPE_BYTES <= INLINE_BYTES:
        return message
    envelope = message.envelope
    key = keys.body(envelope.tenant, envelope.job, envelope.index)
    await storage.put(key, to_json(envelope.body, inf_nan_mode="null"))
    claim = Envelope.model_validate({**envelope.model_dump(exclude={"body"}), "body_ref": key})
    return replace(message, envelope=claim)
