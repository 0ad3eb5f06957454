"""Runs the modelled engine's steps on timers of the event loop. It decides nothing."""

import asyncio

from backburner_worker.engine.base import EngineLoad
from backburner_worker.engine.fake.model import FakeModel, Lookups, Pace, Sequence


class FakeClock:
    """Steps the model while it has something to do.

    Steps keep the model's own time: where the loop was late for one, the next ones come as much earlier, as those of an
    engine in another process would. All of them let the loop turn.
    """

    def __init__(self, pace: Pace) -> None:
        self._model = FakeModel(pace)
        self._speed = pace.speed
        self._waiters: dict[Sequence, asyncio.Future[None]] = {}
        self._due = 0.0
        self._stepping = False
        self._stopped = False

    def load(self) -> EngineLoad | None:
        """How full the modelled engine is."""
        return self._model.meter.load()

    @property
    def lookups(self) -> Lookups:
        """What the modelled engine's prefix cache was asked for so far, and had."""
        return self._model.lookups

    def add(self, sequence: Sequence, done: "asyncio.Future[None]") -> None:
        """Run it; `done` gets its result when the answer is whole."""
        self._waiters[sequence] = done
        self._model.add(sequence)
        if not self._stepping:
            self._stepping = True
            loop = asyncio.get_running_loop()
            self._due = loop.time()
            # All that comes in this turn of the loop is in the first step.
            loop.call_soon(self._begin)

    def drop(self, sequence: Sequence) -> None:
        """Let go of it, whether its answer is whole or not."""
        if self._waiters.pop(sequence, None) is not None:
            self._model.drop(sequence)

    def stop(self) -> None:
        """Make no step any more: what is in it stays in it."""
        self._stopped = True

    def _begin(self) -> None:
        seconds = self._model.begin()
        if not seconds:
            self._stepping = False
            return
        self._due += seconds / self._speed
        asyncio.get_running_loop().call_at(self._due, self._end)

    def _end(self) -> None:
        if self._stopped:
            return
        for sequence in self._model.end():
            done = self._waiters.pop(sequence)
            if not done.done():
                done.set_result(None)
        self._begin()
