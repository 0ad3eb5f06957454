"""How long a message is held, and waited for. Values only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SqsTimes:
    """What SQS is asked for with each message; in seconds."""

    visibility_seconds: int = 30
    """After which SQS gives a silent worker's messages to others."""
    wait_seconds: int = 5
    """That one look at an empty queue waits for a message."""
