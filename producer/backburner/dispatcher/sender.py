"""Sends turns of the jobs that this dispatcher has, one after the other as the scheduler says, several at a time."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from backburner.availability import Availability
from backburner.dispatcher.claim import Claim
from backburner.dispatcher.metrics import Metrics
from backburner.dispatcher.sharing.backlog import Backlog
from backburner.dispatcher.sharing.scheduler import Queue, Scheduler
from backburner.dispatcher.stream import JobStream, Turn
from backburner.publishers.base import Publisher, PublishFailed
from backburner.runtime.notifier import Notifier
from backburner.runtime.retrying import FailureLog, retry_until_done
from backburner.runtime.until_stored import asked_to_end, until_stored
from backburner.settings import QueueKind
from backburner.storage import Storage
from backburner.submission.envelopes import claim_check_all, to_send_again
from backburner_schemas.errors import QueueError, StoreFull

_MAX_TURNS_IN_FLIGHT = 4
"""Turns that are on their way to one lane of a pool: enough that the broker never waits for one. A lane whose topic is
missing holds up no other."""
_CHECK_SECONDS = 0.5
"""How often it is asked whether something may be sent, where nothing tells: claims and windows end by the clock."""
_PATIENCE_SECONDS = 5.0
"""Seconds without success after which the queue counts as away, as the store does."""

_failures = FailureLog("publishing failed; retrying")


@dataclass(slots=True, eq=False)
class Sending:
    """A job that is being sent."""

    stream: JobStream
    claim: Claim


class Sender(Availability):
    """Sends what is given to it, for ever."""

    def __init__(
        self,
        storage: Storage,
        publisher: Callable[[], Awaitable[Publisher]],
        queue: QueueKind,
        *,
        scheduler: Scheduler,
        backlog: Backlog,
        changed: Notifier,
        metrics: Metrics,
    ) -> None:
        self._storage = storage
        self._publisher = publisher
        self._queue = queue
        self._scheduler = scheduler
        self._backlog = backlog
        self._changed = changed
        self._metrics = metrics
        self._failing: float | None = None
        """Monotonic seconds at which the first publish failed since the last that worked."""
        self._last_failure = ""
        self._jobs: list[Sending] = []
        self._in_flight: dict[asyncio.Task[None], Sending] = {}
        self._under_way: Counter[Queue] = Counter()

    def unavailable_reason(self) -> str | None:
        """Why the queue takes nothing, in one line; None while it does, or is not asked."""
        if self._failing is None or time.monotonic() - self._failing < _PATIENCE_SECONDS:
            return None
        return f"requests cannot be published: {self._last_failure}"

    @contextmanager
    def sending(self, job: Sending) -> Iterator[None]:
        """Within the block, turns of the job are sent; what is on its way at its end is given up."""
        self._jobs.append(job)
        self._changed.set()
        try:
            yield
        finally:
            self._jobs.remove(job)
            for task, owner in self._in_flight.items():
                if owner is job:
                    task.cancel()

    async def run(self) -> None:
        """Send for ever. Raises what no repetition mends, such as a store that refuses large bodies."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                if (job := self._next()) is None:
                    await self._wait()
                else:
                    await self._send(job, tasks)

    def _next(self) -> Sending | None:
        """The job whose turn it is, if one can be sent now."""
        ready = {
            job.stream: job
            for job in self._jobs
            if job.stream.may_send
            and self._under_way[job.stream.queue] < _MAX_TURNS_IN_FLIGHT
            and job.claim.safe
            and self._backlog.has_workers(job.stream.queue[0])
            and self._backlog.room(job.stream.queue, job.stream.left)
        }
        chosen = self._scheduler.pick(ready, self._storage.clock.now())
        return ready[chosen] if chosen is not None else None

    async def _send(self, job: Sending, tasks: asyncio.TaskGroup) -> None:
        stream = job.stream
        turn = await stream.take(self._backlog.room(stream.queue, stream.left))
        if turn is None:
            self._changed.set()
            return
        count = len(turn.messages)
        self._scheduler.charge(stream.tenant, turn.queue, count)
        self._backlog.sent(turn.queue, count)
        task = tasks.create_task(self._deliver(job, turn))
        self._in_flight[task] = job
        self._under_way[turn.queue] += 1
        task.add_done_callback(partial(self._over, turn.queue))

    def _over(self, queue: Queue, task: "asyncio.Task[None]") -> None:
        del self._in_flight[task]
        self._under_way[queue] -= 1
        if not self._in_flight:
            # Another dispatcher may have taken the job over: the queue is not asked here any more, and never answers.
            self._failing = None
        self._changed.set()

    async def _deliver(self, job: Sending, turn: Turn) -> None:
        """Publish until the broker has all of the turn, or the job is another's. Its own faults stop the job alone."""
        try:
            await self._publish(job, turn)
        except StoreFull:
            raise
        except Exception as error:  # noqa: BLE001 - the job's run logs it
            job.stream.fail(error)

    async def _publish(self, job: Sending, turn: Turn) -> None:
        messages = await until_stored(
            partial(claim_check_all, self._storage, turn.messages, self._queue), "store large bodies"
        )
        # Its count tells only later what was sent, and a job that is cut off by then waits for late answers.
        await until_stored(job.claim.begin, "write a cursor")
        left = messages

        async def attempt() -> None:
            nonlocal left
            await self._changed.until(lambda: job.claim.safe)
            try:
                await (await self._publisher()).publish(left)
            except PublishFailed as error:
                left = await until_stored(partial(to_send_again, self._storage, left, error), "store large bodies")
                raise
            except asyncio.CancelledError:
                if asked_to_end():
                    raise
                raise QueueError("the connection ended while requests were on their way") from None

        not_published = partial(self._not_published, job.stream)
        await retry_until_done(attempt, lambda error: isinstance(error, QueueError), not_published)
        self._failing, job.stream.trouble = None, ""
        job.stream.acknowledge(turn)
        self._metrics.sent(turn.queue, len(messages))

    def _not_published(self, stream: JobStream, error: BaseException, attempt: int, waited_seconds: float) -> None:
        stream.trouble = str(error)
        if self._failing is None:
            self._failing = time.monotonic()
        self._last_failure = str(error)
        _failures.note("publish a turn", error, attempt, waited_seconds)

    async def _wait(self) -> None:
        """Until something can be sent, or the clock may have changed what can."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CHECK_SECONDS):
                await self._changed.until(lambda: self._next() is not None)
