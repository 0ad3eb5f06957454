"""Removes all that is stored of an ended job, but for a summary without records that keeps its id taken.

Workers drop what is delivered of a job that has a summary: a message that is still on the queue, or comes again, would
otherwise begin the job anew, with records that belong to nobody.
"""

from itertools import islice

from backburner.jobs.finalizer import read_summary
from backburner.jobs.record_reader import not_found
from backburner.storage import Storage
from backburner.storage.parse import read_manifest
from backburner_schemas import keys
from backburner_schemas.errors import JobConflict
from backburner_schemas.job import Counts, Summary

_MAX_BATCH_REMOVALS = 500


async def delete_job(storage: Storage, tenant: str, job: str) -> None:
    """Remove the job. Raises `JobNotFound`, `JobConflict` while it has not ended, and `StoreError`."""
    names = tenant, job
    manifest, summary = await read_manifest(storage, *names), await read_summary(storage, *names)
    if manifest is None and not await _has_more(storage, tenant, job):
        raise not_found(job)
    if manifest is not None and summary is None:
        raise JobConflict(
            f"job {job} has not ended, so that workers still write to it; cancel it with `backburner cancel {job}` "
            "(Job.cancel), wait for its end, and delete it then"
        ).of_job(job)
    # First: from now on there is no job, and what is left is found by whoever deletes it again.
    await storage.delete([keys.manifest(*names)])
    if summary is not None:
        nothing = Summary(state=summary.state, counts=Counts(), finalized_at=summary.finalized_at)
        await storage.put(keys.summary(*names), nothing.model_dump_json().encode())
    await storage.delete(
        [keys.open_job(*names), keys.pending(*names), keys.paused(*names), keys.cancelled(*names), keys.batch(*names)]
    )
    for prefix in (keys.dead_letters(*names), keys.redrives(*names), keys.job(*names)):
        await _empty(storage, prefix, but=keys.summary(*names))


async def _has_more(storage: Storage, tenant: str, job: str) -> bool:
    async for one in storage.scan(keys.job(tenant, job)):
        if one.key != keys.summary(tenant, job):
            # Of single requests and streams nothing else tells that they exist.
            return keys.has_manifest(job)
    return False


async def _empty(storage: Storage, prefix: str, *, but: str) -> None:
    found = [one.key async for one in storage.scan(prefix) if one.key != but]
    left = iter(found)
    while batch := list(islice(left, _MAX_BATCH_REMOVALS)):
        await storage.delete(batch)
