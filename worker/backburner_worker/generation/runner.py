"""Runs what is admitted: one request's way through the engine, and what becomes of it, however that ends.

It decides by the policy, creates no record and stores nothing.
"""

import asyncio
import random

from backburner.logs import explained, get_logger
from backburner.runtime.until_stored import STOPS_THE_PROCESS, asked_to_end
from backburner.storage.clock import StoreClock
from backburner_schemas.errors import (
    BackburnerError,
    Cancelled,
    EngineError,
    EngineLost,
    GenerationAborted,
    GenerationTooLong,
)
from backburner_worker.admission.admitter import Admitter
from backburner_worker.generation.engine_watch import EngineWatch
from backburner_worker.generation.handler import RequestHandler
from backburner_worker.generation.running_request import Abort, RunningRequest
from backburner_worker.jobs import JobCache, JobKey
from backburner_worker.outcome import Ending
from backburner_worker.policy import (
    Complete,
    Retry,
    RetryRules,
    Run,
    after_engine_death,
    after_failure,
    among_fewer,
    convicted,
    judge,
    runs_elsewhere,
)
from backburner_worker.scheduling.work import Work
from backburner_worker.settlement.suspects import Marking, Suspects
from backburner_worker.sources.base import Source

log = get_logger(__name__)


class RequestRunner:
    """Runs requests, each in the task that calls `run`, and breaks them off."""

    def __init__(
        self,
        *,
        handler: RequestHandler,
        watch: EngineWatch,
        source: Source,
        jobs: JobCache,
        admitter: Admitter,
        suspects: Suspects,
        rules: RetryRules,
        clock: StoreClock,
        log_prompts: bool = False,
    ) -> None:
        """`admitter` is stopped when the engine has died. Deadlines go by `clock`."""
        self._handler = handler
        self._watch = watch
        self._source = source
        self._jobs = jobs
        self._admitter = admitter
        self._suspects = suspects
        self._rules = rules
        self._log_prompts = log_prompts
        self._clock = clock
        self.running: set[RunningRequest] = set()
        """Requests that have a place in the engine. Others only read."""
        self.lost: EngineLost | None = None
        """Why nothing can run any more: the engine died."""
        self._died: frozenset[RunningRequest] = frozenset()
        """The requests that were in it then."""
        self._died_together = 0
        """How many these are, with those that may have done it before they were broken off."""
        self._broken_off = 0
        """Requests that were broken off in the engine since it last answered: any of these may be what it dies of."""
        self._stopping = False
        """Whether the worker was stopping already when the engine died: its process may have been told to end, too."""

    def __len__(self) -> int:
        return len(self.running)

    @property
    def suspects(self) -> int:
        """Suspects that run, with nothing else."""
        return sum(request.suspect for request in self.running)

    @property
    def crashed(self) -> bool:
        """Whether a request broke our own code."""
        return self._suspects.crashed

    async def run(self, work: Work, task: asyncio.Task[None]) -> Ending:
        """Run what was admitted, in `task`, which calls. Returns how it ended; None where it is left to another worker.

        Raises what no retry can fix, such as `StoreDenied` and `StoreFull`; anything else that is not the engine's own
        trouble is recorded as a crash first, and ends the worker. Cancelling the task breaks the request off.
        """
        delivery = work.delivery
        request = RunningRequest(work)
        self.running.add(request)
        try:
            try:
                request.begin(task)
                if request.suspect and (ending := await self._not_now(request)) is not None:
                    return ending
                await self._source.begin(delivery)
                return await self._respond(request)
            except EngineLost as error:
                self._engine_lost(error)
                return self._after_abort(request, Abort.ENGINE_LOST)
            except asyncio.CancelledError:
                return self._after_abort(request, request.why())
            finally:
                self._broken_off += request.entered and request.aborted is not None
                delivery.lease.on_lost(None)
                self.running.discard(request)
                self._admitter.leave(work)
        except Exception as error:
            await self._suspects.record_crash(error, delivery)
            raise

    def cancel(self, jobs: frozenset[JobKey]) -> None:
        """Break off what runs of these jobs, which were cancelled: it ends with records."""
        for request in [*self.running]:
            if request.delivery.job in jobs:
                request.abort(Abort.CANCELLED)

    def abort(self) -> None:
        """Break off all that runs, since the worker ends."""
        for request in [*self.running]:
            request.abort(Abort.ENGINE_LOST if self.lost else Abort.DRAIN)

    async def watch_engine(self) -> None:
        """Return once the engine has died, or hangs, even while nothing runs."""
        self._engine_lost(await self._watch.lost(self.running))

    async def renew_marks(self) -> None:
        """Renew the marks of suspects that run, for ever."""
        await self._suspects.renew()

    async def close(self) -> None:
        """Remove the marks of suspects that are left, unless they are to show a crash."""
        if not self._suspects.crashed:
            await self._suspects.close()

    async def _not_now(self, request: RunningRequest) -> Ending:
        """Mark a suspect; how it ends if it may not run here and now, or None."""
        delivery, run = request.delivery, request.run
        marking = await self._suspects.mark(
            run.envelope.address, together=request.work.trial, left_cleanly=delivery.left_cleanly
        )
        if isinstance(marking, int):
            log.info("the suspect ran with others when their worker vanished; it is to run with fewer", **request.where)
            return among_fewer(run, delivery.facts, marking)
        if marking is Marking.CONVICTED:
            return convicted(run)
        if marking is Marking.ELSEWHERE:
            log.info("another worker runs a copy of the suspect; putting this one back", **request.where)
            return runs_elsewhere(run, delivery.facts, self._clock.now())
        return None

    async def _respond(self, request: RunningRequest) -> Ending:
        """How it ends if nobody breaks it off. Raises `EngineLost`, and what no retry can fix."""
        try:
            outcome = await self._handler.respond(request)
        except (EngineLost, *STOPS_THE_PROCESS):
            raise
        except asyncio.CancelledError:
            if asked_to_end():
                raise
            return self._after_failure(request, GenerationAborted())
        except BackburnerError as error:
            return self._after_failure(request, error)
        except Exception as error:
            # A body that breaks the engine's own code is one request's trouble, not the worker's.
            log.exception("generation failed with an unexpected error; retrying or giving up", **request.where)
            return self._after_failure(request, EngineError(f"the engine failed: {type(error).__name__}"))
        if request.entered:
            self._broken_off = 0
        return outcome

    def _after_failure(self, request: RunningRequest, failure: BackburnerError) -> Ending:
        """What becomes of it after that. A frame that keeps its own error would keep the body with it."""
        # The random number spreads retries; it hides nothing.
        chance = random.random()  # noqa: S311
        ending = after_failure(
            request.run,
            failure,
            request.delivery.facts,
            now=self._clock.now(),
            trusted=self._clock.trusted,
            rules=self._rules,
            chance=chance,
        )
        if isinstance(ending, Retry):
            log.info("generation failed; retrying", **explained(failure, whole=self._log_prompts), **request.where)
        return ending

    def _after_abort(self, request: RunningRequest, why: Abort) -> Ending:
        """How a request ends that was broken off; None where it is left to another worker."""
        delivery, run = request.delivery, request.run
        if why is Abort.CANCELLED:
            verdict = judge(delivery, self._jobs.facts(delivery.job), self._clock.trusted_now())
            return Complete(run.envelope.address, Cancelled(), run.answer) if isinstance(verdict, Run) else verdict
        if why is Abort.TOO_LONG:
            return self._after_failure(request, GenerationTooLong())
        if why is Abort.ENGINE_LOST and request in self._died:
            return after_engine_death(run, delivery.facts, self._died_together, stopping=self._stopping)
        return None

    def _engine_lost(self, error: EngineLost) -> None:
        if self.lost is None:
            log.error("engine died; storing what is finished, then exiting", error=error.message)
            self.lost = error
            self._died = frozenset(request for request in self.running if request.entered)
            self._died_together = len(self._died) + self._broken_off
            self._stopping = self._admitter.stopped.is_set()
            self._admitter.stop()
