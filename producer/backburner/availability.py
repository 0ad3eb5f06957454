"""How a system that the product depends on reports that it is away. Each knows from its own calls; nobody probes it."""

from typing import Protocol


class Availability(Protocol):
    """A system that may be away: the object store, the queue, or one direction of either."""

    def unavailable_reason(self) -> str | None:
        """Why the system is unavailable, in one line for people; None while it answers, and while it is not in use.

        Decided from how calls went so far: it makes none, must not block, and raises nothing. May be called at any
        time and any number of times; no call changes what the next one returns.
        """
        ...
