"""What this worker knows of the jobs that it serves, kept small and fresh enough. Reads only."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial

from backburner.logs import get_logger
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.job import JobManifest, Sealed
from backburner_worker.policy import JobFacts
from backburner_worker.retrying import until_stored

JobKey = tuple[str, str]
"""Tenant and job."""

_REMEMBERED = 10_000
"""Jobs that are remembered at most, the least recently used going first."""
_NO_FACTS = JobFacts()
_CANCELLED = JobFacts(cancelled=True)

log = get_logger(__name__)


class JobBook:
    """Manifests and seals, read once when a job's first delivery comes, and cancel markers, listed on a timer."""

    def __init__(self, storage: Storage, marker_seconds: float) -> None:
        self._storage = storage
        self._marker_seconds = marker_seconds
        self._known: OrderedDict[JobKey, JobFacts] = OrderedDict()
        self._cancelled: set[JobKey] = set()

    def facts(self, job: JobKey) -> JobFacts:
        """What is known now; makes no request. Call `learn` first."""
        known = self._known.get(job, _NO_FACTS)
        if job not in self._cancelled:
            return known
        return JobFacts(known.manifest, known.sealed, known.frozen, cancelled=True) if known.manifest else _CANCELLED

    async def learn(self, jobs: Iterable[JobKey]) -> None:
        """Read what is not known of these jobs. While the store is away this waits: that holds back the intake."""
        new = [job for job in set(jobs) if keys.has_manifest(job[1]) and not self._touch(job)]
        if new:
            await asyncio.gather(*(until_stored(partial(self._read, job), "read a job") for job in new))

    async def is_sealed(self, job: JobKey) -> bool:
        """Whether the job is sealed, by a read if it was not when last seen. Raises `StoreError`."""
        known = self._known.get(job)
        if known is None or known.manifest is None:
            return False
        if known.sealed is None:
            known = await self._read(job)
        return known.sealed is not None

    async def watch_markers(self) -> None:
        """List the cancel markers for ever. A listing that fails keeps the markers of the one before."""
        while True:
            try:
                self._cancelled = {
                    job
                    async for listed in self._storage.scan(keys.CANCELLED)
                    if (job := keys.marked(listed.key)) is not None
                }
            except StoreError as error:
                log.warning("cancel markers could not be listed", error=error.message)
            await asyncio.sleep(self._marker_seconds)

    def _touch(self, job: JobKey) -> bool:
        if job not in self._known:
            return False
        self._known.move_to_end(job)
        return True

    async def _read(self, job: JobKey) -> JobFacts:
        manifest, sealed, frozen = await asyncio.gather(
            self._storage.get(keys.manifest(*job)),
            self._storage.get(keys.sealed(*job)),
            self._storage.modified(keys.summary(*job)),
        )
        facts = JobFacts(
            manifest=JobManifest.model_validate_json(manifest.data) if manifest else None,
            sealed=Sealed.model_validate_json(sealed.data) if sealed else None,
            frozen=frozen is not None,
        )
        self._known[job] = facts
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return facts
