"""What a worker is as a member of its pool's consumer group, and whether somebody else is that too. Pure."""

from dataclasses import dataclass

_MAX_TAKEN_COUNT = 3
"""Times in a row that a membership may be gone too early: one may be a coordinator that forgot, or a slow restart."""


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


class NameWatch:
    """Notices that another process has this member's static name: the two take the membership from each other.

    Neither the client library nor the broker tells. But a member that just joined loses its membership by nothing else:
    its session runs out only after as long as a session is.
    """

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._joined_at: float | None = None
        self._taken_count = 0

    def joined(self, now: float) -> None:
        """The member got a share, at that monotonic time."""
        if self._joined_at is None:
            self._joined_at = now

    def lost(self, now: float) -> bool:
        """The group knows the member no more. Returns whether that is the work of another one of the same name."""
        if self._joined_at is None or self._membership.instance_id is None:
            return False
        early = now - self._joined_at < self._membership.session_seconds
        self._joined_at = None
        self._taken_count = self._taken_count + 1 if early else 0
        return self._taken_count >= _MAX_TAKEN_COUNT
