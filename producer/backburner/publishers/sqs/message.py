"""A message in the form that SQS accepts: ASCII-escaped text, facts as attributes, tenant as message group. Pure."""

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING

from backburner.publishers.base import Message
from backburner_schemas import codec

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_BYTES = 1024 * 1024
"""Of one message with its attributes, and of all messages of one batch together."""
MAX_BATCH_MESSAGES = 10
_MAX_GROUP_CHARACTERS = 128
"""Characters in a message group's name; a tenant's may be longer."""
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a batch."""

    position: int
    """The caller's own number for it."""
    body: str
    attributes: Mapping[str, str]
    group: str
    delay: int
    """Seconds."""
    size: int
    """Bytes as SQS counts them."""

    def form(self) -> "SendMessageBatchRequestEntryTypeDef":
        """The entry of a SendMessageBatch call."""
        form: SendMessageBatchRequestEntryTypeDef = {
            "Id": str(self.position),
            "MessageBody": self.body,
            "MessageGroupId": self.group,
        }
        if self.attributes:
            form["MessageAttributes"] = {
                name: {"DataType": "String", "StringValue": value} for name, value in self.attributes.items()
            }
        if self.delay:
            form["DelaySeconds"] = self.delay
        return form


def entry_of(position: int, message: Message, now: float) -> Entry:
    """The message as an entry; `now` is the sender's clock in Unix seconds, which the delay is counted from.

    The time that it is due at is by the store's clock: where the two differ by hours, it waits for a minute.
    """
    body = escaped(message.value)
    attributes = {name: value.decode("ascii") for name, value in codec.encode_facts(message.facts)}
    due = message.facts.not_before
    delay = 0 if due is None else math.ceil(min(max(due - now, 0.0), codec.MAX_RETRY_DELAY_SECONDS))
    size = len(body) + sum(len(name) + len(value) + len("String") for name, value in attributes.items())
    return Entry(position, body, attributes, message_group(message.envelope.tenant), delay, size)


def escaped(encoded: bytes) -> str:
    """An envelope's JSON in ASCII: SQS does not accept every character, and counts the bytes of those that it does."""
    text = encoded.decode()
    if encoded.isascii():
        return text
    # Beyond ASCII there is nothing in JSON but inside of strings.
    return _BEYOND_ASCII.sub(lambda found: encode_basestring_ascii(found.group())[1:-1], text)


def message_group(tenant: str) -> str:
    """The message group of a tenant, whose messages share a queue fairly with those of others."""
    if len(tenant) <= _MAX_GROUP_CHARACTERS:
        return tenant
    digest = hashlib.sha256(tenant.encode()).hexdigest()[:16]
    return f"{tenant[: _MAX_GROUP_CHARACTERS - 17]}-{digest}"


def batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The entries in their order, in batches that SQS accepts; one that is too large alone is a batch of its own."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        if batch and (len(batch) == MAX_BATCH_MESSAGES or size + entry.size > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch
