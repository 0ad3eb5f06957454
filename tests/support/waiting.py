"""Waiting for what a test expects, with a bound: what never comes fails the test and is named."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

PATIENCE = 60.0
"""Seconds that anything may take on a busy machine, before it counts as never."""
_POLL_SECONDS = 0.02

T = TypeVar("T")


async def until(
    condition: Callable[[], T | Awaitable[T]], what: str = "what the test waits for", seconds: float = PATIENCE
) -> T:
    """What the condition gives once that is true; it may be a coroutine function. Fails after that many seconds."""
    try:
        async with asyncio.timeout(seconds) as bound:
            while True:
                found = condition()
                if inspect.isawaitable(found):
                    found = await found
                if found:
                    return found
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        if not bound.expired():
            raise
        raise AssertionError(f"within {seconds:.0f} s never: {what}") from None
