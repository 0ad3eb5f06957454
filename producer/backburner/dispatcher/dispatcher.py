"""The dispatcher: it looks which jobs wait, claims some of them, and runs each until the queue has all of it.

Any number of them share the work. Who has a job is told by its cursor alone, so nobody leads, and what one leaves
behind another goes on with.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping

from backburner.dispatcher import waiting
from backburner.dispatcher.claim import Claim, CursorWatch, JobKey, note_waiting, read_cursor
from backburner.dispatcher.job_run import JobRun, Outcome, Over
from backburner.dispatcher.metrics import Metrics
from backburner.dispatcher.pending import ASIDE_SECONDS, PendingJob, PendingJobs, in_turn
from backburner.dispatcher.sender import Sender
from backburner.dispatcher.sharing.backlog import Backlog
from backburner.dispatcher.sharing.surveyor import Surveyor
from backburner.logs import get_logger
from backburner.runtime.notifier import Notifier
from backburner.storage import Storage
from backburner_schemas.errors import StoreError, StoreFull
from backburner_schemas.job import Waiting, WaitReason

_CLAIMS_PER_LOOK_COUNT = 4
"""Jobs that are claimed in one look, so that several dispatchers share those that wait."""
_CURSORS_PER_LOOK_COUNT = 64
_JITTER_RATIO = 0.3
_LOOKS_PER_CLAIM_COUNT = 4
"""Looks at a job that another has, in the time after which its claim is stale."""
_YIELD_SECONDS = 60.0
"""For which a tenant takes no place after it has left one to another: its job would be read anew for each small one."""
_BROKEN_SECONDS = 300.0

log = get_logger(__name__)


class Dispatcher:
    """Looks, claims and runs, until it is stopped."""

    def __init__(
        self,
        storage: Storage,
        *,
        owner: str,
        pending: PendingJobs,
        sender: Sender,
        surveyor: Surveyor,
        backlog: Backlog,
        run_of: Callable[[PendingJob, Claim], JobRun],
        changed: Notifier,
        metrics: Metrics,
        max_jobs: int,
        claim_seconds: float,
        look_seconds: float,
        leave_seconds: float,
    ) -> None:
        """`leave_seconds`: how long it tries to hand its jobs back once it is stopped."""
        self._storage = storage
        self._owner = owner
        self._pending = pending
        self._sender = sender
        self._surveyor = surveyor
        self._backlog = backlog
        self._run_of = run_of
        self._changed = changed
        self._metrics = metrics
        self._max_jobs = max_jobs
        self._claim_seconds = claim_seconds
        self._look_seconds = look_seconds
        self._leave_seconds = leave_seconds
        self._watch = CursorWatch()
        self._runs: dict[JobKey, JobRun] = {}
        self._yielding: dict[str, float] = {}
        """Tenants that have left a place to another, and until when they take none, in monotonic seconds."""
        self._stopping = asyncio.Event()

    @property
    def claims(self) -> int:
        """Jobs that it owns."""
        return len(self._runs)

    def sent_of(self, job: JobKey) -> int | None:
        """How much it has sent of a job of its own; None of others'."""
        run = self._runs.get(job)
        return run.stream.sent if run is not None and run.stream is not None else None

    def waiting(self) -> Mapping[str, int]:
        """How many jobs wait for which reason, as far as it knows. Any thread may ask."""
        # Copies, each made in one step: the dispatcher's own thread goes on.
        runs, jobs = self._runs.copy(), [*self._pending]
        reasons = Counter(
            runs[job.key].reason if job.key in runs else job.noted or WaitReason.DISPATCHER for job in jobs
        )
        del reasons["none"]
        return reasons

    def stop(self) -> None:
        """Claim nothing more, hand back what it has, and end."""
        self._stopping.set()
        for run in self._runs.values():
            run.leave()
        self._changed.set()

    async def run(self) -> None:
        """Dispatch until it is stopped. Raises what no repetition mends: a store that denies access, or is full."""
        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(self._surveyor.run()), tasks.create_task(self._sender.run())]
            looking = tasks.create_task(self._run_jobs())
            await self._stopping.wait()
            # What is handed back waits for the queue, and for the store, which may be away for long.
            _, unfinished = await asyncio.wait([looking], timeout=self._leave_seconds)
            if unfinished:
                log.warning("handing jobs back failed; others take them when their claims are stale", jobs=self.claims)
                looking.cancel()
            for task in beside:
                task.cancel()

    async def _run_jobs(self) -> None:
        # Before it, no pool would seem to have a worker.
        await self._changed.until(lambda: self._backlog.known or self._stopping.is_set())
        async with asyncio.TaskGroup() as runs:
            while not self._stopping.is_set():
                try:
                    await self._look(runs)
                except StoreError as error:
                    if not error.retryable:
                        raise
                    log.warning("looking for stored jobs failed; retrying", error=error.message)
                await self._pause()

    # --- a look ----------------------------------------------------------------------------------------------------

    async def _look(self, runs: asyncio.TaskGroup) -> None:
        await self._pending.look(self._runs)
        self._watch.keep_only({job.key for job in self._pending})
        # Those that run see their markers now.
        self._changed.set()
        clock, now, late = time.monotonic(), self._storage.clock.now(), self._storage.clock.trusted_now()
        self._yielding = {tenant: until for tenant, until in self._yielding.items() if until > clock}
        free = [job for job in self._pending if job.key not in self._runs and job.look_at <= clock]
        # What can be taken up goes before what only has to be told why it waits, however much of that there is.
        reasons = {job.key: self._reason(job, now, late) for job in free}
        ready = [job for job in free if reasons[job.key] is None]
        if not self._has_room:
            self._make_room(in_turn([job for job in ready if not job.over(late)], self._runs, late))
            ready = [job for job in ready if job.over(late)]
        else:
            # Room on the disk is shared as places are, so that one large job does not keep all others out.
            crowded_out = [job for job in self._pending if job.crowded_out and job.key not in self._runs]
            crowded_out = [job for job in crowded_out if self._reason(job, now, late) is None]
            self._make_room(in_turn(crowded_out, self._runs, late), least=1)
        first = {job.key for job in ready}
        untold = [job for job in free if job.key not in first and not self._is_told(job, reasons[job.key], clock)]
        jobs = [*in_turn(ready, self._runs, late), *in_turn(untold, self._runs, late)]
        claimed = 0
        for job in jobs[:_CURSORS_PER_LOOK_COUNT]:
            if self._stopping.is_set() or claimed == _CLAIMS_PER_LOOK_COUNT:
                return
            try:
                claim = await self._consider(job, now, late)
            except StoreError as error:
                if error.retryable or isinstance(error, StoreFull):
                    # The store may be away, or this object alone: then the next look goes on behind it.
                    job.look_at = clock + ASIDE_SECONDS
                    raise
                # Broken, or denied: what is wrong with one job keeps nobody else's from being sent.
                job.look_at = clock + _BROKEN_SECONDS
                log.error(  # noqa: TRY400 - the error names what does not fit
                    "reading a job's cursor failed; leaving it alone",
                    tenant=job.key[0],
                    job=job.key[1],
                    error=error.message,
                )
                continue
            if claim is not None:
                claimed += 1
                run = self._runs[job.key] = self._run_of(job, claim)
                if self._stopping.is_set():
                    run.leave()
                runs.create_task(self._follow(run))

    @property
    def _has_room(self) -> bool:
        return len(self._runs) < self._max_jobs

    def _reason(self, job: PendingJob, now: float, late: float) -> WaitReason | None:
        """Why the job is not to be taken up, as far as it is known without reading its cursor again; None if it is.

        `now` is what its hours are judged by, `late` what its deadline is: the same, or -inf where clocks do not agree.

        It is asked of each job that waits, in each look.
        """
        if job.over(late):
            return None
        if self._yielding and self._yielding.get(job.tenant, 0.0) > time.monotonic():
            return WaitReason.SHARE
        if not job.planned:
            return None
        if job.paused:
            return WaitReason.PAUSED
        if job.held_back(now):
            return WaitReason.OFF_PEAK
        if job.next_pool is not None and not self._backlog.has_workers(job.next_pool):
            return WaitReason.NO_WORKER
        return None

    def _waiting(self, job: PendingJob, reason: WaitReason, now: float) -> Waiting:
        """The same with its detail."""
        if reason is WaitReason.SHARE:
            return waiting.OTHERS_TURN
        if reason is WaitReason.NO_WORKER and job.next_pool is not None:
            return waiting.no_worker(job.next_pool)
        if reason is WaitReason.DISPATCHER:
            return waiting.no_place(self._max_jobs)
        return waiting.held_back(job.manifest, paused=job.paused, now=now)

    def _is_told(self, job: PendingJob, reason: WaitReason | None, clock: float) -> bool:
        """Whether its cursor has the right reason, and was read not long ago: another may have taken it since."""
        return job.noted == (reason or WaitReason.DISPATCHER) and clock - job.read_at < self._claim_seconds

    async def _consider(self, job: PendingJob, now: float, late: float) -> Claim | None:
        """Claim the job if it is free and can be taken up; else note why it waits."""
        found = await read_cursor(self._storage, job.key)
        cursor = found.cursor
        unchanged = self._watch.unchanged_seconds(job.key, found.etag)
        job.read_at = time.monotonic()
        if cursor is not None:
            job.planned, job.next_pool = cursor.total is not None, cursor.next_pool
            job.noted = cursor.waiting.reason if cursor.waiting is not None else None
            if cursor.owner and unchanged < self._claim_seconds:
                job.look_at = time.monotonic() + self._claim_seconds / _LOOKS_PER_CLAIM_COUNT
                return None
        reason = self._reason(job, now, late)
        # To end a job takes no place: its lines are not needed.
        if reason is None and (self._has_room or job.over(late)):
            claim = Claim(self._storage, job.key, self._owner, seconds=self._claim_seconds)
            if await claim.take(found):
                log.info("claimed a job", tenant=job.key[0], job=job.key[1], sent=claim.cursor.count)
                return claim
            return None
        reason = reason or WaitReason.DISPATCHER
        if job.noted != reason:
            await note_waiting(self._storage, job.key, found, self._waiting(job, reason, now))
            job.noted = reason
        return None

    def _make_room(self, ready: list[PendingJob], *, least: int = 2) -> None:
        """Let a job go for one of those, if there is one that has to: see `gives_way`, also for `least`.

        Of several, one that nobody answers, else the one that has the most time; none before the last one has left.
        """
        if any(run.leaving for run in self._runs.values()):
            return
        under_way = Counter(tenant for tenant, _ in self._runs)
        first: dict[str, PendingJob] = {}
        for job in ready:
            first.setdefault(job.tenant, job)
        for job in first.values():
            if going := [run for run in self._runs.values() if run.idle or gives_way(run, job, under_way, least)]:
                run = max(going, key=lambda run: (run.idle, under_way[run.tenant], run.pending.manifest.deadline))
                run.leave()
                if run.tenant != job.tenant and not run.idle:
                    self._yielding[run.tenant] = time.monotonic() + _YIELD_SECONDS
                return

    async def _follow(self, run: JobRun) -> None:
        """Run a job, and see what is to be done about it next."""
        job = run.pending
        try:
            over = await run.run()
        except ExceptionGroup as error:
            if error.subgroup(StoreFull) is not None:
                raise
            # Whatever is wrong with one job must end no dispatcher: the next one would find it, too.
            log.exception("sending a job failed; trying later", tenant=job.key[0], job=job.key[1])
            over = Over(Outcome.BROKEN, _BROKEN_SECONDS)
        finally:
            self._runs.pop(job.key, None)
        if not job.crowded_out:
            # What it had on the disk is free.
            for other in self._pending:
                if other.crowded_out:
                    other.look_at = 0.0
        job.look_at = max(job.look_at, time.monotonic() + over.look_after)
        self._metrics.job_over(over.outcome)
        log.info("job over", tenant=job.key[0], job=job.key[1], outcome=over.outcome)
        if over.outcome is not Outcome.HANDED_BACK:
            # Its marker may still be in a listing that is under way.
            job.look_at = max(job.look_at, time.monotonic() + self._look_seconds)

    async def _pause(self) -> None:
        seconds = self._look_seconds * random.uniform(1 - _JITTER_RATIO, 1 + _JITTER_RATIO)  # noqa: S311 - spreads load
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def gives_way(run: JobRun, job: PendingJob, under_way: Mapping[str, int], least: int = 2) -> bool:
    """Whether a job leaves its place to another: one of a tenant with fewer, or of the same one with less time. Pure.

    `under_way` is how many jobs of each tenant have a place; of another tenant, at least so many more have to. One that
    is being planned stays.
    """
    if run.stream is None:
        return False
    if run.tenant == job.tenant:
        return run.pending.manifest.deadline > job.manifest.deadline
    return under_way[run.tenant] >= under_way.get(job.tenant, 0) + least
