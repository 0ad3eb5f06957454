"""How the store is polled: at which pace, for how long, and across which outages."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from backburner_schemas.errors import BackburnerError, ResultTimeout, StoreError

_GROWTH_FACTOR = 1.5
_LONGEST_OUTAGE_SECONDS = 300.0
"""Seconds for which a wait rides out a store that does not answer; a wait of hours must survive its restart."""


MEASURE_AFTER_SECONDS = 60.0
"""A wait that lasts longer asks for the store's clock: with a clock that is slow it would not see a deadline pass."""
_GLANCE_SECONDS = 0.3
_LEAST_LOOK_SECONDS = 1.0
"""Seconds that a look gets whatever the time-out: with one of 0 the caller wants to look once, and the last look, at
the end of the time, is one too."""
_LEAST_READ_SECONDS = 10.0
"""Seconds that reading what is there gets whatever the time-out, which is about what is not there yet."""


class PollPace:
    """Pauses between polls of the store, and bounds each of them."""

    def __init__(self, first: float, longest: float, timeout: float | None = None, *, job: str | None = None) -> None:
        """All in seconds; without a time-out it goes on for ever. `job` is what the error is about."""
        self._job = job
        self._first = first
        self._longest = longest
        self._next = first
        self._timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout

    def look(self, what: str) -> AbstractAsyncContextManager[None]:
        """A poll within the block, which is cancelled when the time is over. Raises `ResultTimeout` then."""
        return self._bounded(_LEAST_LOOK_SECONDS, what)

    def reading(self, what: str) -> AbstractAsyncContextManager[None]:
        """A read within the block of what a poll has found, which is cancelled when the store hangs. Raises as `look`.

        It gets some seconds when the time is over, too: what is there is no matter of waiting.
        """
        return self._bounded(_LEAST_READ_SECONDS, what)

    @asynccontextmanager
    async def _bounded(self, least: float, what: str) -> AsyncIterator[None]:
        left = None if self._end is None else max(self._end - time.monotonic(), least)
        try:
            async with asyncio.timeout(left) as bound:
                yield
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise self._timed_out(f"{what}, and the object store gave no answer,") from error

    async def pause(self, what: str, glance: Callable[[], Awaitable[bool]] | None = None) -> None:
        """Wait for the next poll. Raises `ResultTimeout` if the time is over.

        `glance` is one cheap request, made in between: where it returns true, the wait is over at once.
        """
        pause = self._next
        self._next = min(self._next * _GROWTH_FACTOR, self._longest)
        if self._end is not None:
            left = self._end - time.monotonic()
            if left <= 0:
                raise self._timed_out(what)
            pause = min(pause, left)
        if glance is None:
            await asyncio.sleep(pause)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._until_seen(glance)

    async def _until_seen(self, glance: Callable[[], Awaitable[bool]]) -> None:
        while True:
            await asyncio.sleep(_GLANCE_SECONDS)
            # What is wrong with the store, the poll tells.
            with suppress(StoreError):
                if await glance():
                    return

    def _timed_out(self, what: str) -> ResultTimeout:
        error = ResultTimeout(f"{what} within {self._timeout:g} s; it may still come: ask again by the same id")
        return error if self._job is None else error.of_job(self._job)

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
