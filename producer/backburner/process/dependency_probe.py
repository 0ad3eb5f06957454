"""Asks a dependency that counts as away, so that it is known when it is back.

A part that is not ready gets no work, and without work it asks nothing: it would never be ready again.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from backburner.availability import Availability
from backburner_schemas.errors import BackburnerError

_PAUSE_SECONDS = 1.0
_ASK_SECONDS = 5.0
"""A question that was lost on its way is asked again after this."""


class DependencyProbe:
    """Asks on a timer, for as long as the dependency is away."""

    def __init__(
        self, dependency: Availability, ask: Callable[[], Awaitable[object]], *, pause: float = _PAUSE_SECONDS
    ) -> None:
        """`ask` is a cheap question of the kind that went unanswered; `pause` is in seconds."""
        self._dependency = dependency
        self._ask = ask
        self._pause = pause

    async def run(self) -> None:
        """Ask until cancelled. Whether there is an answer is the dependency's to note."""
        while True:
            await asyncio.sleep(self._pause)
            if self._dependency.unavailable_reason() is not None:
                with suppress(BackburnerError, TimeoutError):
                    async with asyncio.timeout(_ASK_SECONDS):
                        await self._ask()
