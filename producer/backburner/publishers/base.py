"""The publisher port: what puts envelopes onto the queue. It knows no job and no store."""

from collections.abc import Collection, Sequence
from typing import Protocol

from pydantic_core import from_json

from backburner_schemas import codec, routing
from backburner_schemas.envelope import DeliveryFacts, Envelope
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane

FIRST_DELIVERY = DeliveryFacts()
"""What is known of a message that was never delivered."""
NOT_ENCODED = (b"", b"")
"""In place of a message's key and bytes: they are made from its envelope."""


class Message:
    """An envelope on its way to a lane of a pool. It is never changed."""

    __slots__ = ("_envelope", "_key", "_value", "facts", "grouped", "lane", "pool")

    def __init__(
        self,
        pool: str,
        lane: Lane,
        envelope: Envelope | None,
        facts: DeliveryFacts = FIRST_DELIVERY,
        encoded: tuple[bytes, bytes] = NOT_ENCODED,
        *,
        grouped: bool = False,
    ) -> None:
        """Instead of the envelope its partition key and its bytes may be passed, as the queue takes them.

        They must be those of a valid envelope, which is only decoded where it is read. `grouped`: the key is that of a
        group, requests which share a beginning. A queue with partitions keeps all of a group on one, in their order.
        """
        self.grouped = grouped
        self.pool = pool
        self.lane = lane
        self.facts = facts
        self._envelope = envelope
        self._key, self._value = encoded

    @property
    def envelope(self) -> Envelope:
        """The request with its address."""
        if self._envelope is None:
            self._envelope = Envelope.model_validate(from_json(self.value))
        return self._envelope

    @property
    def value(self) -> bytes:
        """The envelope's bytes. Raises `RequestRefused` as `codec.encode` does."""
        if not self._value:
            self._value = codec.encode(self.envelope)
        return self._value

    @property
    def key(self) -> bytes:
        """The partition key."""
        if not self._key:
            self._key = routing.partition_key(self.envelope)
        return self._key


class PublishFailed(QueueError):
    """The broker did not acknowledge every message; send the failed ones again, those too large with stored bodies."""

    code = "publish_failed"
    """See docs/errors.md."""

    def __init__(self, failed: Sequence[int], cause: str, too_large: Collection[int] = ()) -> None:
        super().__init__(
            f"the broker did not acknowledge {len(failed)} messages ({cause}); check BACKBURNER_QUEUE_URL and that the "
            "broker is up"
        )
        self.failed = tuple(failed)
        """Positions, in the sequence that was published, of those that were not acknowledged."""
        self.too_large = frozenset(too_large)
        """Of these, those that the queue refuses as long as they are so large."""


class Publisher(Protocol):
    """Puts messages onto the queue, durably.

    `publish` returns when the broker has every message on all its in-sync replicas. It raises `PublishFailed`, which
    names those that were not acknowledged; they may or may not be on the queue, and sending them again is safe.
    Messages of one call may land in any order. Cancelling a publish leaves its messages in an unknown state.
    Concurrent calls are fine. A topic that does not exist is an error, and never created by publishing.
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
