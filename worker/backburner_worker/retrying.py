"""Trying a store call again until the store is back: how an outage becomes back-pressure instead of a loss."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter

from backburner.logs import get_logger
from backburner_schemas.errors import StoreError

T = TypeVar("T")

log = get_logger(__name__)


async def until_stored(call: Callable[[], Awaitable[T]], what: str) -> T:
    """The call's result, however often the store has to be asked. Only what no retry can mend is raised.

    Bounded by cancellation alone: whoever calls this stops taking in more while it waits.
    """

    def say(state: RetryCallState) -> None:
        log.warning(
            "the object store is away; trying again",
            doing=what,
            attempt=state.attempt_number,
            error=str(state.outcome.exception()) if state.outcome else "",
        )

    async def attempt() -> T:
        return await call()

    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, StoreError) and error.retryable),
        wait=wait_exponential_jitter(multiplier=0.2, max=5.0),
        before_sleep=say,
    )
    return await retrying(attempt)
