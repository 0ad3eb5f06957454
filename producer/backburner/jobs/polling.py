"""How the store is polled: at which pace, for how long, and across which outages."""

import asyncio
import time

from backburner_schemas.errors import BackburnerError, ResultTimeout

_GROWTH_FACTOR = 1.5
_LONGEST_OUTAGE_SECONDS = 300.0
"""Seconds for which a wait rides out a store that does not answer; a wait of hours must survive its restart."""


class PollPace:
    """Pauses between polls of the store."""

    def __init__(self, first: float, longest: float, timeout: float | None = None) -> None:
        """All in seconds; without a time-out it goes on for ever."""
        self._first = first
        self._longest = longest
        self._next = first
        self._end = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout

    async def pause(self, what: str) -> None:
        """Wait for the next poll. Raises `ResultTimeout` if the time is over."""
        pause = self._next
        self._next = min(self._next * _GROWTH_FACTOR, self._longest)
        if self._end is not None:
            left = self._end - time.monotonic()
            if left <= 0:
                raise ResultTimeout(f"{what} within {self._timeout:g} s; it may still come: ask again by the same id")
            pause = min(pause, left)
        await asyncio.sleep(pause)

    def quicken(self) -> None:
        """Something came, so more may come soon."""
        self._next = self._first


class Patience:
    """Tolerates errors that may go away, until they have lasted too long."""

    def __init__(self, longest: float = _LONGEST_OUTAGE_SECONDS) -> None:
        """In seconds."""
        self._longest = longest
        self._since: float | None = None

    def bear(self, error: BackburnerError) -> None:
        """Raise the error if a retry cannot help, or did not help for too long."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if not error.retryable or now - self._since >= self._longest:
            raise error

    def went_well(self) -> None:
        """The outage, if there was one, is over."""
        self._since = None
