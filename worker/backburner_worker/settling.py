"""The last step of a delivery: its outcome durable or its retry on the queue, its mark gone, and only then settled."""

import asyncio

from backburner_schemas.errors import PoisonRequest
from backburner_worker.outcome import Outcome
from backburner_worker.policy import Retry
from backburner_worker.requeue import Requeue
from backburner_worker.results.results import Results
from backburner_worker.sources.base import Delivery, Source
from backburner_worker.suspects import Suspects
from backburner_worker.telemetry import Telemetry
from backburner_worker.wakeup import WakeUp


class Settling:
    """Ends deliveries, each in the task that calls `end`; knows which of these tasks are under way.

    A crash between two of its steps has the delivery given again, and loses nothing.
    """

    def __init__(
        self,
        *,
        source: Source,
        results: Results,
        requeue: Requeue,
        suspects: Suspects,
        changed: WakeUp,
        telemetry: Telemetry,
    ) -> None:
        """`changed` is woken whenever one has ended."""
        self._source = source
        self._results = results
        self._requeue = requeue
        self._suspects = suspects
        self._changed = changed
        self._telemetry = telemetry
        self._under_way: set[asyncio.Task[None]] = set()
        self.abandoned = False
        """Whether something was broken off, so that neither its outcome nor its retry may be there."""
        telemetry.watch_held("storing", lambda: len(self._under_way))

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def has_room(self) -> bool:
        """Whether more deliveries may end; false while too much waits for the store or the queue."""
        return self._results.has_room and self._requeue.has_room

    def expect(self, task: "asyncio.Task[None]") -> None:
        """That task will call `end` in its first step: `flush` waits for it from now on."""
        self._under_way.add(task)

    async def end(self, delivery: Delivery, ending: Outcome | Retry | None) -> None:
        """Settle the delivery once its ending is durable; without an ending, leave it to another worker.

        Raises what no retry can mend.
        """
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            if self.abandoned:
                return
            if ending is not None:
                await self._settle(delivery, ending)
            elif delivery.facts.suspect and delivery.address is not None:
                await self._suspects.give_up(delivery.address)
        finally:
            self._under_way.discard(task)
            self._changed.set()

    async def flush(self) -> None:
        """What has its ending by now is durable and settled when this returns."""
        await self._results.flush({*self._under_way})

    def abandon(self) -> None:
        """Break off what is under way, and whatever comes after; it stays unsettled."""
        self.abandoned = True
        for task in [*self._under_way]:
            task.cancel()

    async def close(self) -> None:
        """Disconnect from the queue, after everything has ended."""
        await self._requeue.close()

    async def _settle(self, delivery: Delivery, ending: Outcome | Retry) -> None:
        suspect = delivery.address if delivery.facts.suspect else None
        convicted = suspect is not None and ending.code == PoisonRequest.code
        if suspect is not None:
            if convicted:
                self._suspects.convict(suspect)
            else:
                # First: with the mark still there, a crash now would have the next owner convict one that ended well.
                await self._suspects.clear(suspect)
        if isinstance(ending, Retry):
            await self._requeue.put(ending, len(delivery.raw))
            self._telemetry.retried(ending.code)
        else:
            delivery.shed()
            await self._results.store(ending)
        if suspect is not None and convicted:
            # Last: with the mark gone before the letter is there, a crash would have the poison kill once more.
            await self._suspects.clear(suspect)
        await self._source.settle(delivery)
        self._telemetry.settled(ending.kind, ending.code)
