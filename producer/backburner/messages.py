"""From accepted requests to messages for the publisher. A body that is too large for the broker is stored first."""

from dataclasses import replace

from pydantic_core import to_json

from backburner.checks import Accepted
from backburner.publishers.base import Message
from backburner.publishers.sqs_message import escaped
from backburner.settings import QueueKind
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import VERSION, AnswerMode, Envelope
from backburner_schemas.job import JobManifest
from backburner_schemas.request import ENVELOPE_BYTES

INLINE_BYTES = 900_000
"""Bytes of a request that still travel on the queue, whose usual limit is a mebibyte with the headers."""
_MOST_GROWTH = 6
"""Bytes on SQS that one byte of a request can become: there a control character or a letter is escaped."""


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


async def claim_check(storage: Storage, message: Message, size: int, queue: QueueKind) -> Message:
    """The message itself or, where its request has too many bytes for the queue, one with its stored body's key.

    `size` is that of the request's JSON.
    """
    if _fits(message, size, queue):
        return message
    envelope = message.envelope
    key = keys.body(envelope.tenant, envelope.job, envelope.index)
    await storage.put(key, to_json(envelope.body, inf_nan_mode="null"))
    claim = Envelope.model_validate({**envelope.model_dump(exclude={"body"}), "body_ref": key})
    return replace(message, envelope=claim)


def _fits(message: Message, size: int, queue: QueueKind) -> bool:
    if queue is not QueueKind.SQS:
        return size + ENVELOPE_BYTES <= INLINE_BYTES
    # SQS counts what is sent, which is escaped; measured only where that can matter.
    return (size + ENVELOPE_BYTES) * _MOST_GROWTH <= INLINE_BYTES or len(escaped(message.envelope)) <= INLINE_BYTES
