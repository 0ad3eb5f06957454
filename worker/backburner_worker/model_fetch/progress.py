"""How far the fetching is, in the log."""

import asyncio
import time
from collections.abc import Callable

from backburner.logs import get_logger

_LOG_SECONDS = 10.0

log = get_logger(__name__)


class Progress:
    """Bytes that are there, and those that were fetched for it."""

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`total` is the model's size in bytes."""
        self.total = total
        self.fetched = 0
        """Bytes read from the source."""
        self.kept = 0
        """Bytes that an earlier run had fetched."""
        self._clock = clock
        self._begun = clock()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self._begun

    @property
    def rate(self) -> float:
        """Bytes fetched a second, on average."""
        return self.fetched / max(self.seconds, 1e-6)

    async def report(self) -> None:
        """Log it on a timer, until cancelled."""
        while True:
            await asyncio.sleep(_LOG_SECONDS)
            self.log("fetching the model")

    def log(self, event: str) -> None:
        """Log that event with how far it is."""
        there = self.fetched + self.kept
        log.info(
            event,
            percent=round(100 * min(1.0, there / self.total), 1) if self.total else 100.0,
            gb=round(there / 1e9, 3),
            of_gb=round(self.total / 1e9, 3),
            kept_gb=round(self.kept / 1e9, 3),
            mb_per_s=round(self.rate / 1e6, 1),
            seconds=round(self.seconds, 1),
        )
