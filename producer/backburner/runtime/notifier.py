"""Wakes tasks that wait for a condition, which each of them checks again whenever anything changed."""

import asyncio
from collections.abc import Callable


class Notifier:
    """Notifies waiting tasks that something changed. Each checks its own condition."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def set(self) -> None:
        """Something changed."""
        self._changed.set()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until the condition holds; returns at once, without yielding, if it does."""
        while not true():
            # Nothing can run between the check and the wait, so no change is missed; another waiter's clear is
            # harmless, because a wait that was woken stays woken.
            self._changed.clear()
            await self._changed.wait()
