"""The publisher port: what puts envelopes onto the queue. It knows no job and no store."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from backburner_schemas.envelope import DeliveryFacts, Envelope
from backburner_schemas.errors import QueueError
from backburner_schemas.names import Lane


@dataclass(frozen=True, slots=True)
class Message:
    """An envelope on its way to a lane of a pool."""

    pool: str
    lane: Lane
    envelope: Envelope
    facts: DeliveryFacts = field(default_factory=DeliveryFacts)


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
