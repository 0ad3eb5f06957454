"""What a worker is as a member of its pool's consumer group. Values only; `consumer` joins with them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Membership:
    """A membership in a consumer group."""

    session_seconds: float = 30.0
    """Seconds after which the broker gives a silent member's partitions to others."""
    rebalance_seconds: float = 60.0
    """Seconds that a rebalance may take."""
    leave_group: bool = True
    """Whether a member that ends says so to the broker."""
    instance_id: str | None = None
    """Name that makes the membership static; None for a member that is a new one at each start."""
