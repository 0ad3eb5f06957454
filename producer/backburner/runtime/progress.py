"""Calls what a caller gave for progress, plain or async, from code that does not wait for it."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

P = TypeVar("P")


class ProgressCalls(Generic[P]):
    """Reports to one callback. While an async one is still at an earlier report, it gets the latest one after that.

    Call `end` when there is nothing more to report.
    """

    def __init__(self, callback: Callable[[P], object] | None) -> None:
        self._callback = callback
        self._under_way: asyncio.Future[object] | None = None
        self._latest: tuple[P] | None = None

    def tell(self, progress: P) -> None:
        """Report that. Raises what the callback raised, for an async one at the next report."""
        if self._callback is None:
            return
        self._latest = (progress,)
        if self._under_way is None or self._under_way.done():
            self._call()

    async def end(self) -> None:
        """Wait until the last report was taken. Raises what an async callback raised."""
        while self._under_way is not None:
            await self._under_way
            self._call()

    def drop(self) -> None:
        """Wait for nothing: what was to be told about has failed."""
        if self._under_way is not None:
            self._under_way.cancel()

    def _call(self) -> None:
        before, self._under_way = self._under_way, None
        if before is not None:
            before.result()
        if self._latest is None or self._callback is None:
            return
        (latest,), self._latest = self._latest, None
        found = self._callback(latest)
        if inspect.isawaitable(found):
            self._under_way = asyncio.ensure_future(_awaited(found))


async def _awaited(found: Awaitable[object]) -> object:
    return await found
