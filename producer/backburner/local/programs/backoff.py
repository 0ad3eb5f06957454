"""How long to wait before a child that ended is started again, and when to give up. Pure."""

_FIRST_SECONDS = 0.5
_MAX_SECONDS = 30.0
_STEADY_SECONDS = 60.0
"""A child that ran for so long after coming up starts again from the shortest wait."""


class Backoff:
    """Counts the deaths of one child. It gives up after `limit` in a row that never came up."""

    def __init__(self, limit: int = 3) -> None:
        self._limit = limit
        self._deaths = 0
        self._never_up = 0

    def after_death(self, *, came_up: bool, lived: float) -> float | None:
        """Seconds to wait before the next start, or None to give up."""
        if came_up and lived >= _STEADY_SECONDS:
            self._deaths = 0
        self._deaths += 1
        self._never_up = 0 if came_up else self._never_up + 1
        if self._never_up >= self._limit:
            return None
        return float(min(_MAX_SECONDS, _FIRST_SECONDS * 2 ** min(self._deaths - 1, 10)))
