"""The batches of one tenant in the object store."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from backburner.gateway.batches.batch_view import end_if_over, view_batch
from backburner.gateway.batches.results import ResultFile, ResultKind, files_of
from backburner.gateway.batches.running_counts import RunningCounts
from backburner.gateway.files.file_store import MAX_CONCURRENT_READS, FileStore
from backburner.jobs.job_watch import JobWatch
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.storage.parse import read_manifest
from backburner.submission.stored_job import create_stored_job
from backburner_schemas import keys
from backburner_schemas.errors import CallRefused, FileNotFound, JobConflict, JobNotFound, StoredObjectBroken
from backburner_schemas.job import Counts, JobManifest, JobState
from backburner_schemas.names import is_name
from backburner_schemas.status import BatchStatus, JobView, derive

_MAX_VALUE_CHARACTERS = 512
"""OpenAI's bound of a value in metadata, ours as well."""

_END_SECONDS = 3600
"""Behind its deadline a batch ends within minutes; its results, which are not shown any more, go a little later."""

log = get_logger(__name__)


class BatchStore:
    """One tenant's batches. Every method raises `StoreError`."""

    def __init__(self, storage: Storage, tenant: str, *, counts: RunningCounts, grace: float, watch: JobWatch) -> None:
        """`grace` is in seconds, as the setting `freeze_grace_seconds`; `watch` is what this gateway sees of jobs."""
        self._storage = storage.of_tenant(tenant)
        self._tenant = tenant
        self._counts = counts
        self._grace = grace
        self._watch = watch

    async def create(self, manifest: JobManifest) -> BatchStatus:
        """Make the batch, or find it made; returns it as it is now.

        Of calls at once that want the same one, the first's manifest is its own: their times may differ.
        Raises `FileNotFound` where its input was deleted meanwhile.
        """
        # Its entry in the list first: one that leads nowhere is passed over, and a batch without one would be lost.
        await self._storage.put(keys.batch(self._tenant, manifest.id), b"")
        if manifest.output_expires_after is not None:
            latest = manifest.deadline + _END_SECONDS + manifest.output_expires_after
            output = ResultFile(manifest.id, ResultKind.OUTPUT)
            await self._storage.put(keys.expiry(self._tenant, latest, output.id), b"")
        try:
            is_new = await create_stored_job(self._storage, manifest)
        except JobConflict:
            # It was made by the same call before, and has ended by now.
            found = await view_batch(self._storage, self._tenant, manifest.id)
            if found is None or found.manifest.stored != manifest.stored:
                raise
            return await self._shown(found)
        view = await self._view(manifest.id)
        await self._check_input(view, is_new=is_new)
        return await self._shown(view)

    async def made(self, job: str) -> JobManifest | None:
        """What the batch was made from; None if it was not made."""
        return await read_manifest(self._storage, self._tenant, job)

    async def retrieve(self, job: str) -> BatchStatus:
        """The batch. Raises `JobNotFound`."""
        return await self._shown(
            await end_if_over(self._storage, await self._view(job), grace=self._grace, watch=self._watch)
        )

    async def cancel(self, job: str) -> BatchStatus:
        """Ask for the batch's end; returns it as it is now. Raises `JobNotFound`, and `JobConflict` if it has ended."""
        view = await self._view(job)
        if view.summary is not None and view.summary.state is not JobState.CANCELLED:
            raise JobConflict(f"the batch {job} has ended, {view.summary.state}, so there is nothing to cancel")
        if view.summary is None:
            await self._storage.create(keys.cancelled(self._tenant, job), b"")
            view = await end_if_over(self._storage, await self._view(job), grace=self._grace, watch=self._watch)
        return await self._shown(view)

    async def page(self, *, after: str | None, limit: int) -> tuple[list[BatchStatus], bool]:
        """Up to so many batches, newest first, behind that one; and whether there are more."""
        views, has_more = list[JobView](), True
        while has_more and not views:
            # An entry may lead nowhere: where its create broke off. A page of nothing would be taken for the end.
            names, has_more = await self.names(after=after, limit=limit)
            views = await self.views(names)
            after = names[-1] if names else None
        return [await self._shown(view) for view in views], has_more

    async def names(self, *, after: str | None, limit: int) -> tuple[list[str], bool]:
        """The ids of up to so many batches, newest first, behind that one; and whether there are more."""
        if after is not None and not is_name(after):
            raise CallRefused("`after` must be the id of a batch, as an earlier page has it", param="after")
        names = list[str]()
        async with aclosing(self.ids(after=after)) as ids:
            async for job in ids:
                if len(names) == limit:
                    return names, True
                names.append(job)
        return names, False

    async def ids(self, *, after: str | None = None) -> AsyncGenerator[str]:
        """The ids of all batches, newest first, behind that one."""
        prefix = keys.batches(self._tenant)
        start = None if after is None else keys.batch(self._tenant, after)
        async with aclosing(self._storage.scan(prefix, after=start)) as entries:
            async for entry in entries:
                yield entry.key[len(prefix) :]

    async def views(self, names: list[str]) -> list[JobView]:
        """These batches in the same order, without those that are not there or cannot be read."""
        places = asyncio.Semaphore(MAX_CONCURRENT_READS)

        async def read(name: str) -> JobView | None:
            async with places:
                try:
                    return await view_batch(self._storage, self._tenant, name)
                except StoredObjectBroken as error:
                    log.warning("reading a batch failed; leaving it out of the list", job=name, error=error.message)
                    return None

        return [view for view in await asyncio.gather(*map(read, names)) if view is not None]

    async def _check_input(self, view: JobView, *, is_new: bool) -> None:
        """Whoever deletes the file looks for batches once its entry is gone, so that one of the two sees the other.

        A batch that was accepted before is seen there, and the entry comes back; bytes that are gone do not.
        """
        file_id, files = view.manifest.input_file_id, FileStore(self._storage, self._tenant)
        if view.summary is not None or file_id is None:
            return
        if not await (files.exists(file_id) if is_new else files.has_bytes(file_id)):
            await self._storage.create(keys.cancelled(self._tenant, view.manifest.id), b"")
            raise FileNotFound(f"the file {file_id} was deleted while a batch was made of it; upload it again")

    async def _shown(self, view: JobView) -> BatchStatus:
        try:
            counts = await self._counts.of(self._storage, view)
        except StoredObjectBroken as error:
            # A list shows it among the others all the same.
            log.warning("counting a batch failed; showing an estimate", job=view.manifest.id, error=error.message)
            counts, _ = view.estimated()
        return shown(view, counts)

    async def _view(self, job: str) -> JobView:
        view = await view_batch(self._storage, self._tenant, job)
        if view is None:
            raise JobNotFound(f"there is no batch {job[:96]!r}; `GET /v1/batches` lists those that exist")
        return view


def shown(view: JobView, counts: Counts) -> BatchStatus:
    """The batch in OpenAI's form, with its files, and what Backburner knows beside it in the metadata."""
    status, files = derive(view), files_of(view)
    state = status.status
    if state is JobState.FINALIZING and counts.completed + counts.failed < counts.total:
        # By the names of its segments alone it was over.
        state = JobState.IN_PROGRESS
    return status.model_copy(
        update={
            "status": state,
            "request_counts": counts,
            "output_file_id": files.get(ResultKind.OUTPUT),
            "error_file_id": files.get(ResultKind.ERRORS),
            "metadata": {**status.metadata, **_told(status)},
        }
    )


def _told(status: BatchStatus) -> dict[str, str]:
    """Why the batch waits and what it is expected to take, for those who read OpenAI's fields alone."""
    told: dict[str, str] = {}
    if status.waiting is not None:
        told["backburner_waiting"] = str(status.waiting.reason)
        told["backburner_waiting_detail"] = status.waiting.detail[:_MAX_VALUE_CHARACTERS]
    if status.estimate is not None:
        told["backburner_estimate"] = status.estimate.model_dump_json()[:_MAX_VALUE_CHARACTERS]
    return told
