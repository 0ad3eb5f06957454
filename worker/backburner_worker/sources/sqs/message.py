"""One message as SQS delivered it, and its own description of itself, of which nothing is trusted. Pure."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from backburner_schemas import codec
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery

if TYPE_CHECKING:
    from types_boto3_sqs.type_defs import MessageTypeDef

FACTS = ("attempt", "suspect", "not_before", "traceparent", "failed_at", "among")
"""The message attributes that carry delivery facts; others are not asked for."""
SUSPECT_AT_RECEIVE_COUNT = 3
"""Receive count from which a message is a suspect: two owners had it and neither recorded how it ended."""
_MAX_FACT_BYTES = 2048
"""The longest is the list of failures, which is no longer; anybody may send others, of up to a mebibyte."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message with the handle of this one receipt."""

    lane: Lane
    queue: str
    """The queue's name."""
    id: str
    """The same at each receipt."""
    handle: str
    """What SQS requires to extend or end this receipt."""
    body: bytes
    sent: float
    """Unix seconds at which SQS accepted it."""
    count: int
    """How often it was received, this time included; about."""
    headers: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, message: "MessageTypeDef", lane: Lane, queue: str) -> "Received":
        """Parsed from what the client library returned."""
        of_sqs = message.get("Attributes", {})
        attributes: Mapping[str, Any] = message.get("MessageAttributes", {})
        return cls(
            lane=lane,
            queue=queue,
            id=message["MessageId"],
            handle=message["ReceiptHandle"],
            # Half of a surrogate pair becomes bytes that are not UTF-8, and so one dead letter.
            body=message.get("Body", "").encode(errors="surrogatepass"),
            sent=_number(of_sqs.get("SentTimestamp"), time.time() * 1000) / 1000,
            count=int(_number(of_sqs.get("ApproximateReceiveCount"), 1)),
            headers=tuple((name, _value(attributes[name])) for name in FACTS if name in attributes),
        )

    def delivery(self, rules: codec.Rules, token: object) -> Delivery:
        """The decoded delivery; `token` is what the source settles it by."""
        facts = codec.decode_facts(self.headers, self.lane)
        if self.count >= SUSPECT_AT_RECEIVE_COUNT and not facts.suspect:
            facts = replace(facts, suspect=True, not_before=None)
        origin = codec.Origin(self.queue, self.id, self.sent)
        return Delivery(
            message=codec.decode(self.body, origin, rules),
            raw=self.body,
            origin=origin,
            lane=self.lane,
            facts=facts,
            token=token,
            redelivered=self.count > 1,
            # One that is left in order is sent anew, so that what was received before was not.
            left_cleanly=self.count == 1,
        )

    @property
    def is_suspect(self) -> bool:
        """Whether it is to run alone."""
        return self.count >= SUSPECT_AT_RECEIVE_COUNT or self.says_suspect

    @property
    def says_suspect(self) -> bool:
        """Whether a worker sent it as a suspect."""
        return codec.decode_facts(self.headers, self.lane).suspect

    def wait_seconds(self, now: float) -> float:
        """Seconds from now, which is the Unix time, until it is due.

        It waits at its first receipt alone: whoever received it before has waited, or made it invisible meanwhile.
        """
        if self.count > 1 or self.lane is not Lane.RETRY:
            return 0.0
        return codec.wait_seconds(codec.decode_facts(self.headers, self.lane), self.sent, now)


def _value(attribute: Mapping[str, Any]) -> bytes:
    """What it holds; nothing where that is no fact. It is kept for as long as the message is, and counts nowhere."""
    value = attribute.get("BinaryValue")
    if isinstance(text := attribute.get("StringValue"), str):
        value = text[: _MAX_FACT_BYTES + 1].encode(errors="replace")
    return value if isinstance(value, bytes) and len(value) <= _MAX_FACT_BYTES else b""


def _number(text: str | None, otherwise: float) -> float:
    try:
        return float(text) if text is not None else otherwise
    except ValueError:
        return otherwise
