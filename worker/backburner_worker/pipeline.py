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

from backburner.logs import get_logger
from backburner_schemas.errors import Cancelled, EngineLost
from backburner_schemas.prefix import prefix_chain
from backburner_worker.admission.admission import Admission
from backburner_worker.admission.admitter import Admitting
from backburner_worker.generation.runner import Generator
from backburner_worker.generation.running_request import Abort, Generation
from backburner_worker.jobs import JobBook, JobKey
from backburner_worker.outcome import Outcome
from backburner_worker.policy import Complete, End, JobFacts, Retry, Run, Verdict, after_engine_death, convicted, judge
from backburner_worker.process.notifier import WakeUp
from backburner_worker.process.telemetry import Telemetry
from backburner_worker.scheduling.feeder import Feeder
from backburner_worker.scheduling.work import Work
from backburner_worker.settlement.segment_writer import SegmentWriter
from backburner_worker.settlement.settler import Settling
from backburner_worker.settlement.suspects import Suspects
from backburner_worker.sources.base import Delivery, Source
from backburner_worker.sources.pulling import pull_within

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
        tasks: asyncio.TaskGroup,
    ) -> None:
        """`changed` and `tasks`, which `run` enters, are those of `settling` too."""
        self._source = source
        self._jobs = jobs
        self._feeder = feeder
        self._admission = admission
        self._generator = generator
        self._suspects = suspects
        self._settling = settling
        self._segments = segments
        self._telemetry = telemetry
        self._tasks = tasks
        self._changed = changed
        self._stopping = asyncio.Event()
        self._lost: EngineLost | None = None
        self._arriving: deque[Delivery] = deque()
        self._generating: set[Generation] = set()
        self._admitting = Admitting(
            feeder=feeder,
            admission=admission,
            has_room=lambda: settling.has_room,
            may_run=self._may_run,
            run=self._process,
            changed=changed,
            tasks=tasks,
        )
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
                pulling = tasks.create_task(self._pull())
                self._admitting.start()
                await self._stopping.wait()
                await self._drain(pulling, drain)
                for timer in timers:
                    timer.cancel()
        finally:
            if not self._suspects.broken:
                # Before others have what is given back: a mark that they find convicts.
                await self._suspects.close()
            try:
                # What the engine took with it is told of one way or the other: as suspects on the queue, or as blamed.
                await self._source.close(clean=not (self._suspects.broken or (self._lost and self._settling.abandoned)))
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
                facts = self._jobs.facts(delivery.job)
                verdict = judge(delivery, facts, time.time())
                if isinstance(verdict, Run):
                    self._feeder.add(self._weigh(delivery, verdict, facts))
                    self._hold(delivery)
                else:
                    self._end_unrun(delivery, verdict)
                    await self._settling.begun()
                    await self._changed.until(lambda: self._settling.has_room)
            self._changed.set()

    def _more_to_come(self) -> bool:
        """Whether the queue has messages for this worker that it does not hold yet. An estimate."""
        held = len(self._feeder) + len(self._generating) + len(self._settling)
        return sum(self._source.lag().values()) > held

    # --- admit ------------------------------------------------------------------------------------------------

    def _weigh(self, delivery: Delivery, run: Run, facts: JobFacts) -> Work:
        try:
            expected = self._admission.expect(run.envelope, len(delivery.raw))
            return Work(delivery, run, expected.tokens, prefix_chain(run.envelope.body), expected, facts)
        except Exception:
            # Weights are advice: no body may end the worker here, before anything could be blamed for it.
            log.exception("a request could not be weighed; it counts for nothing")
            return Work(delivery, run, 0, facts=facts)

    def _may_run(self, work: Work) -> bool:
        """Judge again, since it may have expired, or gone, while it was held."""
        delivery = work.delivery
        if delivery.lease.lost:
            self._let_go(delivery)
            return False
        facts, now = self._jobs.facts(delivery.job), time.time()
        if facts is work.facts and now <= work.run.deadline:
            return True
        if isinstance(verdict := judge(delivery, facts, now), Run):
            work.run = verdict
            return True
        self._let_go(delivery)
        self._end_unrun(delivery, verdict)
        return False

    def _judge(self, delivery: Delivery) -> Verdict:
        return judge(delivery, self._jobs.facts(delivery.job), time.time())

    # --- generate ---------------------------------------------------------------------------------------------

    async def _process(self, work: Work, task: asyncio.Task[None]) -> None:
        try:
            await self._run(Generation(work), task)
        except Exception as error:
            await self._suspects.blame(error, work.delivery)
            raise

    async def _run(self, generation: Generation, task: asyncio.Task[None]) -> None:
        delivery, run = generation.delivery, generation.run
        self._generating.add(generation)
        ending: Outcome | Retry | None
        try:
            generation.begin(task)
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
        self._settling.end(delivery, ending)
        await self._settling.begun()

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
        self._settling.end(delivery, self._generator.ended(delivery, verdict))

    def _hold(self, delivery: Delivery) -> None:
        if (job := delivery.job) is not None:
            self._segments.holds(job)

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
            self._admitting.stop()
            self._stopping.set()
            self._changed.set()

    async def _drain(self, pulling: asyncio.Task[None], seconds: float) -> None:
        await self._source.stop()
        self._admitting.stop()
        pulling.cancel()
        await asyncio.wait([pulling])
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
