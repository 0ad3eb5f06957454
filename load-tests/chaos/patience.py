"""Waits for conditions, with a bound: what never comes is a breach of its own."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

_POLL_SECONDS = 0.05


class NeverCame(Exception):
    """What was waited for did not come within its time."""


async def until(condition: Callable[[], object | Awaitable[object]], what: str, *, seconds: float) -> Any:
    """What the condition returns once that is true. Raises `NeverCame`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        if loop.time() > deadline:
            raise NeverCame(f"within {seconds:.0f} s never: {what}")
        await asyncio.sleep(_POLL_SECONDS)
