"""Looks at the engine and what runs in it: one that hangs says nothing, nor does one that forgot a request."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence

from backburner.logs import get_logger
from backburner_schemas.errors import EngineLost
from backburner_worker.admission.load_monitor import UNTOLD, Queued
from backburner_worker.engine.base import Engine, MayBeAway, ReportsProgress
from backburner_worker.engine.stall import RunningTime, StallWatch
from backburner_worker.generation.running_request import Abort, RunningRequest
from backburner_worker.generation.time_limit import MIN_LIMIT_SECONDS, TimeLimit

_WATCH_SECONDS = 1.0

log = get_logger(__name__)


class EngineWatch:
    """Watches one engine until it is lost."""

    def __init__(
        self, engine: Engine, stall_seconds: float, limit: TimeLimit, queued: Callable[[], Queued] = lambda: UNTOLD
    ) -> None:
        """It counts as lost after so many seconds without progress, 0 for never. `limit` bounds single generations.

        `queued` tells how many requests wait inside the engine: those that came last. An engine whose servers are
        elsewhere lets requests wait, and bounds each of its calls itself.
        """
        self._queued = queued
        self._engine = engine
        self._progress = engine.progress if isinstance(engine, ReportsProgress) else lambda: None
        self._bounded = not isinstance(engine, MayBeAway)
        self._stall_seconds = stall_seconds
        self._stall = StallWatch(stall_seconds)
        self._limit = limit
        self._time = RunningTime(_WATCH_SECONDS)

    async def lost(self, running: Collection[RunningRequest]) -> EngineLost:
        """Returns once the engine has died, or hangs, also while nothing runs. Breaks off what takes too long."""
        while not self._engine.lost:
            if (inside := self._look(running)) is not None:
                return EngineLost(
                    f"the engine made no progress for {self._stall_seconds:g} s (BACKBURNER_ENGINE_STALL_SECONDS) with "
                    f"{inside} requests inside: it hangs, and counts as lost"
                )
            await asyncio.sleep(_WATCH_SECONDS)
        return EngineLost()

    def _look(self, running: Collection[RunningRequest]) -> int | None:
        """Look once. Returns how many requests are inside if it hangs."""
        now = self._time.look(time.monotonic())
        inside = [request for request in running if request.entered]
        if self._stall.look(self._progress(), len(inside), now):
            return len(inside)
        if self._bounded:
            for request in self._begun(inside):
                self._judge(request, now)
        return None

    def _begun(self, inside: Iterable[RunningRequest]) -> Sequence[RunningRequest]:
        """Those that do not wait for a place in the engine: time that is spent so is no generation's."""
        queued = self._queued()
        told = sorted((one for one in inside if _entered_at(one) <= queued.at), key=_entered_at)
        return told[: max(len(told) - queued.count, 0)]

    def _judge(self, request: RunningRequest, now: float) -> None:
        if request.began_at is None:
            request.began_at = now
        took = now - request.began_at
        if took < MIN_LIMIT_SECONDS or request.aborted is not None or request.body is None:
            return
        limit = self._limit.seconds(request.run.envelope.url, request.body)
        if took >= limit:
            log.warning(
                "a generation takes too long; breaking it off", seconds=round(took), limit=round(limit), **request.where
            )
            request.abort(Abort.TOO_LONG)


def _entered_at(request: RunningRequest) -> float:
    return request.entered_at or 0.0
