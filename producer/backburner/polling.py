"""The pace at which the store is asked again: quick at first, then slower, and no longer than a time-out."""

import asyncio
import time

from backburner_schemas.errors import ResultTimeout

_GROWTH = 1.5


class Pace:
    """Pauses between looks at the store."""

    def __init__(self, first: float, longest: float, timeout: float | None = None) -> None:
        """All in seconds; without a time-out it goes on for ever."""
        self._first = first
        self._longest = longest
        self._next = first
        self._end = None if timeout is None else time.monotonic() + timeout
        self._timeout = timeout

    async def pause(self, what: str) -> None:
        """Wait for the next look. Raises `ResultTimeout` if the time is over."""
        pause = self._next
        self._next = min(self._next * _GROWTH, self._longest)
        if self._end is not None:
            left = self._end - time.monotonic()
            if left <= 0:
                raise ResultTimeout(f"{what} within {self._timeout:g} s; it may still come: ask again by the same id")
            pause = min(pause, left)
        await asyncio.sleep(pause)

    def quicken(self) -> None:
        """Something came, so more may come soon."""
        self._next = self._first
