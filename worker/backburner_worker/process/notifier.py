"""A wake-up call between tasks: wait until something is true, looked at again whenever anything changed."""

import asyncio
from collections.abc import Callable


class Notifier:
    """Tells waiting tasks that something changed. What they wait for is theirs to look at."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def set(self) -> None:
        """Something changed."""
        self._changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until the condition holds; returns at once, without yielding, if it does."""
        while not true():
            # Nothing can run between the look and the wait, so no change is missed; another waiter's clear is harmless,
            # because a wait that was woken stays woken.
            self._changed.clear()
            await self._changed.wait()
