"""One claimed job, from its input to its seal: plan, spool, send, seal. It goes on where its last owner stopped."""

import asyncio
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from backburner.dispatcher import waiting
from backburner.dispatcher.claim import Claim, ClaimLost
from backburner.dispatcher.pending import PendingJob
from backburner.dispatcher.planner import InputRefused, Planner
from backburner.dispatcher.sender import Sender, Sending
from backburner.dispatcher.sharing.backlog import Backlog
from backburner.dispatcher.spool_room import CrowdedOut
from backburner.dispatcher.stream import JobStream
from backburner.jobs.finalizer import finalize, view_job
from backburner.jobs.job_watch import JobWatch
from backburner.jobs.speed import estimate_of
from backburner.logs import get_logger
from backburner.ordering.plan import Plan
from backburner.runtime.notifier import Notifier
from backburner.runtime.until_stored import until_stored
from backburner.storage import Storage
from backburner.submission.job_objects import JobObjects
from backburner_schemas import keys
from backburner_schemas.errors import JobConflict, StoreError
from backburner_schemas.job import Counts, JobState, Prefix, Sealed, Summary, Waiting

_RENEWALS_PER_CLAIM_COUNT = 6
"""Renewals in a claim's time, where nothing is to be written otherwise."""
_QUIET_LOOKS_COUNT = 2
"""Looks in which nothing is sent of a job before it counts as waiting: turns come in a row, but not without gaps."""
_RETRY_SECONDS = 300.0
"""Until a job is looked at again that cannot go on here."""
_ROOM_SECONDS = 30.0
"""The same where it found no room on the disk, unless one that has some leaves before."""

log = get_logger(__name__)


class Outcome(StrEnum):
    """What became of a job here."""

    SENT = "sent"
    """The broker has all of it, and it is sealed."""
    REFUSED = "refused"
    """Its input cannot be sent; it has failed."""
    ENDED = "ended"
    """It was cancelled or has expired before it was sent whole, and is frozen."""
    HANDED_BACK = "handed_back"
    """Something else has to happen first."""
    LOST = "lost"
    """Another dispatcher has it now."""
    BROKEN = "broken"
    """Something went wrong that nobody foresaw."""


@dataclass(frozen=True, slots=True)
class Over:
    """A job that this process is through with for now."""

    outcome: Outcome
    look_after: float = 0.0
    """Seconds after which it is worth looking at again."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the settings say of every job."""

    claim_seconds: float
    look_seconds: float
    """Between two writes of a cursor, while there is something to write."""
    grace_seconds: float
    """Of a job whose manifest has none."""
    drain_seconds: float
    """How long a job that is handed back waits for what is on its way to the broker; what comes later is sent again."""
    max_body_bytes: int
    max_pools: int = 100
    """Pools that a cursor names."""


class JobRun:
    """The way of one job. Call `run` once."""

    def __init__(
        self,
        storage: Storage,
        pending: PendingJob,
        claim: Claim,
        *,
        planner: Planner,
        sender: Sender,
        backlog: Backlog,
        changed: Notifier,
        settings: RunSettings,
        watch: JobWatch,
    ) -> None:
        """`watch` is what this dispatcher has seen of jobs."""
        self.pending = pending
        self.claim = claim
        self._storage = storage
        self._planner = planner
        self._sender = sender
        self._backlog = backlog
        self._changed = changed
        self._settings = settings
        self._now = storage.clock.now
        self._watch = watch
        self._leaving = False
        self._waiting: Waiting | None = waiting.CHECKING
        self.stream: JobStream | None = None
        """What is left to send, once it is planned."""

    @property
    def reason(self) -> str:
        """Why it is not being sent, or `none`."""
        return self._waiting.reason if self._waiting is not None else "none"

    @property
    def idle(self) -> bool:
        """Whether it cannot be sent for a reason that may last, so that its place is better given to another."""
        stream = self.stream
        return stream is not None and self._is_quiet(stream) and not self._backlog.has_workers(stream.queue[0])

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.pending.tenant

    @property
    def leaving(self) -> bool:
        """Whether it was told to leave the job."""
        return self._leaving

    def leave(self) -> None:
        """Hand the job back as soon as what is on its way has arrived."""
        self._leaving = True
        if self.stream is not None:
            self.stream.stopped = True
        self._changed.set()

    async def run(self) -> Over:
        """Take the job as far as it goes. Raises what no repetition mends: a store that refuses, or is full."""
        beating: asyncio.Task[None] | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                beating = tasks.create_task(self._renew())
                try:
                    return await self._go()
                finally:
                    beating.cancel()
        except* ClaimLost:
            log.warning("another dispatcher has the job now; leaving it", **self._names)
        return Over(Outcome.LOST)

    # --- the way ---------------------------------------------------------------------------------------------------

    async def _go(self) -> Over:
        view = await until_stored(
            partial(view_job, self._storage, *self.pending.key, with_segments=False), "read a job"
        )
        if view is None or view.summary is not None:
            return await self._end(Outcome.ENDED)
        if view.sealed is not None:
            return await self._end(Outcome.SENT)
        if self._all_sent:
            # Its last owner ended before the seal. Neither plan nor input is needed, which may be gone by now.
            return await self._seal()
        if self._over:
            return await self._cut_off()
        try:
            stream = await self._planned_in_time()
            if stream is None:
                return await (self._cut_off() if self._over else self._hand_back(0.0))
            with closing(stream):
                return await self._send(stream)
        except InputRefused as refused:
            return await self._refuse(refused)
        except OSError as error:
            return await self._without_disk(error)

    async def _without_disk(self, error: OSError) -> Over:
        """Hand back a job that cannot be kept on this machine's disk."""
        if isinstance(error, CrowdedOut):
            self.pending.crowded_out = True
            log.info("a job finds no room on this machine's disk; trying later", **self._names, reason=error.strerror)
            return await self._hand_back(_ROOM_SECONDS, error.strerror)
        log.error("keeping a job on this machine's disk failed; trying later", **self._names, error=str(error))
        return await self._hand_back(_RETRY_SECONDS, error)

    async def _planned_in_time(self) -> JobStream | None:
        """The planned job; None if it has to be left or ended before that."""
        planning = asyncio.create_task(self._planned())
        planning.add_done_callback(lambda _: self._changed.set())
        try:
            await self._changed.until(lambda: planning.done() or self._leaving or self._over)
            return await planning if planning.done() else None
        finally:
            planning.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([planning])

    async def _planned(self) -> JobStream:
        """The job's plan and its lines, from where its last owner came to. Close it."""
        manifest, cursor = self.pending.manifest, self.claim.cursor
        plan, start = await self._planner.stored(manifest), cursor.count
        if plan is None:
            if cursor.count:
                # Before there is a new plan: whoever finds that would go on in it at a position of the old one.
                await self._write(count=0)
            plan, start = await self._planner.make(manifest), 0
            if cursor.count:
                # Positions of this plan tell nothing of the one that is gone.
                log.warning("the job was planned anew; all of it is sent again", **self._names)
        try:
            start = min(start, plan.count)
            estimate = await until_stored(
                partial(estimate_of, self._storage, manifest.tenant, plan), "look for a pool's speed"
            )
            await self._write(**self._known_of(plan, start), estimate=estimate)
            spool = await self._planner.spool(manifest, plan, start)
        except BaseException:
            plan.close()
            raise
        self.pending.planned, self.pending.crowded_out = True, False
        return JobStream(manifest, plan, spool, start, max_bytes=self._settings.max_body_bytes, now=self._now)

    def _known_of(self, plan: Plan, start: int) -> dict[str, Any]:
        """What the cursor tells of a job that is planned."""
        return {
            "count": start,
            "total": plan.count,
            "whole": Prefix(plan.count, plan.digest.lines_sha256.hex()),
            "planned_at": self.claim.cursor.planned_at or self._now(),
            "pools": tuple(pool for pool, _ in plan.pools)[: self._settings.max_pools],
            "pool_counts": tuple(count for _, count in plan.pools)[: self._settings.max_pools],
        }

    async def _send(self, stream: JobStream) -> Over:
        """Have all of it sent, unless something ends that, and seal it."""
        self.stream = stream
        with self._sender.sending(Sending(stream, self.claim)):
            await self._changed.until(lambda: stream.acknowledged == stream.total or self._must_stop)
            if stream.acknowledged < stream.total:
                stream.stopped = True
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.drain_seconds):
                        await self._changed.until(lambda: stream.quiet)
        await self._confirm(stream)
        if self._all_sent:
            return await self._seal()
        if self._over:
            return await self._cut_off()
        if stream.failure is not None:
            log.error("sending a job failed; trying later", **self._names, error=str(stream.failure))
            return await self._hand_back(_RETRY_SECONDS, stream.failure)
        return await self._hand_back(0.0)

    @property
    def _must_stop(self) -> bool:
        failed = self.stream is not None and self.stream.failure is not None
        return self._leaving or failed or self._over or self.pending.held_back(self._now())

    @property
    def _over(self) -> bool:
        return self.pending.over(self._storage.clock.trusted_now())

    # --- its end ---------------------------------------------------------------------------------------------------

    @property
    def _all_sent(self) -> bool:
        """Whether the cursor tells that the broker has all of it."""
        cursor = self.claim.cursor
        return cursor.total is not None and cursor.whole is not None and cursor.count == cursor.total

    async def _seal(self) -> Over:
        whole, stored = self.claim.cursor.whole, self.pending.manifest.stored
        assert whole is not None
        assert stored is not None
        sealed = Sealed(total=whole.count, sha256=whole.sha256, sealed_at=self._now(), skipped=stored.skipped)
        try:
            await until_stored(partial(JobObjects(self._storage, self.pending.manifest).seal, sealed), "seal a job")
        except JobConflict as error:
            log.error("the job is sealed with another input; leaving it so", **self._names, error=error.message)  # noqa: TRY400
        log.info("job sent", **self._names, requests=whole.count)
        return await self._end(Outcome.SENT)

    async def _refuse(self, refused: InputRefused) -> Over:
        """The job fails, unless some of it may have been sent already: then it goes on until its deadline."""
        if self.claim.cursor.begun or self.claim.cursor.count:
            log.error("the input of a job is gone; the rest cannot be sent", **self._names, error=str(refused))
            return await self._hand_back(_RETRY_SECONDS, refused)
        summary = Summary(state=JobState.FAILED, counts=Counts(), finalized_at=self._now(), errors=refused.errors)
        key = keys.summary(*self.pending.key)
        await until_stored(partial(self._storage.create, key, summary.model_dump_json().encode()), "end a job")
        log.info("job refused", **self._names, errors=len(refused.errors), first=str(refused))
        return await self._end(Outcome.REFUSED)

    async def _cut_off(self) -> Over:
        """End a job that was cancelled or has expired: at once if nothing was sent, else when late records are in."""
        begun, grace = self.claim.cursor.begun, self.pending.manifest.grace_seconds or 0.0
        if await self._frozen(at_once=not begun):
            return await self._end(Outcome.ENDED)
        return await self._hand_back(max(grace, self._settings.grace_seconds) if begun else 0.0)

    async def _end(self, outcome: Outcome) -> Over:
        """Take the job off the list of those that wait, and freeze it if it is whole."""
        markers = [keys.pending(*self.pending.key), keys.paused(*self.pending.key)]
        await until_stored(partial(self._storage.delete, markers), "end a job")
        # Nobody else needs to wait for a claim on it to grow stale.
        await self._frozen()
        return Over(outcome)

    async def _frozen(self, *, at_once: bool = False) -> bool:
        end = partial(
            finalize,
            self._storage,
            *self.pending.key,
            grace=self._settings.grace_seconds,
            watch=self._watch,
            at_once=at_once,
        )
        return await until_stored(end, "end a job") is not None

    async def _hand_back(self, look_after: float, trouble: object = None) -> Over:
        """Let another have it. What it waited for here says nothing any more, unless it is held back or in trouble."""
        now = self._now()
        reason: Waiting | None = None
        if self.pending.held_back(now):
            reason = waiting.held_back(self.pending.manifest, paused=self.pending.paused, now=now)
        elif trouble is not None:
            reason = waiting.tried_again(str(trouble))
        await until_stored(partial(self.claim.hand_back, waiting=reason), "hand a job back")
        self.pending.noted = reason.reason if reason is not None else None
        self.pending.next_pool = self.claim.cursor.next_pool
        return Over(Outcome.HANDED_BACK, look_after)

    # --- its cursor ------------------------------------------------------------------------------------------------

    async def _renew(self) -> None:
        """Write the cursor for as long as the job is ours: soon after something changed, or to renew the claim."""
        renewal = self._settings.claim_seconds / _RENEWALS_PER_CLAIM_COUNT
        written = time.monotonic()
        while True:
            await asyncio.sleep(min(self._settings.look_seconds, renewal))
            stream = self.stream
            self._waiting = self._reason(stream) if stream is not None else waiting.CHECKING
            news = stream is not None and (
                stream.acknowledged != stream.confirmed or self._waiting != self.claim.cursor.waiting
            )
            if not news and time.monotonic() - written < renewal:
                continue
            try:
                if stream is None:
                    await self.claim.write()
                else:
                    await self._confirm_once(stream)
                written = time.monotonic()
            except StoreError as error:
                if not error.retryable:
                    raise
                log.warning("renewing a claim failed; retrying", **self._names, error=error.message)

    async def _confirm(self, stream: JobStream) -> None:
        await until_stored(partial(self._confirm_once, stream), "write a cursor")

    async def _confirm_once(self, stream: JobStream) -> None:
        acknowledged = stream.acknowledged
        await self.claim.write(count=acknowledged, waiting=self._waiting)
        stream.confirmed = acknowledged
        self._changed.set()

    async def _write(self, **changes: Any) -> None:
        await until_stored(partial(self.claim.write, **changes), "write a cursor")

    def _reason(self, stream: JobStream) -> Waiting | None:
        """Why nothing is sent at the moment; None while something is, or all is."""
        if not stream.left or not self._is_quiet(stream):
            return None
        pool, lane = stream.queue
        if stream.trouble:
            return waiting.queue_refuses(stream.trouble)
        if not self._backlog.has_workers(pool):
            return waiting.no_worker(pool)
        if not self._backlog.room(stream.queue, stream.left):
            return waiting.backlog(pool, lane, self._backlog.bound)
        return waiting.OTHERS_TURN

    def _is_quiet(self, stream: JobStream) -> bool:
        """Whether nothing of it was given out for a while."""
        return time.monotonic() - stream.sent_at > _QUIET_LOOKS_COUNT * self._settings.look_seconds

    @property
    def _names(self) -> dict[str, str]:
        tenant, job = self.pending.key
        return {"tenant": tenant, "job": job}
