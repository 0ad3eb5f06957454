"""Looks at all stored jobs that are not frozen, and at the pools. Reads only; `backlog` says what follows from it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backburner.dispatcher.claim import JobKey, read_cursor
from backburner.dispatcher.sharing.backlog import Backlog, JobProgress, Survey
from backburner.logs import get_logger
from backburner.pools import PoolDirectory
from backburner.runtime.together import all_of
from backburner.storage import Storage
from backburner.storage.parse import read_manifest
from backburner_schemas import keys
from backburner_schemas.errors import StoreError, StoreFull
from backburner_schemas.keys import SegmentName
from backburner_schemas.names import Lane

_IDLE_TURN_COUNT = 4
"""So many times as long again, while no lane is at its bound."""
_PAUSE_RATIO = 4
"""A survey that takes long is followed by a pause so many times as long."""
_MAX_CONCURRENT_READS = 16
_MAX_KNOWN_JOBS = 100_000
"""Open jobs that are remembered, with a third of a kilobyte each; the manifests of others are read in each survey."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _StoredJob:
    """Of a stored job's manifest, what is asked in each survey."""

    lane: Lane
    created_at: float


class Surveyor:
    """Surveys on a timer, more often while a lane is at its bound."""

    def __init__(
        self,
        storage: Storage,
        pools: PoolDirectory,
        backlog: Backlog,
        *,
        seconds: float,
        own: Callable[[JobKey], int | None],
        changed: Callable[[], None],
    ) -> None:
        """`seconds` are between two surveys while a lane is at its bound, and a few times as many otherwise.

        `own` tells how much this process has sent of a job, if the job is its own; its cursor comes later.
        """
        self._seconds = seconds
        self._storage = storage
        self._pools = pools
        self._backlog = backlog
        self._own = own
        self._changed = changed
        self._workers: Mapping[str, int] = {}
        self._workers_until = 0.0
        self._known: dict[JobKey, _StoredJob | None] = {}
        """Open jobs that were read; None for those that are not stored ones."""

    async def run(self) -> None:
        """Survey for ever. A store that is away is asked again at the next turn, and until then nothing changes."""
        while True:
            begun = time.monotonic()
            try:
                await self.look()
            except StoreError as error:
                if not error.retryable:
                    raise
                log.warning("surveying the stored jobs failed; retrying", error=error.message)
            took = time.monotonic() - begun
            pause = max(self._seconds, took * _PAUSE_RATIO)
            await asyncio.sleep(pause)
            for _ in range(_IDLE_TURN_COUNT):
                if not self._backlog.full:
                    await asyncio.sleep(self._seconds)

    async def look(self) -> None:
        """Survey once. Raises `StoreError` where the store is away, so that nothing that it was asked went well.

        Of a job that alone cannot be read, what the last survey found still counts.
        """
        self._backlog.begin_survey()
        open_jobs = [job async for one in self._storage.scan(keys.OPEN) if (job := keys.marked(one.key)) is not None]
        # Whatever has ended is forgotten.
        self._known = {job: self._known[job] for job in open_jobs if job in self._known}
        places = asyncio.Semaphore(_MAX_CONCURRENT_READS)

        failed = list[StoreError]()

        async def progress(job: JobKey) -> JobProgress | None:
            async with places:
                try:
                    return await self._progress(job)
                except StoreError as error:
                    failed.append(error)
                    return known.get(job)

        asked = [job for job in open_jobs if self._known.get(job, job) is not None]
        known = {one.job: one for one in self._backlog.survey.jobs}
        found = await all_of(map(progress, asked))
        if failed and len(failed) == len(asked):
            raise failed[0]
        workers = await self._live_workers()
        self._backlog.surveyed(Survey([one for one in found if one is not None], workers, self._backlog.bound))
        self._changed()

    async def _live_workers(self) -> Mapping[str, int]:
        """Those of each pool; read less often, since each has an object of its own."""
        now = time.monotonic()
        if now >= self._workers_until:
            self._workers = {pool.pool: len(pool.workers) for pool in await self._pools.read()}
            self._workers_until = now + _IDLE_TURN_COUNT * self._seconds
        return self._workers

    async def _progress(self, job: JobKey) -> JobProgress | None:
        """How far a job has come; None if it is no stored one, or one that cannot be read: that is its own affair."""
        try:
            return await self._progress_of(job)
        except StoreError as error:
            if error.retryable or isinstance(error, StoreFull):
                raise
            return None

    async def _progress_of(self, job: JobKey) -> JobProgress | None:
        stored = await self._stored_job(job)
        if stored is None:
            return None
        cursor = (await read_cursor(self._storage, job)).cursor
        if cursor is None or cursor.total is None:
            return JobProgress(job, stored.lane, (), stored.created_at, total=0, sent=0, recorded=0)
        own = self._own(job)
        sent = cursor.count if own is None else max(own, cursor.count)
        recorded = 0
        if sent:
            async for one in self._storage.scan(keys.segments(*job)):
                name = SegmentName.parse(one.key)
                recorded += name.ok + name.failed if name is not None else 0
        pools = [*zip(cursor.pools, cursor.pool_counts, strict=False)]
        return JobProgress(job, stored.lane, pools, stored.created_at, total=cursor.total, sent=sent, recorded=recorded)

    async def _stored_job(self, job: JobKey) -> _StoredJob | None:
        if job in self._known:
            return self._known[job]
        manifest = await read_manifest(self._storage, *job)
        if manifest is None:
            # Its marker comes before it.
            return None
        found = _StoredJob(manifest.priority, manifest.created_at) if manifest.stored is not None else None
        if len(self._known) < _MAX_KNOWN_JOBS:
            self._known[job] = found
        return found
