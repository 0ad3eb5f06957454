"""Removes all that is stored of an ended job, but for a summary without records that keeps its id taken for a while.

Workers drop what is delivered of a job that has a summary: a message that is still on the queue, or comes again, would
otherwise begin the job anew, with records that belong to nobody. Once no queue has anything of it any more, a worker's
sweep removes the summary too.
"""

from collections import defaultdict
from contextlib import aclosing
from itertools import islice

from backburner.jobs.finalizer import read_summary
from backburner.jobs.named import forget_named
from backburner.jobs.record_reader import not_found
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.storage.parse import read_manifest
from backburner_schemas import keys
from backburner_schemas.errors import JobConflict, StoreDenied
from backburner_schemas.job import Counts, Summary

_MAX_BATCH_REMOVALS = 500

log = get_logger(__name__)


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
    # Before anything goes: by it the sweep finds what a delete leaves.
    await storage.create(keys.deleted(*names), b"")
    # From now on there is no job, and what is left is found by whoever deletes it again.
    await storage.delete([keys.manifest(*names)])
    if summary is not None:
        nothing = Summary(state=summary.state, counts=Counts(), finalized_at=summary.finalized_at)
        await storage.put(keys.summary(*names), nothing.model_dump_json().encode())
    await storage.delete(
        [keys.open_job(*names), keys.pending(*names), keys.paused(*names), keys.cancelled(*names), keys.batch(*names)]
    )
    await _empty(storage, tenant, job, but=keys.summary(*names))


async def forget_deleted(storage: Storage, *, before: float) -> None:
    """Remove what keeps the ids of jobs taken that were deleted before then, and what came of them afterwards.

    `before` is in Unix seconds by the store's clock, and so long ago that no queue holds anything of them. Raises
    `StoreError`; what one job's tenant keeps from the caller is left, with a warning in the log.
    """
    named = defaultdict[str, set[str]](set)
    async with aclosing(storage.scan(keys.DELETED)) as markers:
        async for marker in markers:
            job = keys.marked(marker.key)
            if job is None or marker.modified >= before:
                continue
            try:
                # A marker whose job is there is left of a delete that broke off at its first step.
                if keys.has_manifest(job[1]) and await storage.modified(keys.manifest(*job)) is None:
                    await _empty(storage, *job)
                    if keys.job_made_at(job[1]) is None:
                        named[job[0]].add(job[1])
                await storage.delete([marker.key])
            except StoreDenied as error:
                log.warning("removing a deleted job failed", tenant=job[0], job=job[1], error=error.message)
    # So late, since a job that is on the list is not asked for its time by whoever lists jobs; one reading a tenant.
    for tenant, jobs in named.items():
        try:
            await forget_named(storage, tenant, jobs)
        except StoreDenied as error:
            log.warning("taking deleted jobs off the list failed", tenant=tenant, error=error.message)


async def _has_more(storage: Storage, tenant: str, job: str) -> bool:
    async for one in storage.scan(keys.job(tenant, job)):
        if one.key != keys.summary(tenant, job):
            # Of single requests and streams nothing else tells that they exist.
            return keys.has_manifest(job)
    return False


async def _empty(storage: Storage, tenant: str, job: str, *, but: str | None = None) -> None:
    for prefix in (keys.dead_letters(tenant, job), keys.redrives(tenant, job), keys.job(tenant, job)):
        left = iter([one.key async for one in storage.scan(prefix) if one.key != but])
        while batch := list(islice(left, _MAX_BATCH_REMOVALS)):
            await storage.delete(batch)
