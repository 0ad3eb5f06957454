"""The publisher port: what puts envelopes onto the queue. It knows no job and no store."""

from collections.abc import Sequence
from typing import Protocol

from pydantic_core import from_json

from backburner_schemas import codec, routing
from backburner_schemas.envelope import DeliveryFacts, Envelope
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane

FIRST_DELIVERY = DeliveryFacts()
"""What is known of a message that was never delivered."""


class Message:
    """An envelope on its way to a lane of a pool. It is never changed."""

    __slots__ = ("_envelope", "_key", "_value", "facts", "lane", "pool")

    def __init__(
        self,
        pool: str,
        lane: Lane,
        envelope: Envelope | None,
        facts: DeliveryFacts = FIRST_DELIVERY,
        *,
        value: bytes | None = None,
        key: bytes | None = None,
    ) -> None:
        """Instead of the envelope its bytes may be given, as the queue takes them, with its partition key.

        They must be those of a valid envelope, which is only made of them where somebody looks at it.
        """
        self.pool = pool
        self.lane = lane
        self.facts = facts
        self._envelope = envelope
        self._value = value
        self._key = key

    @property
    def envelope(self) -> Envelope:
        """The request with its address."""
        if self._envelope is None:
            self._envelope = Envelope.model_validate(from_json(self.value))
        return self._envelope

    @property
    def value(self) -> bytes:
        """The envelope's bytes. Raises `RequestRefused` as `codec.encode` does."""
        return codec.encode(self.envelope) if self._value is None else self._value

    @property
    def key(self) -> bytes:
        """The partition key."""
        return routing.partition_key(self.envelope) if self._key is None else self._key


class PublishFailed(QueueError):
    """The broker did not acknowledge every message; send the failed ones again."""

    code = "publish_failed"

    def __init__(self, failed: Sequence[int], cause: str) -> None:
        super().__init__(
            f"the broker did not acknowledge {len(failed)} messages ({cause}); check BACKBURNER_QUEUE_URL and that the "
            "broker is up, then submit again with the same job id"
        )
        self.failed = tuple(failed)
        """Positions, in the sequence that was published, of those that were not acknowledged."""


class Publisher(Protocol):
    """Puts messages onto the queue, durably.

    `publish` returns when the broker has every message on all its in-sync replicas. It raises `PublishFailed`, which
    names those that were not acknowledged; they may or may not be on the queue, and sending them again is safe.
    Messages of one call may land in any order. Cancelling a publish leaves its messages in an unknown state.
    Concurrent calls are fine. A topic that does not exist is an error, never made by publishing.
    """

    async def start(self) -> None:
        """Connect. Raises `QueueError` if no broker answers."""
        ...

    async def publish(self, messages: Sequence[Message]) -> None:
        """Put the messages onto the queue. See the class for what its return and its error mean."""
        ...

    async def close(self) -> None:
        """Wait for what is under way and disconnect. Safe to call twice, and after a failed start."""
        ...
