"""What the sources on real queues share: their own task, the news that wakes a pull, and what ended them.

Not for the fake: it has no task of its own, and nothing that could end it.
"""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from backburner_schemas.errors import QueueError


class Supervisor:
    """Runs a source's task from `start` to `end`. What cannot get better in between is raised from every further pull.

    A pull checks, clears the news, looks for deliveries, and waits for news if there are none: in that order, so that
    no news is missed.
    """

    def __init__(self) -> None:
        self.news = asyncio.Event()
        """Set when a pull had better look again: something came, or something ended."""
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    @property
    def running(self) -> bool:
        """Whether the source was started and not ended; also true once its task has failed."""
        return self._task is not None

    def start(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run this until `end`; that it ends earlier is a failure, with or without an exception."""
        self._task = asyncio.create_task(work, name=name)
        self._task.add_done_callback(self._ended)

    def fail(self, error: BaseException) -> None:
        """The source cannot go on, for this reason; of several, the first counts."""
        self._failure = self._failure or error
        self.news.set()

    def check(self) -> None:
        """Raise what made the source fail, and `QueueError` if it is not running."""
        if self._failure is not None:
            raise self._failure
        if self._task is None:
            raise QueueError("the source is closed; start a new one")

    async def news_until(self, until: float, due: float | None) -> bool:
        """Wait for news, at most until that moment, or until something is due that is there already.

        Both are in monotonic seconds. Returns False, at once, if `until` has passed.
        """
        seconds = until - time.monotonic()
        if seconds <= 0:
            return False
        if due is not None:
            seconds = min(seconds, max(due - time.monotonic(), 0.001))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.news.wait()
        return True

    async def end(self) -> bool:
        """Cancel the task and wait until it is gone; whether there was one. Raises nothing of what ended it."""
        task, self._task = self._task, None
        if task is None:
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if task is self._task:
            self.fail(error or QueueError("the source's task ended; restart the worker"))
        self.news.set()
