"""Trying a store call again until the store is back, and what a store refuses in a way that no retry mends."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from backburner.runtime.retrying import FailureLog, retry_until_done
from backburner_schemas.errors import StoreDenied, StoreError, StoreFull

T = TypeVar("T")

STOPS_THE_PROCESS = (StoreDenied, StoreFull)
"""What a store refuses until somebody acts: the process ends and says why, and what is unfinished is done again."""

_failures = FailureLog("store call failed; retrying")


def asked_to_end() -> bool:
    """Whether somebody cancelled the current task. If not, a `CancelledError` is one that a library let out.

    A task group takes the task that dies of one for cancelled, and says nothing: its delivery would never end.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def until_stored(call: Callable[[], Awaitable[T]], what: str) -> T:
    """The call's result, however often the store has to be asked. Only what no retry can mend is raised.

    `what` is what the log calls it. Bounded by cancellation alone: whoever calls this stops taking in more while it
    waits.
    """
    return await retry_until_done(call, _is_retryable, partial(_failures.note, what))


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, StoreError) and error.retryable
