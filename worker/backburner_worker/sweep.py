"""Ends jobs that nobody else ends: freezes what is whole or over, announces the worker, clears what nobody needs."""

import asyncio
import random
import zlib
from collections.abc import Awaitable, Callable

from backburner.jobs.deletion import forget_deleted
from backburner.jobs.finalizer import finalize
from backburner.jobs.job_watch import JobWatch
from backburner.logs import get_logger
from backburner.pools import LIVE_SECONDS
from backburner.runtime.until_stored import STOPS_THE_PROCESS
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreDenied, StoreError, StoreFull
from backburner_schemas.pool import WorkerAnnouncement
from backburner_schemas.status import ABANDONED_AFTER_SECONDS
from backburner_worker.intervals import SweepIntervals
from backburner_worker.jobs import JobKey
from backburner_worker.telemetry.telemetry import Telemetry

_JITTER_RATIO = 0.3
_MAX_MISSED_SWEEPS = 3
"""Sweeps that a worker may miss before others take over its share."""
_SWEEPS_PER_FULL_SWEEP = 10
"""Sweeps of which one looks at every open job, whoever's share it is, so that none is left out for long, and at those
that were deleted."""
_CLOSE_SECONDS = 10.0
_ANNOUNCEMENT_TTL_SECONDS = 3600.0
"""Seconds after which the announcement of a worker that was killed is removed; live ones are renewed long before."""
_MAX_ANNOUNCEMENT_SECONDS = LIVE_SECONDS / 2
"""A worker that sweeps less often than this renews its announcement between sweeps, or its pool could be removed."""

log = get_logger(__name__)


class Sweep:
    """Finalizes at once the jobs that `soon` names, and on a timer what is under `open/`, shared among the pool."""

    def __init__(
        self,
        storage: Storage,
        *,
        intervals: SweepIntervals,
        announcement: Callable[[], WorkerAnnouncement],
        on_frozen: Callable[[JobKey], None],
        refresh_names: Callable[[], Awaitable[None]],
        telemetry: Telemetry,
        watch: JobWatch | None = None,
    ) -> None:
        """`refresh_names` reads the pool's aliases anew, at each turn; `watch` is what was seen of jobs before."""
        self._storage = storage
        self._seconds = intervals.sweep
        self._grace = intervals.grace
        self._marker_life = intervals.marker_life
        self._announcement = announcement
        self._on_frozen = on_frozen
        self._refresh_names = refresh_names
        self._telemetry = telemetry
        self._soon: asyncio.Queue[JobKey] = asyncio.Queue()
        self._queued: set[JobKey] = set()
        self._watch = JobWatch() if watch is None else watch
        # Workers that start together do not look at everything in the same turn.
        self._turn = random.randrange(_SWEEPS_PER_FULL_SWEEP)  # noqa: S311 - spreads load

    def soon(self, job: JobKey) -> None:
        """Check soon whether that job is whole."""
        if job not in self._queued:
            self._queued.add(job)
            self._soon.put_nowait(job)

    async def finalize_named(self) -> None:
        """Finalize what `soon` names, for ever."""
        while True:
            job = await self._soon.get()
            self._queued.discard(job)
            await self._finalize(job, served=True)

    async def run(self) -> None:
        """Sweep for ever. A store that is away is tried again at the next turn.

        Raises `StoreDenied` and `StoreFull`: a worker that may not list or remove what is old would leave jobs without
        an end, and nobody notices a log line every minute.
        """
        while True:
            for step in (
                self._refresh_names,
                self._sweep_open,
                self._sweep_markers,
                self._sweep_deleted,
                self._sweep_announcements,
            ):
                try:
                    await step()
                except STOPS_THE_PROCESS:
                    raise
                except StoreError as error:
                    log.warning("sweep failed in part; retrying at the next", error=error.message)
            await asyncio.sleep(self._seconds * random.uniform(1 - _JITTER_RATIO, 1 + _JITTER_RATIO))  # noqa: S311 - spreads load

    async def announce(self) -> None:
        """Announce the worker for ever, often enough that it counts as live however seldom it sweeps.

        A store that is away is tried again at the next turn. Raises `StoreDenied` and `StoreFull`, as `run` does.
        """
        while True:
            try:
                await self._announce()
            except STOPS_THE_PROCESS:
                raise
            except StoreError as error:
                log.warning("announcing the worker failed; retrying at the next turn", error=error.message)
            # Others share the jobs out by who has announced itself within some sweeps, which may be shorter.
            await asyncio.sleep(min(self._seconds, _MAX_ANNOUNCEMENT_SECONDS))

    async def close(self) -> None:
        """Finalize what `soon` named and withdraw the announcement, within a bound; another worker does the rest.

        One with adapters stays, marked as left: their names lead to the pool while no worker is there.
        """
        mine = self._announcement()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if mine.adapters:
                    await self._announce(left=True)
                else:
                    await self._storage.delete([keys.worker(mine.pool, mine.worker)])
                while not self._soon.empty():
                    await self._finalize(self._soon.get_nowait(), served=True)
        except (StoreError, TimeoutError) as error:
            log.warning("withdrawing the announcement failed; it expires instead", error=str(error))

    async def _announce(self, *, left: bool = False) -> None:
        # It says when it was written, by the store's clock.
        await self._storage.measure_clock()
        mine = self._announcement().model_copy(update={"left": left})
        await self._storage.put(keys.worker(mine.pool, mine.worker), mine.model_dump_json().encode())

    async def _sweep_open(self) -> None:
        open_jobs = [
            job async for listed in self._storage.scan(keys.OPEN) if (job := keys.marked(listed.key)) is not None
        ]
        still_open = set(open_jobs)
        self._watch.keep_only(still_open)
        mine = await self._share()
        for job in open_jobs:
            if not mine(job):
                continue
            try:
                await self._look_after(job)
            except StoreFull:
                raise
            except StoreError as error:
                # One tenant's failure keeps nobody else's jobs from ending, and a pool's worker may be denied access to
                # what belongs to other pools' tenants.
                log.warning(
                    "checking an open job failed; retrying at the next sweep",
                    tenant=job[0],
                    job=job[1],
                    error=error.message,
                )

    async def _share(self) -> Callable[[JobKey], bool]:
        """Which jobs this worker looks at in this turn: its part of them, among the live workers of its pool.

        Workers that see different lists skip a job or check it twice; both are harmless, and over by the next turn.
        """
        self._turn += 1
        if self._is_full:
            return lambda _: True
        announcement = self._announcement()
        me = keys.worker(announcement.pool, announcement.worker)
        seen = {one.key: one.modified async for one in self._storage.scan(keys.workers(announcement.pool))}
        # Against the newest of them: all of these times are the store's.
        old = max(seen.values(), default=0.0) - _MAX_MISSED_SWEEPS * self._seconds
        live = sorted({key for key, modified in seen.items() if modified >= old} | {me})
        rank, workers = live.index(me), len(live)
        return lambda job: zlib.crc32("/".join(job).encode()) % workers == rank

    @property
    def _is_full(self) -> bool:
        """Whether this turn looks at everything."""
        return self._turn % _SWEEPS_PER_FULL_SWEEP == 0

    async def _look_after(self, job: JobKey) -> None:
        await self._finalize(job, served=False)
        if self._watch.missing_seconds(job) > ABANDONED_AFTER_SECONDS:
            # Its producer died between this marker and the manifest: there is no job.
            await self._storage.delete([keys.open_job(*job)])
            self._watch.forget(job)

    async def _sweep_markers(self) -> None:
        old = (await self._storage.measure_clock()).trusted_now() - self._marker_life
        # No queue keeps a suspect for longer either, and a mark that is left over would convict its successor.
        for prefix in (keys.CANCELLED, keys.SUSPECTS):
            await self._storage.delete_all(prefix, before=old)

    async def _sweep_deleted(self) -> None:
        # Nobody waits for it, so it need not cost a listing at each turn.
        if self._is_full:
            old = (await self._storage.measure_clock()).trusted_now() - self._marker_life
            await forget_deleted(self._storage, before=old)

    async def _sweep_announcements(self) -> None:
        prefix = keys.workers(self._announcement().pool)
        old = (await self._storage.measure_clock()).trusted_now() - _ANNOUNCEMENT_TTL_SECONDS
        await self._storage.delete_all(prefix, before=old)

    async def _finalize(self, job: JobKey, *, served: bool) -> None:
        """Freeze the job if it has ended. `served`: this worker has answered requests of it."""
        try:
            ending = await finalize(self._storage, *job, grace=self._grace, watch=self._watch)
        except StoreError as error:
            if isinstance(error, StoreFull) or (served and isinstance(error, StoreDenied)):
                raise
            log.warning(
                "finalizing a job failed; retrying at the next sweep", tenant=job[0], job=job[1], error=error.message
            )
            return
        except Exception:
            # Whatever is stored instead of a job's objects affects that job alone, and must not end the worker.
            log.exception("finalizing a job failed, its objects are malformed; skipping it", tenant=job[0], job=job[1])
            return
        if ending is None:
            return
        self._on_frozen(job)
        summary = ending.summary
        if ending.ours:
            self._telemetry.duplicates(summary.duplicates)
        log.info("job ended", tenant=job[0], job=job[1], state=summary.state, **summary.counts.model_dump())
