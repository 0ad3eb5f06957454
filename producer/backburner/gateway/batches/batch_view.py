"""Reads a batch as it is stored: of one that has ended, two objects; of one that runs, what `view_job` reads."""

import asyncio

from backburner.jobs.finalizer import finalize, read_summary, view_job
from backburner.jobs.job_watch import JobWatch
from backburner.storage import Storage
from backburner.storage.parse import read_manifest
from backburner_schemas import keys
from backburner_schemas.names import is_name
from backburner_schemas.status import JobView


async def view_batch(storage: Storage, tenant: str, job: str) -> JobView | None:
    """The batch; None if the tenant has no such job. Raises `StoreError`."""
    if not (is_name(job) and keys.has_manifest(job)):
        return None
    manifest, summary = await asyncio.gather(read_manifest(storage, tenant, job), read_summary(storage, tenant, job))
    if manifest is None:
        return None
    if summary is not None:
        return JobView(manifest=manifest, segments=summary.segments, summary=summary)
    return await view_job(storage, tenant, job)


async def end_if_over(storage: Storage, view: JobView, *, grace: float, watch: JobWatch) -> JobView:
    """The batch once more if it was over and nobody had said so yet. Raises `StoreError`."""
    if view.summary is not None:
        return view
    tenant, job = view.manifest.tenant, view.manifest.id
    if await finalize(storage, tenant, job, grace=grace, watch=watch) is None:
        return view
    return await view_batch(storage, tenant, job) or view
