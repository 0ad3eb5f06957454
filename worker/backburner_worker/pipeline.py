"""The architecture in one file: pull → admit → generate → store → settle.

Each delivery walks this way once. `pull` holds it in the feeder's window; `admit` gives it a place in the engine;
`generate` gets its outcome; `store` returns when that is durable; only then is it settled.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

from backburner.logs import get_logger
from backburner_schemas.codec import Unaddressed
from backburner_schemas.errors import EngineLost
from backburner_schemas.names import Lane
from backburner_worker.admission import Admission
from backburner_worker.feeder import Feeder
from backburner_worker.generator import Generator
from backburner_worker.jobs import JobBook, JobKey
from backburner_worker.outcome import Outcome
from backburner_worker.policy import JobFacts, Run, Verdict, judge
from backburner_worker.results.results import Results
from backburner_worker.results.writer import SegmentWriter
from backburner_worker.sources.base import Delivery, Source
from backburner_worker.telemetry import Telemetry
from backburner_worker.wakeup import WakeUp

_NO_FACTS = JobFacts()
_WATCH_SECONDS = 1.0
_STORE_SECONDS = 10.0
"""Seconds that a drain gives what is finished to become durable, on top of what running requests get."""

log = get_logger(__name__)


class Pipeline:
    """Carries deliveries from a source through an engine into the store, and settles them."""

    def __init__(
        self,
        *,
        source: Source,
        jobs: JobBook,
        feeder: Feeder,
        admission: Admission,
        generator: Generator,
        results: Results,
        segments: SegmentWriter,
        telemetry: Telemetry,
    ) -> None:
        self._source = source
        self._jobs = jobs
        self._feeder = feeder
        self._admission = admission
        self._generator = generator
        self._results = results
        self._segments = segments
        self._telemetry = telemetry
        self._changed = WakeUp()
        self._stopping = asyncio.Event()
        self._lost: EngineLost | None = None
        self._generating: set[asyncio.Task[None]] = set()
        self._storing: set[asyncio.Task[None]] = set()
        telemetry.watch_held("waiting", lambda: len(self._feeder))
        telemetry.watch_held("engine", lambda: self._admission.in_flight)
        telemetry.watch_held("storing", lambda: len(self._storing))

    def stop(self) -> None:
        """Begin the drain; `run` returns when it is over. May be called from a signal handler, and twice."""
        self._stopping.set()

    async def run(self, *, drain: float, on_joined: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`, then drain: running requests get `drain` seconds. Raises `EngineLost` if the engine died.

        What is finished by then is stored and settled; the rest stays unsettled, for another worker. A part that fails
        in any other way stops everything at once, loudly.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                timers = [
                    tasks.create_task(self._segments.run(self._more_to_come)),
                    tasks.create_task(self._jobs.watch_markers(self._segments.hurry)),
                    tasks.create_task(self._watch()),
                ]
                await self._source.start(self._store_and_settle)
                on_joined()
                intake = [tasks.create_task(self._pull()), tasks.create_task(self._admit(tasks))]
                await self._stopping.wait()
                await self._drain(intake, 0.0 if self._lost else drain)
                for timer in timers:
                    timer.cancel()
        finally:
            await self._source.close()
        if self._lost is not None:
            raise self._lost

    # --- pull -------------------------------------------------------------------------------------------------

    async def _pull(self) -> None:
        while True:
            await self._changed.until(lambda: self._results.has_room and bool(self._feeder.budget()))
            deliveries = await self._pull_within(self._feeder.budget())
            await self._jobs.learn(job for delivery in deliveries if (job := _job_of(delivery)) is not None)
            for delivery in deliveries:
                self._feeder.add(delivery)
                if (job := _job_of(delivery)) is not None:
                    self._segments.holds(job)
            if deliveries:
                self._telemetry.pulled(delivery.lane for delivery in deliveries)
                self._changed.set()

    async def _pull_within(self, budget: Mapping[Lane, int]) -> list[Delivery]:
        """Pull; but break off, with nothing, when a lane that was full has room again and is not in this budget."""
        if len(budget) == len(Lane):
            return await self._source.pull(budget)
        pull = asyncio.ensure_future(self._source.pull(budget))
        room = asyncio.ensure_future(self._changed.until(lambda: self._feeder.reopened(budget)))
        try:
            await asyncio.wait({pull, room}, return_when=asyncio.FIRST_COMPLETED)
            return await pull if pull.done() else []
        finally:
            room.cancel()
            pull.cancel()

    def _more_to_come(self) -> bool:
        """Whether the queue has messages for this worker that it does not hold yet. An estimate."""
        held = len(self._feeder) + len(self._generating) + len(self._storing)
        return sum(self._source.lag().values()) > held

    # --- admit ------------------------------------------------------------------------------------------------

    async def _admit(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._changed.until(lambda: bool(self._feeder) and self._admission.open and self._results.has_room)
            delivery = self._feeder.take()
            if delivery is None:
                continue
            verdict, cost = self._judge(delivery), 0
            if isinstance(verdict, Run):
                cost = self._admission.cost(len(delivery.raw), verdict.envelope.body)
                if not self._admission.fits(cost):
                    await self._changed.until(partial(self._admission.fits, cost))
                    # It may have expired or been cancelled meanwhile.
                    verdict = self._judge(delivery)
            if delivery.lease.lost:
                self._let_go(delivery)
                continue
            self._admission.enter(cost)
            self._generating.add(tasks.create_task(self._process(delivery, verdict, cost)))

    def _judge(self, delivery: Delivery) -> Verdict:
        job = _job_of(delivery)
        return judge(delivery, self._jobs.facts(job) if job else _NO_FACTS, time.time())

    # --- generate, store, settle ------------------------------------------------------------------------------

    async def _process(self, delivery: Delivery, verdict: Verdict, cost: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            # Set here, since a task that is cancelled before its first step never gets to its finally.
            delivery.lease.on_lost(task.cancel)
            outcome = await self._generator.outcome(delivery, verdict)
        except EngineLost as error:
            self._engine_lost(error)
            return
        finally:
            delivery.lease.on_lost(None)
            self._admission.leave(cost)
            self._generating.discard(task)
            self._let_go(delivery)
            self._changed.set()
        del verdict
        delivery.shed()
        self._storing.add(task)
        try:
            await self._store(delivery, outcome)
        finally:
            self._storing.discard(task)
            self._changed.set()

    async def _store(self, delivery: Delivery, outcome: Outcome) -> None:
        await self._results.store(outcome)
        await self._source.settle(delivery)
        self._telemetry.settled(outcome.kind, outcome.code)

    async def _store_and_settle(self) -> None:
        """Everything that has its outcome is durable and settled when this returns."""
        await self._results.flush({*self._storing})

    def _let_go(self, delivery: Delivery) -> None:
        if (job := _job_of(delivery)) is not None:
            self._segments.lets_go(job)

    # --- the end ----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Notice the death of an engine that nobody is asking anything, and show the lag."""
        while not self._generator.engine_lost:
            self._telemetry.lag(self._source.lag())
            await asyncio.sleep(_WATCH_SECONDS)
        self._engine_lost(EngineLost())

    def _engine_lost(self, error: EngineLost) -> None:
        if self._lost is None:
            log.error("the engine is lost; storing what is finished", error=error.message)
            self._lost = error
            self._stopping.set()

    async def _drain(self, intake: list[asyncio.Task[None]], seconds: float) -> None:
        await self._source.stop()
        for task in intake:
            task.cancel()
        for delivery in self._feeder.drop_all():
            self._let_go(delivery)
        log.info("draining", running=len(self._generating), storing=len(self._storing), seconds=seconds)
        if self._generating:
            await asyncio.wait([*self._generating], timeout=seconds)
        for task in [*self._generating]:
            task.cancel()
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                await self._store_and_settle()
        except TimeoutError:
            log.warning("the store did not take everything in time; the rest is run again", left=len(self._storing))
            for task in [*self._storing]:
                task.cancel()


def _job_of(delivery: Delivery) -> JobKey | None:
    message = delivery.message
    return None if isinstance(message, Unaddressed) else (message.address.tenant, message.address.job)
