"""From held to admitted: who is next, whether it may still run, and whether the engine has room for it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from backburner.logs import get_logger
from backburner.runtime.notifier import Notifier
from backburner.storage.clock import StoreClock
from backburner_schemas.prefix import prefix_chain
from backburner_worker.admission.admission import Admission
from backburner_worker.admission.trial_sizes import TrialSizes
from backburner_worker.jobs import JobCache, JobKey
from backburner_worker.policy import JobFacts, Run, judge
from backburner_worker.scheduling.feeder import Feeder
from backburner_worker.scheduling.work import Work
from backburner_worker.settlement.settler import Settler
from backburner_worker.sources.base import Delivery

_MAX_REQUESTS_IN_A_ROW = 64
"""Requests that one task carries without waiting for anything, before it lets others have the loop."""

log = get_logger(__name__)


@dataclass(slots=True)
class _Trial:
    """Suspects that are in the engine together, and nothing else."""

    among: int
    size: int
    """How many may be in it."""
    left: int
    """How many more of them may enter."""


class Admitter:
    """Holds work in the feeder, and admits it as the engine gets room; what may not run any more, it ends.

    Suspects run apart: nothing enters until the engine is empty, then some of those that one death made suspects, as
    many as `sizes` says, and nothing else until they have left it.
    """

    def __init__(
        self,
        *,
        feeder: Feeder,
        admission: Admission,
        jobs: JobCache,
        settler: Settler,
        changed: Notifier,
        clock: StoreClock,
        sizes: TrialSizes,
    ) -> None:
        """`changed` has to be woken when the settler, or the engine, may have more room. Deadlines go by `clock`."""
        self._feeder = feeder
        self._admission = admission
        self._jobs = jobs
        self._settler = settler
        self._changed = changed
        self._clock = clock
        self._sizes = sizes
        self._taken = False
        """Whether a task has the turn to take."""
        self._spare = False
        """Whether a task was made that has not begun."""
        self.needs_task = False
        """Whether the task that got work last has to start another that iterates over `admitted`, before running it."""
        self._trial: _Trial | None = None
        """What the engine is for now, where suspects are in it."""
        self._open = True
        self.stopped = asyncio.Event()
        """Set by `stop`. Others only wait."""

    def __len__(self) -> int:
        return len(self._feeder)

    def stop(self) -> None:
        """Admit no more, for good; what runs goes on."""
        self._open = False
        self.stopped.set()
        self._changed.set()

    def add(self, delivery: Delivery, run: Run, facts: JobFacts) -> None:
        """Hold a delivery until its turn. It was judged to run, by these facts of its job."""
        try:
            estimate = self._admission.estimate(run.envelope, len(delivery.raw))
            work = Work(delivery, run, estimate.tokens, prefix_chain(run.envelope.body), estimate, facts)
        except Exception:
            # Estimates are advice: no body may end the worker here, before it could be recorded as the cause.
            log.exception("estimating a request's cost failed; admitting it at no cost")
            work = Work(delivery, run, 0, facts=facts)
        self._feeder.add(work)

    def cancel(self, jobs: frozenset[JobKey]) -> None:
        """End what is held of these jobs, which were cancelled."""
        for work in self._feeder.drop(lambda held: held.delivery.job in jobs):
            verdict = judge(work.delivery, self._jobs.facts(work.delivery.job), self._clock.trusted_now())
            if isinstance(verdict, Run):
                self._settler.let_go(work.delivery)
            else:
                self._settler.end(work.delivery, verdict)

    def give_up(self) -> list[Delivery]:
        """Let go of all that is held, and return it."""
        return [work.delivery for work in self._feeder.drop(lambda _: True)]

    async def admitted(self, task: asyncio.Task[None]) -> AsyncIterator[Work]:
        """Yields work that has its place in the engine, for `task`, which calls, to run before it asks for more.

        One task has the turn to take. It keeps the turn while what it runs waits for nothing, so a request that is
        answered at once costs no task; where one waits, a task that was made beforehand takes the turn. The iteration
        ends where another task has the turn.
        """
        self._spare = False
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
            self.needs_task, self._spare = not self._spare, True
            yield work
            carried += 1
            if carried % _MAX_REQUESTS_IN_A_ROW == 0:
                await asyncio.sleep(0)

    def leave(self, work: Work) -> None:
        """Free the place that it had in the engine."""
        self._admission.leave(work)
        self._changed.set()

    async def _next(self) -> Work | None:
        """The next work, which has its place in the engine from now on; None once nothing more is to be taken."""
        while self._open:
            if not self._may_take():
                await self._changed.until(lambda: not self._open or self._may_take())
            elif (work := self._feeder.take()) is None or not self._may_run(work):
                continue
            elif self._admission.enter(work):
                self._entered(work)
                return work
            else:
                self._feeder.put_back(work)
                await self._changed.until(partial(self._fits_or_goes, work))
        return None

    def _may_take(self) -> bool:
        if not (self._feeder.held and self._admission.open and self._settler.has_room):
            return False
        if self._admission.in_flight == 0:
            return True
        trial, next_one = self._trial, self._feeder.peek() if self._feeder.suspects else None
        if next_one is not None and next_one.delivery.lease.lost:
            return True  # It goes when it is taken, and the engine does not run empty for it.
        if trial is None or next_one is None:
            return trial is None and next_one is None
        return trial.left > 0 and next_one.delivery.facts.among == trial.among

    def _entered(self, work: Work) -> None:
        """The work has its place: it is one more of the trial, or what the engine is for from now on."""
        if not work.suspect:
            self._trial = None
            return
        if self._trial is None or self._admission.in_flight == 1:
            among = work.delivery.facts.among
            self._trial = _Trial(among, size := self._sizes.size(among), size)
        self._trial.left -= 1
        work.trial = self._trial.size

    def _fits_or_goes(self, work: Work) -> bool:
        """Whether there is room for the work, or it is not the next any more."""
        return (
            not self._open or self._admission.fits(work) or work.delivery.lease.lost or self._feeder.peek() is not work
        )

    def _may_run(self, work: Work) -> bool:
        """Judge the work again, since it may have expired, or gone, while it was held; end it if it may not run."""
        delivery = work.delivery
        if delivery.lease.lost:
            self._settler.let_go(delivery)
            return False
        facts, now = self._jobs.facts(delivery.job), self._clock.trusted_now()
        if facts is work.facts and now <= work.run.deadline:
            return True
        if isinstance(verdict := judge(delivery, facts, now), Run):
            work.run = verdict
            return True
        self._settler.end(delivery, verdict)
        return False
