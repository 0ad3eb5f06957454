"""The last step of a delivery: its outcome durable or its retry on the queue, its mark gone, and only then settled."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

from backburner.runtime.notifier import Notifier
from backburner_schemas.errors import MessageTooLarge, PoisonRequest
from backburner_worker.jobs import JobKey
from backburner_worker.outcome import ALREADY_ANSWERED, Ending, Outcome, Signature
from backburner_worker.policy import AlreadyAnswered, Complete, DeadLettered, Drop, Retry
from backburner_worker.settlement.results import Results
from backburner_worker.settlement.retries import RetryPublisher
from backburner_worker.settlement.segment_writer import Durable, SegmentWriter
from backburner_worker.settlement.suspects import Suspects
from backburner_worker.sources.base import Delivery, Source
from backburner_worker.telemetry.telemetry import Telemetry

_VERDICTS = Complete, DeadLettered, Drop, AlreadyAnswered


@dataclass(slots=True)
class _Batch:
    """Deliveries whose records are in one segment."""

    deliveries: list[Delivery] = field(default_factory=list)
    endings: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many end how: kinds and codes."""


class Settler:
    """Ends deliveries: those with a record in a segment together with it, any other in a task of its own.

    A crash between two of its steps gets the delivery redelivered, and loses nothing.
    """

    def __init__(
        self,
        *,
        source: Source,
        segments: SegmentWriter,
        results: Results,
        retries: RetryPublisher,
        signature: Signature,
        suspects: Suspects,
        changed: Notifier,
        telemetry: Telemetry,
        tasks: asyncio.TaskGroup,
        log_prompts: bool = False,
    ) -> None:
        """`changed` is woken whenever one has ended. What no retry can fix is raised in `tasks`."""
        self._source = source
        self._segments = segments
        self._results = results
        self._retries = retries
        self._signature = signature
        self._suspects = suspects
        self._changed = changed
        self._telemetry = telemetry
        self._tasks = tasks
        self._log_prompts = log_prompts
        self._under_way: set[asyncio.Task[None]] = set()
        self._batches: dict[Durable, _Batch] = {}
        self._fresh = False
        """Whether a task was made that nobody has let begin."""
        self.abandoned = False
        """Whether something was broken off, so that neither its outcome nor its retry may be there."""
        telemetry.watch_in_flight("storing", lambda: len(self))

    def __len__(self) -> int:
        # A copy: `/metrics` asks from a thread of its own, while batches come and go.
        gathered = sum(len(batch.deliveries) for batch in [*self._batches.values()])
        return gathered + len(self._under_way) - len(self._batches)

    @property
    def has_room(self) -> bool:
        """Whether more deliveries may end; false while too much waits for the store or the queue."""
        return self._results.has_room and self._retries.has_room

    def hold(self, delivery: Delivery) -> None:
        """Count a delivery that came, and will be ended or let go."""
        if (job := delivery.job) is not None:
            self._segments.holds(job)

    def let_go(self, delivery: Delivery) -> None:
        """Forget a delivery that went to another worker."""
        if (job := delivery.job) is not None:
            self._segments.lets_go(job)

    async def settle(self, delivery: Delivery, ending: Ending) -> None:
        """End the delivery; returns when it is counted as waiting for the store or the queue, so that `has_room` holds.

        What breaks our own code is recorded as a crash and raised.
        """
        try:
            self.end(delivery, ending)
        except Exception as error:
            await self._suspects.record_crash(error, delivery)
            raise
        if self._fresh:
            self._fresh = False
            await asyncio.sleep(0)

    def end(self, delivery: Delivery, ending: Ending) -> None:
        """Have the delivery settled once its ending is durable; without an ending, leave it to another worker.

        `has_room` may not count it yet.
        """
        self.let_go(delivery)
        if self.abandoned:
            return
        suspect = delivery.facts.suspect
        if isinstance(ending, _VERDICTS):
            ending = Outcome.of(ending, delivery, self._signature, log_prompts=self._log_prompts)
        if isinstance(ending, Outcome) and not suspect and (durable := self._results.gather(ending)) is not None:
            self._settle_with(durable, delivery, ending)
        elif ending is not None:
            self._start(partial(self._settle, delivery, ending), delivery)
        elif suspect and delivery.address is not None:
            self._start(partial(self._suspects.give_up, delivery.address), delivery)

    def hurry(self, jobs: frozenset[JobKey]) -> None:
        """Write soon what is here of these jobs, which were cancelled."""
        self._segments.hurry(jobs)

    async def write_segments(self, more_to_come: Callable[[], bool]) -> None:
        """Write segments as they come due, for ever. `more_to_come`: whether the queue has more for this worker."""
        await self._segments.run(more_to_come)

    async def flush(self) -> None:
        """Return when what has its ending by now is durable and settled."""
        await self._results.flush({*self._under_way})

    def abandon(self) -> None:
        """Break off what is under way, and whatever comes after; it stays unsettled."""
        self.abandoned = True
        for task in [*self._under_way]:
            task.cancel()

    async def close(self) -> None:
        """Disconnect from the queue, after everything has ended."""
        await self._retries.close()

    def _start(self, work: Callable[[], Awaitable[None]], delivery: Delivery | None = None) -> None:
        task = self._tasks.create_task(self._recording_crash(work, delivery))
        self._under_way.add(task)
        self._fresh = True
        task.add_done_callback(self._ended)

    async def _recording_crash(self, work: Callable[[], Awaitable[None]], delivery: Delivery | None) -> None:
        try:
            await work()
        except Exception as error:
            await self._suspects.record_crash(error, delivery)
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._changed.set()

    async def _put_back(self, retry: Retry, delivery: Delivery) -> Retry | Outcome:
        """Put it back onto the queue; how it ends instead, if the queue will never take it."""
        try:
            await self._retries.put(self._signed(retry), len(delivery.raw))
        except MessageTooLarge as error:
            return Outcome.of(DeadLettered(delivery.address, error, retry.answer), delivery, self._signature)
        self._telemetry.retried(retry.code)
        return retry

    def _signed(self, retry: Retry) -> Retry:
        """The retry with the place where it failed: who answers it in the end may be of another group."""
        if not retry.has_failed:
            return retry
        return replace(retry, facts=retry.facts.failed(self._signature.group, self._signature.release))

    def _settle_with(self, durable: Durable, delivery: Delivery, ending: Outcome) -> None:
        batch = self._batches.get(durable)
        if batch is None:
            batch = self._batches[durable] = _Batch()
            self._start(partial(self._settle_batch, durable, batch))
        delivery.drop_payload()
        batch.deliveries.append(delivery)
        batch.endings[ending.kind, ending.code] += 1

    async def _settle_batch(self, durable: Durable, batch: _Batch) -> None:
        try:
            await durable.wait()
            for delivery in batch.deliveries:
                await self._source.settle(delivery)
            for (kind, code), count in batch.endings.items():
                self._telemetry.settled(kind, code, count)
        finally:
            del self._batches[durable]

    async def _settle(self, delivery: Delivery, ending: Outcome | Retry) -> None:
        suspect = delivery.address if delivery.facts.suspect else None
        convicted = suspect is not None and ending.code == PoisonRequest.code
        if suspect is not None:
            if convicted:
                await self._suspects.convict(suspect)
            elif not isinstance(ending, Retry) or ending.has_failed:
                # Not where a copy runs: the mark is that copy's, and has to show if its worker dies.
                # First: with the mark still there, a crash now would have the next owner convict one that ended well.
                await self._suspects.clear(suspect)
        if isinstance(ending, Retry):
            ending = await self._put_back(ending, delivery)
        if isinstance(ending, Outcome):
            delivery.drop_payload()
            await self._results.store(ending)
        if suspect is not None and convicted:
            # Last: with the mark gone before the letter is there, a crash would have the poison kill once more.
            await self._suspects.clear(suspect)
        await self._source.settle(delivery)
        self._telemetry.settled(ending.kind, ending.code)
        if ending.kind == ALREADY_ANSWERED and delivery.job is not None:
            self._segments.answered_earlier(delivery.job)
