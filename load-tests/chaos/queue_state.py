"""The state of the queue afterwards: the messages that it got, where it still has them, and whether all are done."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message that the queue was given."""

    custom_id: str
    job: str
    """Its own; derived from its place if it came as a plain batch line."""
    index: int | str
    at: tuple[str, int, int] | None = None
    """Topic, partition and offset, on Kafka."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """The state of the queue after the load."""

    breaches: Sequence[str] = field(default_factory=tuple)
    """What is not done with."""
    messages: Sequence[QueuedMessage] | None = None
    """Everything that it was given; None where a queue forgets what was done, as SQS does."""
