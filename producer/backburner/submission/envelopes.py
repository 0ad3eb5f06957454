"""From accepted requests to messages for the publisher. A body that is too large for the broker is stored first."""

from collections.abc import Iterable, Sequence

from pydantic_core import to_json

from backburner.publishers.base import FIRST_DELIVERY, NOT_ENCODED, Message, PublishFailed
from backburner.publishers.encoded import EncodedMessages
from backburner.publishers.sqs.message import escaped
from backburner.settings import QueueKind
from backburner.storage import Storage
from backburner_schemas import codec, keys
from backburner_schemas.envelope import VERSION, AnswerMode, Envelope
from backburner_schemas.errors import MessageTooLarge
from backburner_schemas.job import JobManifest
from backburner_schemas.routing import NEIGHBOUR_REQUESTS, neighbours_key

INLINE_BYTES = 900_000
"""Largest message that is sent on the queue itself, whose usual limit is a mebibyte with the headers."""
_MAX_GROWTH_FACTOR = 6
"""Bytes on SQS that one byte of a request can become: there a control character or a letter is escaped."""


class Envelopes:
    """Creates the messages of one job's requests, whose JSON goes into their envelopes as it is."""

    def __init__(self, manifest: JobManifest) -> None:
        self._manifest = manifest
        address = {"v": VERSION, "tenant": manifest.tenant, "job": manifest.id, "index": 0}
        # Up to the place of the index, which is last.
        self._head = to_json(address)[: -len("0}")]

    def messages(self, members: Sequence[bytes], pools: Sequence[str], first: int, now: float) -> Sequence[Message]:
        """The messages of these requests, in order; `first` is the index of the first one.

        `members` is what stands between the braces of each request's JSON object, with no other fields than its own.
        """
        values = self._values(members, range(first, first + len(members)), now)
        manifest = self._manifest
        keys: list[bytes] = []
        end = first + len(values)
        while (index := first + len(keys)) < end:
            same = min(NEIGHBOUR_REQUESTS - index % NEIGHBOUR_REQUESTS, end - index)
            keys += [neighbours_key(manifest.tenant, manifest.id, index)] * same
        if pools.count(pools[0]) == len(pools):
            return EncodedMessages(pools[0], manifest.priority, keys, values)
        return [
            Message(pool, manifest.priority, None, FIRST_DELIVERY, encoded)
            for pool, encoded in zip(pools, zip(keys, values, strict=True), strict=True)
        ]

    def grouped(
        self, members: Sequence[bytes], indexes: Sequence[int], groups: Sequence[int], pool: str, now: float
    ) -> EncodedMessages:
        """The messages of requests in any order, to one pool; with one group's number next to each other."""
        address = f"{self._manifest.tenant}/{self._manifest.id}/group-".encode()
        keys = [b"%b%d" % (address, group) for group in groups]
        values = self._values(members, indexes, now)
        return EncodedMessages(pool, self._manifest.priority, keys, values, grouped=True)

    def _values(self, members: Sequence[bytes], indexes: Iterable[int], now: float) -> list[bytes]:
        facts = {"deadline": self._manifest.deadline, "answer": AnswerMode.SEGMENT, "enqueued_at": now}
        head, tail = self._head, to_json(facts)[1:]
        return [b"%b%d,%b,%b" % (head, index, one, tail) for index, one in zip(indexes, members, strict=True)]


async def claim_check_all(storage: Storage, messages: Sequence[Message], queue: QueueKind) -> Sequence[Message]:
    """The same for many messages that are encoded already."""
    values = messages.values if isinstance(messages, EncodedMessages) else [one.value for one in messages]
    if queue is not QueueKind.SQS and max(map(len, values), default=0) <= INLINE_BYTES:
        return messages
    return [await claim_check(storage, one, queue) for one in messages]


async def claim_check(storage: Storage, message: Message, queue: QueueKind) -> Message:
    """The message itself or, where it has too many bytes for the queue, one with its stored body's key."""
    return message if fits_inline(message, queue) else await _with_stored_body(storage, message)


async def to_send_again(storage: Storage, messages: Sequence[Message], error: PublishFailed) -> Sequence[Message]:
    """What is left of these messages after that: those that failed, with stored bodies where they were too large.

    Raises `MessageTooLarge` for one whose body was stored already: no repetition helps.
    """
    return [
        await _with_stored_body(storage, messages[one]) if one in error.too_large else messages[one]
        for one in error.failed
    ]


async def _with_stored_body(storage: Storage, message: Message) -> Message:
    envelope = message.envelope
    if envelope.body is None:
        raise MessageTooLarge(
            f"a message of {len(message.value):,} bytes is over the queue's limit, though its body is stored; raise "
            "the topic's max.message.bytes to BACKBURNER_MAX_BODY_BYTES and 64 KiB more"
        )
    key = keys.body(envelope.tenant, envelope.job, envelope.index)
    await storage.put(key, to_json(envelope.body, inf_nan_mode="null"))
    claim = Envelope.model_validate({**envelope.model_dump(exclude={"body"}), "body_ref": key})
    encoded = (message.key, codec.encode(claim)) if message.grouped else NOT_ENCODED
    return Message(message.pool, message.lane, claim, message.facts, encoded, grouped=message.grouped)


def fits_inline(message: Message, queue: QueueKind) -> bool:
    """Whether the message can go onto the queue, by what will be sent: a number may be longer than it came."""
    size = len(message.value)
    if queue is not QueueKind.SQS:
        return size <= INLINE_BYTES
    # SQS counts what is sent, which is escaped; measured only where that can matter.
    return size * _MAX_GROWTH_FACTOR <= INLINE_BYTES or len(escaped(message.value)) <= INLINE_BYTES
