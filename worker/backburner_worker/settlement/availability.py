"""Whether the queue takes retries, from how publishing them went. Pure: the clock is an argument."""

from collections.abc import Callable

from backburner.availability import Availability

_PATIENCE_SECONDS = 5.0
"""Seconds without success after which the queue counts as away, as with the store."""


class RetriesAvailability(Availability):
    """Whether the queue takes retries. Its source cannot know: that messages can be read shows nothing of writes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failing: float | None = None
        """When the first publish failed since the last one that was taken, by the clock."""
        self._last_failure = ""

    def answered(self) -> None:
        """The queue took a retry."""
        self._failing = None

    def failed(self, reason: str) -> None:
        """The queue did not take one, and it is tried again."""
        if self._failing is None:
            self._failing = self._clock()
        self._last_failure = reason

    def unavailable_reason(self) -> str | None:
        """Why retries cannot be published, in one line; None while they can, and while there are none."""
        if self._failing is None or self._clock() - self._failing < _PATIENCE_SECONDS:
            return None
        return f"retries cannot be published: {self._last_failure}"
