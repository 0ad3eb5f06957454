"""Lists a tenant's jobs, newest first."""

import asyncio
from collections.abc import AsyncGenerator

from backburner.jobs.finalizer import view_job
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.storage.parse import read_manifest
from backburner_schemas import keys
from backburner_schemas.errors import JobNotFound, StoredObjectBroken
from backburner_schemas.status import BatchStatus, derive

_MAX_CONCURRENT_READS = 16

log = get_logger(__name__)


async def list_jobs(storage: Storage, tenant: str, *, limit: int, after: str | None) -> AsyncGenerator[BatchStatus]:
    """The statuses of up to `limit` jobs, newest first, behind the job `after`. Raises `JobNotFound` and `StoreError`.

    Most job ids contain their creation time. Those that users chose do not, so their manifests are read.
    A job whose objects cannot be read is skipped with a warning in the log.
    """
    names = [name for name in await storage.folders(keys.jobs(tenant)) if keys.has_manifest(name)]
    made = {name: at for name in names if (at := keys.job_made_at(name)) is not None}
    places = asyncio.Semaphore(_MAX_CONCURRENT_READS)

    async def read(name: str) -> None:
        try:
            async with places:
                manifest = await read_manifest(storage, tenant, name)
        except StoredObjectBroken as error:
            _warn_skipped(name, error)
            return
        if manifest is not None:
            made[name] = manifest.created_at

    await asyncio.gather(*(read(name) for name in names if name not in made))
    ordered = sorted(made, key=lambda name: (-made[name], name))
    if after is not None:
        at = made.get(after, keys.job_made_at(after))
        if at is None:
            raise JobNotFound(f"there is no job {after} to go on behind; list the jobs from the first on").of_job(after)
        # By its place, not by itself: it may have been deleted meanwhile.
        ordered = [name for name in ordered if (-made[name], name) > (-at, after)]
    for name in ordered:
        if limit <= 0:
            return
        try:
            view = await view_job(storage, tenant, name)
        except StoredObjectBroken as error:
            _warn_skipped(name, error)
            continue
        if view is not None:
            limit -= 1
            yield derive(view)


def _warn_skipped(name: str, error: StoredObjectBroken) -> None:
    log.warning("reading a job failed; leaving it out of the list", job=name, error=error.message)
