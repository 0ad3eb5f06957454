"""The architecture in one file: pull → admit → run → settle.

Each delivery walks this way once. What is pulled waits in the feeder's window; what is admitted has a place in the
engine; `run` returns how it ends; and it is settled once that is durable, or back on the queue as a retry. What needs
no engine goes from the pull to its settling at once.
"""

import asyncio
import math
from collections.abc import Callable, Iterable
from contextlib import suppress

from backburner.logs import get_logger
from backburner.runtime.notifier import Notifier
from backburner.storage.clock import StoreClock
from backburner_worker.admission.admitter import Admitter
from backburner_worker.generation.runner import RequestRunner
from backburner_worker.jobs import JobCache, JobKey
from backburner_worker.policy import AlreadyAnswered, Run, judge
from backburner_worker.puller import Puller
from backburner_worker.settlement.earlier_answers import EarlierAnswers
from backburner_worker.settlement.settler import Settler
from backburner_worker.sources.base import Source

_STORE_SECONDS = 10.0
"""Seconds that a drain waits for finished work to become durable, on top of the time for running requests."""

log = get_logger(__name__)


class Pipeline:
    """Carries deliveries from a source through an engine into the store, and settles them."""

    def __init__(
        self,
        *,
        source: Source,
        puller: Puller,
        jobs: JobCache,
        earlier_answers: EarlierAnswers,
        admitter: Admitter,
        runner: RequestRunner,
        settler: Settler,
        changed: Notifier,
        tasks: asyncio.TaskGroup,
        clock: StoreClock,
    ) -> None:
        """`changed` and `tasks`, which `run` enters, are those of the other parts too. Deadlines go by `clock`."""
        self._source = source
        self._puller = puller
        self._jobs = jobs
        self._earlier_answers = earlier_answers
        self._admitter = admitter
        self._runner = runner
        self._settler = settler
        self._changed = changed
        self._tasks = tasks
        self._clock = clock
        self._drain_until = math.inf
        self._draining: asyncio.Timeout | None = None

    def stop(self, *, drain: float | None = None) -> None:
        """Begin the drain; `run` returns when it is over. May be called from a signal handler, and again.

        With `drain`, running requests get no more than so many seconds from now, also where the drain has begun.
        """
        if drain is not None:
            self._drain_until = min(self._drain_until, asyncio.get_running_loop().time() + drain)
            if self._draining is not None and (self._draining.when() or 0.0) > self._drain_until:
                self._draining.reschedule(self._drain_until)
        self._admitter.stop()

    async def run(self, *, drain: float, on_joined: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`, then drain: running requests get `drain` seconds, or what `stop` leaves them.

        Raises `EngineLost` if the engine died. What is finished by then is stored and settled, what died in the engine
        goes back onto the queue as suspects; the rest stays unsettled, for another worker. A part that fails in any
        other way stops everything at once, loudly. Once only.
        """
        try:
            async with self._tasks as tasks:
                timers = (
                    self._settler.write_segments(self._more_to_come),
                    self._jobs.watch_markers(self._cancel),
                    self._runner.renew_marks(),
                    self._runner.watch_engine(),
                    self._puller.report(),
                )
                beside = [tasks.create_task(timer) for timer in timers]
                await self._source.start(self._settler.flush)
                on_joined()
                pulling = tasks.create_task(self._pull())
                tasks.create_task(self._carry())
                await self._admitter.stopped.wait()
                await self._drain(pulling, drain)
                for task in beside:
                    task.cancel()
        finally:
            # Before others receive what is handed back: a suspect's mark that they find convicts it.
            await self._runner.close()
            try:
                # What the engine took with it is reported in one way: as suspects on the queue, or by an unclean end.
                unreported = self._runner.lost is not None and self._settler.abandoned
                await self._source.close(clean=not (self._runner.crashed or unreported))
            finally:
                await self._settler.close()
        if self._runner.lost is not None:
            raise self._runner.lost

    async def _pull(self) -> None:
        """Take in what there is room for, for ever."""
        arrived = self._puller.arrived
        while True:
            await self._changed.until(lambda: self._settler.has_room and self._puller.has_room)
            if not await self._puller.pull():
                continue
            # First: what is held stays known, however many jobs come at once.
            for delivery in arrived:
                self._settler.hold(delivery)
            await self._jobs.learn(delivery.job for delivery in arrived)
            answered = await self._earlier_answers.to(arrived)
            while arrived:
                delivery = arrived.popleft()
                facts = self._jobs.facts(delivery.job)
                now = self._clock.trusted_now()
                verdict = AlreadyAnswered() if delivery in answered else judge(delivery, facts, now)
                if isinstance(verdict, Run):
                    self._admitter.add(delivery, verdict, facts)
                else:
                    await self._settler.settle(delivery, verdict)
                    await self._changed.until(lambda: self._settler.has_room)
            self._changed.set()

    async def _carry(self) -> None:
        """Carry one request after the other; from where one waits, another task goes on with the next."""
        task = asyncio.current_task()
        assert task is not None
        async for work in self._admitter.admitted(task):
            if self._admitter.needs_task:
                self._tasks.create_task(self._carry())
            ending = await self._runner.run(work, task)
            await self._settler.settle(work.delivery, ending)

    def _cancel(self, jobs: Iterable[JobKey]) -> None:
        """These jobs were cancelled: what is here of them ends now, with records."""
        cancelled = frozenset(jobs)
        if cancelled:
            self._settler.hurry(cancelled)
            self._admitter.cancel(cancelled)
            self._runner.cancel(cancelled)
            self._changed.set()

    def _more_to_come(self) -> bool:
        """Whether the queue has messages for this worker that it does not hold yet. An estimate."""
        held = len(self._admitter) + len(self._runner) + len(self._settler)
        return sum(self._source.lag().values()) > held

    async def _drain(self, pulling: asyncio.Task[None], seconds: float) -> None:
        await self._source.stop()
        pulling.cancel()
        await asyncio.wait([pulling])
        now = asyncio.get_running_loop().time()
        until = min(now + seconds, self._drain_until)
        log.info(
            "draining", running=len(self._runner), storing=len(self._settler), seconds=round(max(0.0, until - now), 1)
        )
        await self._source.give_back([*self._puller.arrived, *self._admitter.give_up()])
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(until, self._drain_until)) as self._draining:
                await self._changed.until(lambda: self._runner.lost is not None or not self._runner.running)
        self._draining = None
        self._runner.abort()
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                await self._changed.until(lambda: not self._runner.running)
                await self._settler.flush()
        except TimeoutError:
            log.warning("storing did not finish in time; other workers run the rest again", left=len(self._settler))
            self._settler.abandon()
