"""The architecture in one file: pull → admit → generate → store → settle.

Each delivery walks this way once. `pull` holds it in the feeder's window; `admit` gives it a place in the engine;
`generate` gets its outcome; `store` returns when that is durable, or back on the queue as a retry; only then is it
settled. What needs no engine goes from `pull` to `store` at once.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from backburner.logs import get_logger
from backburner_schemas.errors import Cancelled, EngineLost
from backburner_schemas.prefix import prefix_chain
from backburner_worker.admission import Admission
from backburner_worker.feeder import Feeder
from backburner_worker.generation import Abort, Generation
from backburner_worker.generator import Generator
from backburner_worker.jobs import JobBook, JobKey
from backburner_worker.lifecycle import reasons
from backburner_worker.outcome import Outcome
from backburner_worker.policy import Complete, End, Retry, Run, Verdict, after_engine_death, convicted, judge
from backburner_worker.pulling import pull_within
from backburner_worker.results.writer import SegmentWriter
from backburner_worker.settling import Settling
from backburner_worker.sources.base import Delivery, Source
from backburner_worker.suspects import Suspects
from backburner_worker.telemetry import Telemetry
from backburner_worker.wakeup import WakeUp
from backburner_worker.work import Work

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
        suspects: Suspects,
        settling: Settling,
        segments: SegmentWriter,
        changed: WakeUp,
        telemetry: Telemetry,
    ) -> None:
        """`changed` is what `settling` wakes too."""
        self._source = source
        self._jobs = jobs
        self._feeder = feeder
        self._admission = admission
        self._generator = generator
        self._suspects = suspects
        self._settling = settling
        self._segments = segments
        self._telemetry = telemetry
        self._tasks = asyncio.TaskGroup()
        self._changed = changed
        self._stopping = asyncio.Event()
        self._lost: EngineLost | None = None
        self._broken = False
        """Whether a request broke our own code: its next owner is to hear of that as of a crash."""
        self._arriving: deque[Delivery] = deque()
        self._generating: set[Generation] = set()
        telemetry.watch_held("waiting", lambda: len(self._feeder))
        telemetry.watch_held("engine", lambda: self._admission.in_flight)
        telemetry.watch_held("suspects", lambda: self._feeder.suspects + sum(one.suspect for one in self._generating))
        telemetry.watch_uncommitted(source.uncommitted)

    def stop(self) -> None:
        """Begin the drain; `run` returns when it is over. May be called from a signal handler, and twice."""
        self._stopping.set()

    async def run(self, *, drain: float, on_joined: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`, then drain: running requests get `drain` seconds. Raises `EngineLost` if the engine died.

        What is finished by then is stored and settled, what died in the engine goes back onto the queue as suspects;
        the rest stays unsettled, for another worker. A part that fails in any other way stops everything at once,
        loudly. Once only.
        """
        try:
            async with self._tasks as tasks:
                timers = [
                    tasks.create_task(self._segments.run(self._more_to_come)),
                    tasks.create_task(self._jobs.watch_markers(self._cancel)),
                    tasks.create_task(self._suspects.renew()),
                    tasks.create_task(self._watch()),
                ]
                await self._source.start(self._settling.flush)
                on_joined()
                intake = [tasks.create_task(self._pull()), tasks.create_task(self._admit())]
                await self._stopping.wait()
                await self._drain(intake, drain)
                for timer in timers:
                    timer.cancel()
        finally:
            if not self._broken:
                # Before others have what is given back: a mark that they find convicts.
                await self._suspects.close()
            try:
                # What the engine took with it is told of one way or the other: as suspects on the queue, or as blamed.
                await self._source.close(clean=not (self._broken or (self._lost and self._settling.abandoned)))
            finally:
                await self._settling.close()
        if self._lost is not None:
            raise self._lost

    # --- pull -------------------------------------------------------------------------------------------------

    async def _pull(self) -> None:
        while True:
            await self._changed.until(lambda: self._settling.has_room and bool(self._feeder.budget()))
            deliveries = await pull_within(self._source, self._feeder, self._changed)
            if not deliveries:
                continue
            self._telemetry.pulled(delivery.lane for delivery in deliveries)
            self._telemetry.redelivered(sum(delivery.redelivered for delivery in deliveries))
            self._arriving.extend(deliveries)
            await self._jobs.learn(delivery.job for delivery in deliveries)
            while self._arriving:
                delivery = self._arriving.popleft()
                verdict = self._judge(delivery)
                if isinstance(verdict, Run):
                    self._feeder.add(self._weigh(delivery, verdict))
                    self._segments.holds((verdict.envelope.tenant, verdict.envelope.job))
                else:
                    self._end_unrun(delivery, verdict)
                    # Its task has to begin before it counts as waiting for the store.
                    await asyncio.sleep(0)
                    await self._changed.until(lambda: self._settling.has_room)
            self._changed.set()

    def _more_to_come(self) -> bool:
        """Whether the queue has messages for this worker that it does not hold yet. An estimate."""
        held = len(self._feeder) + len(self._generating) + len(self._settling)
        return sum(self._source.lag().values()) > held

    # --- admit ------------------------------------------------------------------------------------------------

    async def _admit(self) -> None:
        while True:
            await self._changed.until(self._may_admit)
            if (work := self._feeder.take()) is None:
                continue
            delivery = work.delivery
            if delivery.lease.lost:
                self._let_go(delivery)
                continue
            # Again, since it may have expired while it was held.
            if not isinstance(verdict := self._judge(delivery), Run):
                self._let_go(delivery)
                self._end_unrun(delivery, verdict)
                continue
            work.run = verdict
            if not self._admission.enter(work):
                self._feeder.put_back(work)
                await self._changed.until(partial(self._fits_or_goes, work))
                continue
            generation = Generation(work)
            self._generating.add(generation)
            self._tasks.create_task(self._process(generation))
            if work.suspect:
                await self._changed.until(self._engine_is_empty)

    def _may_admit(self) -> bool:
        if not (self._feeder and self._admission.open and self._settling.has_room):
            return False
        # A suspect runs alone: nothing else enters until the engine is empty and it has run.
        return not self._feeder.suspects or self._engine_is_empty()

    def _engine_is_empty(self) -> bool:
        return self._admission.in_flight == 0

    def _fits_or_goes(self, work: Work) -> bool:
        """Whether there is room for the work, or it is not the next any more."""
        return self._admission.fits(work) or work.delivery.lease.lost or self._feeder.peek() is not work

    def _weigh(self, delivery: Delivery, run: Run) -> Work:
        expected = self._admission.expect(run.envelope, len(delivery.raw))
        return Work(delivery, run, expected.tokens, prefix_chain(run.envelope.body), expected)

    def _judge(self, delivery: Delivery) -> Verdict:
        return judge(delivery, self._jobs.facts(delivery.job), time.time())

    # --- generate ---------------------------------------------------------------------------------------------

    async def _process(self, generation: Generation) -> None:
        try:
            await self._run(generation)
        except Exception as error:
            if not reasons(error):
                self._broken = True
                await self._suspects.blame(generation.delivery)
            raise

    async def _run(self, generation: Generation) -> None:
        delivery, run = generation.delivery, generation.run
        ending: Outcome | Retry | None
        try:
            generation.begin()
            if generation.suspect and not await self._suspects.accuse(run.envelope.address):
                ending = self._generator.ended(delivery, convicted(run))
            else:
                await self._source.begin(delivery)
                ending = await self._generator.outcome(generation)
        except EngineLost as error:
            self._engine_lost(error)
            ending = self._after_abort(generation, Abort.ENGINE_LOST)
        except asyncio.CancelledError:
            ending = self._after_abort(generation, generation.why())
        finally:
            delivery.lease.on_lost(None)
            self._admission.leave(generation.work)
            self._generating.discard(generation)
            self._let_go(delivery)
            self._changed.set()
        # What waits for the store keeps no more than its bytes.
        del generation, run
        await self._settling.end(delivery, ending)

    def _after_abort(self, generation: Generation, why: Abort) -> Outcome | Retry | None:
        """How a generation ends that was broken off; None where it is left to another worker."""
        delivery, run = generation.delivery, generation.run
        if why is Abort.CANCELLED:
            verdict = self._judge(delivery)
            if isinstance(verdict, Run):
                verdict = Complete(run.envelope.address, Cancelled(), run.answer)
            return self._generator.ended(delivery, verdict)
        if why is Abort.ENGINE_LOST and generation.entered:
            retried = after_engine_death(run, delivery.facts)
            return retried if isinstance(retried, Retry) else self._generator.ended(delivery, retried)
        return None

    def _cancel(self, jobs: Iterable[JobKey]) -> None:
        """These jobs were cancelled: what is here of them ends now, with records."""
        cancelled = frozenset(jobs)
        if not cancelled:
            return
        self._segments.hurry(cancelled)
        for work in self._feeder.drop(lambda held: held.delivery.job in cancelled):
            self._let_go(work.delivery)
            verdict = self._judge(work.delivery)
            if not isinstance(verdict, Run):
                self._end_unrun(work.delivery, verdict)
        for generation in [*self._generating]:
            if generation.delivery.job in cancelled:
                generation.abort(Abort.CANCELLED)
        self._changed.set()

    # --- store, settle ----------------------------------------------------------------------------------------

    def _end_unrun(self, delivery: Delivery, verdict: End) -> None:
        ending = self._generator.ended(delivery, verdict)
        self._settling.expect(self._tasks.create_task(self._settling.end(delivery, ending)))

    def _let_go(self, delivery: Delivery) -> None:
        if (job := delivery.job) is not None:
            self._segments.lets_go(job)

    # --- the end ----------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Notice the death of an engine that nobody is asking anything, and show how it stands with the queue."""
        while not self._generator.engine_lost:
            self._telemetry.queue(self._source)
            await asyncio.sleep(_WATCH_SECONDS)
        self._engine_lost(EngineLost())

    def _engine_lost(self, error: EngineLost) -> None:
        if self._lost is None:
            log.error("the engine is lost; storing what is finished", error=error.message)
            self._lost = error
            self._stopping.set()
            self._changed.set()

    async def _drain(self, intake: list[asyncio.Task[None]], seconds: float) -> None:
        await self._source.stop()
        for task in intake:
            task.cancel()
        await asyncio.wait(intake)
        log.info("draining", running=len(self._generating), storing=len(self._settling), seconds=seconds)
        await self._source.give_back([*self._arriving, *(work.delivery for work in self._feeder.drop(lambda _: True))])
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.until(lambda: self._lost is not None or not self._generating)
        for generation in [*self._generating]:
            generation.abort(Abort.ENGINE_LOST if self._lost else Abort.DRAIN)
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                await self._changed.until(lambda: not self._generating)
                await self._settling.flush()
        except TimeoutError:
            log.warning("the store did not take everything in time; the rest is run again", left=len(self._settling))
            self._settling.abandon()
