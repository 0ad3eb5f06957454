"""Shows admission how full the engine is, a few times a second. What follows from it is the governor's to say."""

import asyncio
import time

from backburner_worker.admission.admission import Admission
from backburner_worker.engine.base import Engine, TellsLoad
from backburner_worker.process.notifier import Notifier

_POLL_SECONDS = 0.25


class LoadMonitor:
    """The look at an engine that reports its load; one that does not is left to admission's first limits."""

    def __init__(self, engine: Engine, admission: Admission, changed: Notifier) -> None:
        """`changed` is woken when there is more room."""
        self._engine = engine
        self._admission = admission
        self._changed = changed

    async def run(self) -> None:
        """Look until cancelled."""
        engine = self._engine
        if not isinstance(engine, TellsLoad):
            return
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            load = engine.load()
            if load is not None and self._admission.look(load, time.monotonic()):
                self._changed.set()
