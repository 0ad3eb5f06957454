"""Trying a store call again until the store is back: how an outage becomes back-pressure instead of a loss."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter

from backburner.logs import get_logger
from backburner_schemas.errors import StoreDenied, StoreError, StoreFull

T = TypeVar("T")

STOPS_THE_WORKER = (StoreDenied, StoreFull)
"""What a store refuses until somebody acts: the worker ends and says why, and all that is unsettled is run again."""

_SAY_SECONDS = 10.0
"""Seconds between two lines: hundreds of calls can wait for one store, and `outages` reports when it went away."""


class _Complaints:
    """The log, for what many calls would say at once."""

    def __init__(self) -> None:
        self._log = get_logger(__name__)
        self._next = 0.0

    def say(self, what: str, state: RetryCallState) -> None:
        """Log that a call failed, unless another was just reported."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _SAY_SECONDS
        error = str(state.outcome.exception()) if state.outcome else ""
        self._log.warning(
            "a call to the object store is tried again",
            doing=what,
            attempt=state.attempt_number,
            waited_s=round(state.seconds_since_start or 0.0),
            gives_up="never",
            error=error,
        )


_complaints = _Complaints()


def asked_to_end() -> bool:
    """Whether somebody cancelled the current task. If not, a `CancelledError` is one that a library let out.

    A task group takes the task that dies of one for cancelled, and says nothing: its delivery would never end.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def until_stored(call: Callable[[], Awaitable[T]], what: str) -> T:
    """The call's result, however often the store has to be asked. Only what no retry can mend is raised.

    Bounded by cancellation alone: whoever calls this stops taking in more while it waits.
    """

    async def attempt() -> T:
        return await call()

    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, StoreError) and error.retryable),
        wait=wait_exponential_jitter(multiplier=0.2, max=5.0),
        before_sleep=lambda state: _complaints.say(what, state),
    )
    return await retrying(attempt)
