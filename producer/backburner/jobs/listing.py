"""Lists a tenant's jobs, newest first."""

import asyncio
from collections.abc import AsyncGenerator

from backburner.jobs.finalizer import view_job
from backburner.jobs.named import note_named, read_named
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.storage.parse import read_manifest
from backburner_schemas import keys
from backburner_schemas.errors import JobNotFound, StoredObjectBroken, StoreError
from backburner_schemas.status import BatchStatus, derive

_MAX_CONCURRENT_READS = 16

log = get_logger(__name__)


async def list_jobs(storage: Storage, tenant: str, *, limit: int, after: str | None) -> AsyncGenerator[BatchStatus]:
    """The statuses of up to `limit` jobs, newest first, behind the job `after`.

    Costs two requests for a thousand of the tenant's jobs, and some for each status. A job whose objects cannot be read
    is skipped with a warning in the log. Raises `JobNotFound` if nobody knows where `after` was, and `StoreError`.
    """
    made = await _times(storage, tenant)
    ordered = sorted(made, key=lambda name: (-made[name], name))
    if after is not None:
        at = made.get(after, keys.job_made_at(after))
        if at is None:
            raise no_such_page(after)
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


def no_such_page(after: str) -> JobNotFound:
    """The error for a list that is to go on behind what is not in it."""
    return JobNotFound(
        f"there is no {after} behind which the list could go on; check the id and the tenant, or begin without it"
    ).of_job(after)


async def _times(storage: Storage, tenant: str) -> dict[str, float]:
    """When each of the tenant's jobs was made, in Unix seconds, from their ids or from the list of named ones.

    Of jobs of earlier releases, which are in neither, the manifests are read, once. Raises `StoreError`.
    """
    folders, named = await asyncio.gather(storage.folders(keys.jobs(tenant)), read_named(storage, tenant))
    made, unknown = dict[str, float](), list[str]()
    for name in folders:
        if (at := keys.job_made_at(name)) is not None or (at := named.get(name)) is not None:
            made[name] = at
        elif keys.has_manifest(name):
            unknown.append(name)
    places = asyncio.Semaphore(_MAX_CONCURRENT_READS)
    may_write = True

    async def read(name: str) -> None:
        nonlocal may_write
        async with places:
            try:
                manifest = await read_manifest(storage, tenant, name)
            except StoredObjectBroken as error:
                _warn_skipped(name, error)
                return
            if manifest is None:
                return
            made[name] = manifest.created_at
            if may_write:
                try:
                    await note_named(storage, manifest)
                except StoreError:
                    may_write = False  # Whoever may only read finds them as well, at the same cost each time.

    await asyncio.gather(*(read(name) for name in unknown))
    return made


def _warn_skipped(name: str, error: StoredObjectBroken) -> None:
    log.warning("reading a job failed; leaving it out of the list", job=name, error=error.message)
