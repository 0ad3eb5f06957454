"""From held to running: who is next, whether the engine has room, and the tasks that carry requests through it."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from backburner_worker.admission.admission import Admission
from backburner_worker.process.notifier import WakeUp
from backburner_worker.scheduling.feeder import Feeder
from backburner_worker.scheduling.work import Work

_IN_A_ROW = 64
"""Requests that one task carries without waiting for anything, before it lets others have the loop."""


class Admitting:
    """Takes work from the feeder as the engine gets room, and runs it; each request that waits has a task of its own.

    One task has the turn to take. It keeps the turn while what it runs waits for nothing, so a request that is answered
    at once costs no task; where one waits, a task that was made beforehand has the turn. A suspect runs alone: nothing
    enters until the engine is empty and the suspect has left it.
    """

    def __init__(
        self,
        *,
        feeder: Feeder,
        admission: Admission,
        has_room: Callable[[], bool],
        may_run: Callable[[Work], bool],
        run: Callable[[Work, asyncio.Task[None]], Awaitable[None]],
        changed: WakeUp,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """`may_run` looks at work again, since it may have waited for long, and ends what may not.

        `run` is given the task that it is called in, and counts the work out.
        `has_room` tells whether more may end. `changed` has to be woken when an answer may be another.
        """
        self._feeder = feeder
        self._admission = admission
        self._has_room = has_room
        self._may_run = may_run
        self._run = run
        self._changed = changed
        self._tasks = tasks
        self._taken = False
        """Whether a task has the turn."""
        self._spare = False
        """Whether a task was made that has not begun."""
        self._alone = False
        """Whether what entered last runs alone."""
        self._stopped = False

    def start(self) -> None:
        """Begin to take."""
        self._make_spare()

    def stop(self) -> None:
        """Take no more; what runs goes on."""
        self._stopped = True
        self._changed.set()

    def _make_spare(self) -> None:
        self._spare = True
        self._tasks.create_task(self._carry())

    async def _carry(self) -> None:
        """Take and run for as long as no other task has the turn."""
        self._spare = False
        task = asyncio.current_task()
        assert task is not None
        carried = 0
        # A cancellation that did not surface is this task's, and must not meet the next request.
        while not self._taken and not task.cancelling():
            self._taken = True
            try:
                work = await self._next()
            finally:
                self._taken = False
            if work is None:
                return
            if not self._spare:
                self._make_spare()
            await self._run(work, task)
            carried += 1
            if carried % _IN_A_ROW == 0:
                await asyncio.sleep(0)

    async def _next(self) -> Work | None:
        """The next work, which has its place in the engine from now on; None once nothing more is to be taken."""
        while not self._stopped:
            if not self._may_take():
                await self._changed.until(lambda: self._stopped or self._may_take())
            elif (work := self._feeder.take()) is None or not self._may_run(work):
                continue
            elif self._admission.enter(work):
                self._alone = work.suspect
                return work
            else:
                self._feeder.put_back(work)
                await self._changed.until(partial(self._fits_or_goes, work))
        return None

    def _may_take(self) -> bool:
        if not (self._feeder.held and self._admission.open and self._has_room()):
            return False
        return self._admission.in_flight == 0 or not (self._alone or self._feeder.suspects)

    def _fits_or_goes(self, work: Work) -> bool:
        """Whether there is room for the work, or it is not the next any more."""
        return (
            self._stopped or self._admission.fits(work) or work.delivery.lease.lost or self._feeder.peek() is not work
        )
