"""Whether an engine that neither answers nor dies still makes progress. Pure; others look, and act on it.

Only time counts in which this process ran itself: one that was stopped, paused with its machine or kept from its loop
has seen nothing, and must not take its own absence for the engine's.
"""


class RunningTime:
    """The time in which this process ran, as far as looks that should come at a fixed pace show it."""

    def __init__(self, pace: float) -> None:
        """A look comes every `pace` seconds. One that comes later than twice that counts as if it had not."""
        self._longest = 2 * pace
        self._last: float | None = None
        self.seconds = 0.0
        """So far."""

    def look(self, now: float) -> float:
        """Note a look at the monotonic second `now`. Returns the seconds so far."""
        if self._last is not None:
            self.seconds += min(max(now - self._last, 0.0), self._longest)
        self._last = now
        return self.seconds


class StallWatch:
    """Finds out that nothing has moved for too long with work inside."""

    def __init__(self, limit: float) -> None:
        """`limit` is in seconds; 0 for never."""
        self._limit = limit
        self._progress: int | None = None
        self._since: float | None = None

    def look(self, progress: int | None, inside: int, seconds: float) -> bool:
        """Whether it counts as hung, at that second of `RunningTime`.

        `progress` changes with whatever the engine does; None where it cannot be told. `inside` are the requests that
        it has: without any it has nothing to do, and its time begins anew.
        """
        if not self._limit or progress is None or not inside or progress != self._progress or self._since is None:
            self._progress, self._since = progress, seconds
            return False
        return seconds - self._since >= self._limit
