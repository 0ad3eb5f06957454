"""Pulls from the source within the room that the feeder has, and reports the state of the queue."""

import asyncio
from collections import deque

from backburner.runtime.notifier import Notifier
from backburner_schemas.names import Lane
from backburner_worker.scheduling.feeder import Feeder
from backburner_worker.sources.base import Delivery, Source
from backburner_worker.telemetry.telemetry import Telemetry

_REPORT_SECONDS = 1.0


class Puller:
    """Takes in deliveries; one pull at a time."""

    def __init__(self, source: Source, feeder: Feeder, changed: Notifier, telemetry: Telemetry) -> None:
        """`changed` is woken when the feeder has more room."""
        self._source = source
        self._feeder = feeder
        self._changed = changed
        self._telemetry = telemetry
        self.arrived: deque[Delivery] = deque()
        """What was pulled, until its turn to be judged, when the caller takes it from here."""
        telemetry.watch_uncommitted(source.uncommitted)

    @property
    def has_room(self) -> bool:
        """Whether the feeder has room for more of any lane."""
        return bool(self._feeder.budget())

    async def pull(self) -> bool:
        """Add to `arrived` what the feeder has room for. Returns whether anything came within about a second."""
        deliveries = await self._pull_within(self._feeder.budget())
        if deliveries:
            self._telemetry.pulled(deliveries)
            self.arrived.extend(deliveries)
        return bool(deliveries)

    async def report(self) -> None:
        """Report the state of the queue, for ever."""
        while True:
            self._telemetry.queue(self._source)
            await asyncio.sleep(_REPORT_SECONDS)

    async def _pull_within(self, budget: dict[Lane, int]) -> list[Delivery]:
        """Pull; returns early, with nothing, where a lane that was not asked for has room again."""
        if len(budget) == len(Lane):
            return await self._source.pull(budget)
        pull = asyncio.ensure_future(self._source.pull(budget))
        room = asyncio.ensure_future(self._changed.until(lambda: self._feeder.reopened(budget)))
        try:
            await asyncio.wait({pull, room}, return_when=asyncio.FIRST_COMPLETED)
            return await pull if pull.done() else []
        except asyncio.CancelledError:
            if pull.done() and not pull.cancelled() and pull.exception() is None:
                # It came in the very moment: it is held, and goes back with all else.
                self.arrived.extend(pull.result())
            raise
        finally:
            room.cancel()
            pull.cancel()
