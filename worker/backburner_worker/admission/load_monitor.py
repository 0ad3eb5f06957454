"""Shows admission how full the engine is, a few times a second. What follows from that is decided by the governor."""

import asyncio
import time

from backburner.runtime.notifier import Notifier
from backburner_worker.admission.admission import Admission
from backburner_worker.engine.base import Engine, ReportsLoad

_POLL_SECONDS = 0.25


class LoadMonitor:
    """Polls an engine that reports its load; one that does not keeps admission's first limits."""

    def __init__(self, engine: Engine, admission: Admission, changed: Notifier) -> None:
        """`changed` is woken when there is more room."""
        self._engine = engine
        self._admission = admission
        self._changed = changed

    async def run(self) -> None:
        """Poll until cancelled."""
        engine = self._engine
        if not isinstance(engine, ReportsLoad):
            return
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            load = engine.load()
            if load is not None and self._admission.observe(load, time.monotonic()):
                self._changed.set()
