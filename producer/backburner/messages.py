"""From accepted requests to messages for the publisher. A body that is too large for the broker is stored first."""

from dataclasses import replace

from pydantic_core import to_json

from backburner.checks import Accepted
from backburner.publishers.base import Message
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import Envelope
from backburner_schemas.job import JobManifest

INLINE_BYTES = 900_000
"""Bytes of a request that still travel on the broker, whose usual limit is a mebibyte with the headers."""
_BODY_FLOOR = INLINE_BYTES // 8
"""A body with fewer characters than this cannot come near the limit, however they are escaped."""


def message_of(manifest: JobManifest, index: int, accepted: Accepted, now: float) -> Message:
    """The message of a job's request number `index`, counted from 0."""
    request = accepted.request
    # Not validated a second time: the request and the manifest were, and this is the hottest line of a submit.
    envelope = Envelope.model_construct(
        tenant=manifest.tenant,
        job=manifest.id,
        index=index,
        custom_id=request.custom_id,
        url=request.url,
        body=request.body,
        deadline=manifest.deadline,
        enqueued_at=now,
    )
    return Message(accepted.pool, manifest.priority, envelope)


async def store_body(storage: Storage, message: Message, size: int) -> Message:
    """The message itself, or, if it has more than `INLINE_BYTES`, one that carries its stored body's key."""
    if size <= INLINE_BYTES:
        return message
    envelope = message.envelope
    key = keys.body(envelope.tenant, envelope.job, envelope.index)
    await storage.put(key, to_json(envelope.body, inf_nan_mode="null"))
    claim = Envelope.model_validate({**envelope.model_dump(exclude={"body"}), "body_ref": key})
    return replace(message, envelope=claim)
