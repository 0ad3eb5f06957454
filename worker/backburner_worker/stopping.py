"""How a worker comes to its end: by a signal, or by a notice that its machine is taken back. The pipeline drains."""

import asyncio

from backburner.logs import get_logger
from backburner.process.readiness import Readiness
from backburner.process.signals import on_stop_signal
from backburner_worker.pipeline import Pipeline
from backburner_worker.reclaim.notice import ReclaimNotice
from backburner_worker.reclaim.watcher import ReclaimWatcher, drain_within
from backburner_worker.telemetry.telemetry import Telemetry

log = get_logger(__name__)


class Stopping:
    """What ends a worker: a signal, or a notice that its machine is taken back.

    After a notice the process stays until it is asked to end: one that ended at once would be started again on a
    machine that is about to go, and load its model for nothing. A notice that is withdrawn ends it, so that it is
    started anew.
    """

    def __init__(self, pipeline: Pipeline, readiness: Readiness, reclaim: ReclaimWatcher, telemetry: Telemetry) -> None:
        self._pipeline = pipeline
        self._readiness = readiness
        self._reclaim = reclaim
        self._telemetry = telemetry
        self._signalled = asyncio.Event()
        self._checking: asyncio.Task[None] | None = None

    def begin(self, checking: asyncio.Task[None]) -> None:
        """Listen to signals from now on; `checking` is given up when the worker is to stop."""
        self._checking = checking

        def stop() -> None:
            self._signalled.set()
            self._stop()

        # After the engine, which brings signal handlers of its own.
        on_stop_signal(stop)

    async def watch(self) -> None:
        """Look for notices, until cancelled."""
        await self._reclaim.run(self._noticed)

    async def over(self) -> None:
        """Return when the drained process may end."""
        if not self._reclaim.noticed or self._signalled.is_set():
            return
        log.warning("drained; waiting for the end of the machine, without taking in work")
        waits = [asyncio.create_task(wait) for wait in (self._signalled.wait(), self._reclaim.withdrawn())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self._signalled.is_set():
            log.warning("the notice was withdrawn; ending, to be started anew")

    def _noticed(self, notice: ReclaimNotice) -> None:
        self._telemetry.reclaim_notice(notice.kind.value)
        log.warning(
            "the machine is taken back; taking in no more",
            source=notice.kind.value,
            reason=notice.reason,
            seconds=None if notice.seconds is None else round(notice.seconds, 1),
        )
        self._stop(drain_within(notice))

    def _stop(self, drain: float | None = None) -> None:
        if self._checking is not None:
            self._checking.cancel()
        self._readiness.leave()
        self._pipeline.stop(drain=drain)
