"""Looks after jobs that nobody else ends: freezes what is whole or over, announces the worker, clears old markers."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from backburner.finalizer import finalize
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.pool import WorkerAnnouncement
from backburner_schemas.status import ABANDONED_AFTER
from backburner_worker.jobs import JobKey

_JITTER = 0.3

log = get_logger(__name__)


@dataclass(slots=True)
class _Seen:
    """A cursor as this worker saw it first, by its own monotonic clock."""

    etag: str | None
    since: float


class Sweep:
    """Finalizes at once the jobs that `soon` names, and on a timer whatever lies under `open/`."""

    def __init__(
        self,
        storage: Storage,
        *,
        seconds: float,
        grace: float,
        marker_life: float,
        announcement: Callable[[], WorkerAnnouncement],
    ) -> None:
        self._storage = storage
        self._seconds = seconds
        self._grace = grace
        self._marker_life = marker_life
        self._announcement = announcement
        self._soon: asyncio.Queue[JobKey] = asyncio.Queue()
        self._queued: set[JobKey] = set()
        self._cursors: dict[JobKey, _Seen] = {}

    def soon(self, job: JobKey) -> None:
        """See before long whether that job is whole."""
        if job not in self._queued:
            self._queued.add(job)
            self._soon.put_nowait(job)

    async def finalize_named(self) -> None:
        """Finalize what `soon` names, for ever."""
        while True:
            job = await self._soon.get()
            self._queued.discard(job)
            await self._finalize(job, 0.0)

    async def settle_named(self) -> None:
        """Finalize what `soon` named and is still waiting; for the end of the worker."""
        while not self._soon.empty():
            await self._finalize(self._soon.get_nowait(), 0.0)

    async def run(self) -> None:
        """Sweep for ever. A store that is away is tried again at the next turn."""
        while True:
            try:
                await self._announce()
                await self._sweep_open()
                await self._sweep_markers()
            except StoreError as error:
                log.warning("the sweep could not reach the store", error=error.message)
            await asyncio.sleep(self._seconds * random.uniform(1 - _JITTER, 1 + _JITTER))  # noqa: S311 - spreads load

    async def sign_off(self) -> None:
        """Take the announcement back."""
        mine = self._announcement()
        try:
            await self._storage.delete([keys.worker(mine.pool, mine.worker)])
        except StoreError as error:
            log.warning("the announcement could not be taken back", error=error.message)

    async def _announce(self) -> None:
        mine = self._announcement()
        await self._storage.put(keys.worker(mine.pool, mine.worker), mine.model_dump_json().encode())

    async def _sweep_open(self) -> None:
        open_jobs = [
            job async for listed in self._storage.scan(keys.OPEN) if (job := keys.marked(listed.key)) is not None
        ]
        self._cursors = {job: seen for job, seen in self._cursors.items() if job in set(open_jobs)}
        for job in open_jobs:
            unchanged = await self._cursor_unchanged(job)
            await self._finalize(job, unchanged)
            if unchanged > ABANDONED_AFTER and await self._storage.modified(keys.manifest(*job)) is None:
                # Its producer died between this marker and the manifest: there is no job.
                await self._storage.delete([keys.open_job(*job)])

    async def _cursor_unchanged(self, job: JobKey) -> float:
        cursor = await self._storage.get(keys.cursor(*job))
        etag = cursor.etag if cursor else None
        seen = self._cursors.get(job)
        if seen is None or seen.etag != etag:
            seen = self._cursors[job] = _Seen(etag, time.monotonic())
        return time.monotonic() - seen.since

    async def _sweep_markers(self) -> None:
        old = time.time() - self._marker_life
        stale = [listed.key async for listed in self._storage.scan(keys.CANCELLED) if listed.modified < old]
        await self._storage.delete(stale)

    async def _finalize(self, job: JobKey, unchanged: float) -> None:
        try:
            summary = await finalize(self._storage, *job, grace=self._grace, cursor_unchanged=unchanged)
        except StoreError as error:
            log.warning("a job could not be finalized", tenant=job[0], job=job[1], error=error.message)
            return
        except ValueError as error:
            log.error("a job's own objects cannot be read", tenant=job[0], job=job[1], error=str(error))  # noqa: TRY400
            return
        if summary is not None:
            log.info("job ended", tenant=job[0], job=job[1], state=summary.state, **summary.counts.model_dump())
