"""Shows admission how full the engine is, a few times a second. What follows from that is decided by the governor."""

import asyncio
import math
import time
from dataclasses import dataclass

from backburner.runtime.notifier import Notifier
from backburner_worker.admission.admission import Admission
from backburner_worker.engine.base import Engine, LimitsItself, ReportsLoad

_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Queued:
    """What waited inside an engine, as of a moment."""

    at: float
    """Monotonic seconds."""
    count: int


UNTOLD = Queued(math.inf, 0)
"""Of an engine that does not tell: nothing waits in it."""


class LoadMonitor:
    """Polls an engine that reports its load, or limits itself; one that does neither keeps admission's first limits."""

    def __init__(self, engine: Engine, admission: Admission, changed: Notifier) -> None:
        """`changed` is woken when there is more room."""
        self._engine = engine
        self._admission = admission
        self._changed = changed
        self.queued = Queued(-math.inf, 0) if isinstance(engine, ReportsLoad) else UNTOLD
        """As it was told last."""
        if isinstance(engine, LimitsItself):
            admission.allow(engine.capacity())

    async def run(self) -> None:
        """Poll until cancelled."""
        engine = self._engine
        if not isinstance(engine, ReportsLoad | LimitsItself):
            return
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            if self._look():
                self._changed.set()

    def _look(self) -> bool:
        """Show admission the engine's state. Returns whether there is more room."""
        engine, more = self._engine, False
        if isinstance(engine, ReportsLoad):
            load, now = engine.load(), time.monotonic()
            self.queued = Queued(now, 0 if load is None else load.waiting)
            more = load is not None and self._admission.observe(load, now)
        if isinstance(engine, LimitsItself):
            more = self._admission.allow(engine.capacity()) or more
        return more
