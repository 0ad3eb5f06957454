"""The one way in which a call is retried until it is done: how an outage becomes back-pressure instead of a loss."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter

from backburner.logs import get_logger

T = TypeVar("T")

_BACKOFF = wait_exponential_jitter(multiplier=0.2, max=5.0)
"""Seconds between two attempts: 0.2, doubled each time, with up to a second of jitter; 5 at the most."""
_LOG_INTERVAL_SECONDS = 10.0
"""Hundreds of calls can wait for one system, and the dependency monitor reports when it went away."""

log = get_logger(__name__)


class FailureLog:
    """The log, for what many calls would report at once: one line each ten seconds."""

    def __init__(self, event: str) -> None:
        """`event` is the line's text, the same each time."""
        self._event = event
        self._next = 0.0

    def note(self, call: str, error: BaseException, attempt: int, waited_seconds: float) -> None:
        """Log that this attempt of the call failed, so long after its first, unless another was just logged."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LOG_INTERVAL_SECONDS
            log.warning(self._event, call=call, attempt=attempt, waited_s=round(waited_seconds), error=str(error))


async def retry_until_done(
    call: Callable[[], Awaitable[T]],
    retry_on: Callable[[BaseException], bool],
    on_failure: Callable[[BaseException, int, float], None],
) -> T:
    """The call's result, however often it has to be made; an error that `retry_on` does not want is raised.

    `on_failure` is called before each pause, with the error, the number of the attempt, 1 being the first, and the
    seconds since the first began. Bounded by cancellation alone: whoever calls this stops taking in more while it
    waits.
    """

    def failed(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        assert error is not None
        on_failure(error, state.attempt_number, state.seconds_since_start or 0.0)

    retrying = AsyncRetrying(retry=retry_if_exception(retry_on), wait=_BACKOFF, before_sleep=failed)
    return await retrying(_awaited, call)


async def _awaited(call: Callable[[], Awaitable[T]]) -> T:
    """The call, as what tenacity takes for asynchronous: it does not see that of a `partial` or a lambda."""
    return await call()
