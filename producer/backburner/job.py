"""A job: many requests that were submitted together. Any process can make one from its id."""

import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, overload

from backburner.connections import Connections, while_open
from backburner.inputs.findings import SkippedLine
from backburner.inputs.items import Item
from backburner.jobs.deletion import delete_job
from backburner.jobs.finalizer import clock_of, finalize, view_job
from backburner.jobs.join import JoinedInput, JoinedResult, download_input
from backburner.jobs.polling import MEASURE_AFTER_SECONDS, Patience, PollPace
from backburner.jobs.reconcile import Reconciliation, reconcile
from backburner.jobs.record_lines import RecordLines
from backburner.jobs.record_reader import RecordReader, not_found, records_of
from backburner.jobs.routes import routes_of_input
from backburner_schemas import keys
from backburner_schemas.errors import JobConflict, StoreDenied, StoreError, StoreFull
from backburner_schemas.result import ResultRecord
from backburner_schemas.status import BatchStatus, JobView, derive, must_read_digests

if TYPE_CHECKING:
    from backburner.storage import Storage

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0
"""Between two looks at all that tells a job's state, six requests each; in between, one looks for its end alone."""


class Job:
    """Requests that were submitted together.

    `id` is all that another process needs: `client.job(id)` is the same job there. Every method raises `JobNotFound` if
    there is no such job, and `StoreError` if the store does not answer.
    """

    def __init__(
        self,
        connections: Connections,
        tenant: str,
        id: str,  # noqa: A002 - the word that users know it by
        *,
        skipped: Sequence[SkippedLine] = (),
        warnings: Sequence[str] = (),
    ) -> None:
        self._connections = connections
        self.tenant = tenant
        """The tenant that the job belongs to."""
        self.id = id
        """The job's id."""
        self.skipped: Sequence[SkippedLine] = skipped
        """Lines that were not sent; known where the job was submitted. Of very many, the first ten thousand."""
        self.warnings: Sequence[str] = tuple(warnings)
        """What may delay the job, such as a pool without a worker; known where it was submitted."""

    def __repr__(self) -> str:
        return f"Job({self.id!r}, tenant={self.tenant!r})"

    @property
    def _storage(self) -> "Storage":
        return self._connections.storage

    async def status(self) -> BatchStatus:
        """Look at the job once.

        Returns what it is doing, and how many requests have ended: an estimate until the job is frozen.

            status = await job.status()
            print(status.status, status.request_counts.completed, "of", status.request_counts.total)
        """
        async with self._connections.bounded(f"the store did not say how job {self.id} is", job=self.id):
            return derive(await self._view())

    @overload
    def results(
        self, *, join: None = None, follow: bool = True, timeout: float | None = None
    ) -> AsyncGenerator[ResultRecord]: ...
    @overload
    def results(
        self, *, join: Path | str | Iterable[Item], follow: bool = True, timeout: float | None = None
    ) -> AsyncGenerator[JoinedResult]: ...
    @while_open
    async def results(
        self, *, join: Path | str | Iterable[Item] | None = None, follow: bool = True, timeout: float | None = None
    ) -> AsyncGenerator[ResultRecord]:
        """Read the records, in no particular order, each request's once.

        While the job runs they come as they are stored, and the iterator ends when the job is frozen; with
        `follow=False` it ends after those that are there now, which also works for streams. A record that was given
        while the job ran is provisional: where it is an error, a redelivery may still bring a response, and the
        response is what counts in the end. Read the job again once it is frozen to see that.

        `timeout` is how many seconds the job may take to end, from the first record that is asked for. What is there by
        then still comes, and then `ResultTimeout` is raised.

        With `join`, the input that the job was made from, each record comes with its `.request`, and records of
        requests that were cut off have their custom_id. Raises `JobConflict` if it is another input.

            async for record in job.results():
                print(record.custom_id, record.text if record.ok else record.error)

            async for joined in job.results(join="prompts.jsonl"):
                print(joined.request, joined.text)
        """
        async with aclosing(self.result_batches(join=join, follow=follow, timeout=timeout)) as batches:
            async for batch in batches:
                for record in batch:
                    yield record

    @while_open
    async def result_batches(
        self, *, join: Path | str | Iterable[Item] | None = None, follow: bool = True, timeout: float | None = None
    ) -> AsyncGenerator[Sequence[ResultRecord]]:
        """Read the same records as `results`, in batches: as many as are there, a few dozen at most.

        Raises what `results` raises.

            async for batch in job.result_batches():
                print(len(batch), "more records")
        """
        reader = self._reader(follow=follow)
        names = _Names(self._stored_input, await self._joined(join) if join is not None else None)
        with closing(names):
            async with aclosing(reader.pieces(follow=follow, timeout=timeout)) as pieces:
                async for piece in pieces:
                    for batch in records_of(piece):
                        yield await names.join(batch) if join is not None else await names.complete(batch)

    @while_open
    async def result_lines(self, *, follow: bool = True, timeout: float | None = None) -> AsyncGenerator[RecordLines]:
        """Read the same records as JSON lines, many at a time, which costs a fraction: most are passed on as stored.

        `lines.count` is how many they are, and `lines.failed` how many of them are errors. `timeout` is as in
        `results`.

            with open("results.jsonl", "wb") as file:
                async for lines in job.result_lines():
                    file.write(lines.data)
        """
        reader = self._reader(follow=follow)
        names = _Names(self._stored_input)
        with closing(names):
            async with aclosing(reader.pieces(follow=follow, timeout=timeout)) as pieces:
                async for piece in pieces:
                    yield piece if isinstance(piece, RecordLines) else RecordLines.of(await names.complete(piece))

    async def wait(
        self, *, timeout: float | None = None, progress: Callable[[BatchStatus], object] | None = None
    ) -> BatchStatus:
        """Wait until the job is frozen, `timeout` seconds at most, or for as long as it takes.

        Returns its final status, however it ended. `progress` is called with the first status and each one
        that differs from the last, which is a line where it is printed, and awaited if it is async. Raises
        `ResultTimeout`, and `StoreError` only after the store was away for minutes.

            status = await job.wait(timeout=3600)
            if status.status is not JobState.COMPLETED:
                print("it ended", status.status)
        """
        pace, patience = PollPace(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, timeout, job=self.id), Patience()
        look = self._looks()
        last: BatchStatus | None = None
        while True:
            try:
                async with pace.look(f"job {self.id} did not end"):
                    status = derive(await look())
            except StoreError as error:
                patience.bear(error)
            else:
                patience.went_well()
                news, last = status != last, status
                if progress is not None and news and inspect.isawaitable(told := progress(status)):
                    await told
                if status.frozen:
                    return status
            await pace.pause(f"job {self.id} did not end", self._is_frozen)

    async def cancel(self) -> BatchStatus:
        """Drop what has not run yet; what was answered stays.

        Returns the status after it, mostly `cancelling`. A live worker ends what it holds within seconds. The job ends
        `cancelled` as soon as each request has its record, or else once its grace has passed, which was the submitter's
        BACKBURNER_FREEZE_GRACE_SECONDS (180): without a worker it takes so long. Of a frozen job nothing changes.

            await job.cancel()
            print((await job.wait(timeout=600)).status)
        """
        async with self._connections.bounded(f"job {self.id} was not cancelled", job=self.id):
            view = await self._view()
            if view.summary is None:
                await self._storage.create(keys.cancelled(self.tenant, self.id), b"")
                view = await self._frozen_if_ended(await self._view())
            return derive(view)

    async def delete(self) -> None:
        """Remove an ended job for good: its records, stored input, dead letters and what else is stored of it.

        Its id stays taken for as long as a queue may hold something of it (BACKBURNER_TOPIC_RETENTION_SECONDS), so that
        this is dropped; then the workers remove what is left. A delete that was broken off is completed by the next
        one. Raises `JobConflict` if the job has not ended: cancel it first.

            await job.wait()
            await job.delete()
        """
        await delete_job(self._storage, self.tenant, self.id)

    async def pause(self) -> BatchStatus:
        """Have nothing more of a stored job sent, until it is resumed; what is on the queue already is answered.

        Returns the status after it. Dispatchers notice within a second or two. Raises `JobConflict` for a job that is
        not stored, has ended, or is on the queue as a whole: there is nothing to hold back.

            job = await client.submit("prompts.jsonl", stored=True)
            await job.pause()
            print((await job.status()).status)
        """
        async with self._connections.bounded(f"job {self.id} was not paused", job=self.id):
            view = await self._view()
            if view.manifest.stored is None or view.sealed is not None or view.summary is not None:
                raise JobConflict(
                    f"job {self.id} cannot be paused: only a stored job can, while it is not sent whole; "
                    "`backburner cancel` drops what has not run"
                )
            await self._storage.create(keys.paused(self.tenant, self.id), b"")
            return derive(view)

    async def resume(self) -> BatchStatus:
        """Let a paused job go on.

        Returns the status after it. Of a job that is not paused nothing changes.

            await job.resume()
        """
        async with self._connections.bounded(f"job {self.id} was not resumed", job=self.id):
            view = await self._view()
            await self._storage.delete([keys.paused(self.tenant, self.id)])
            return derive(view)

    async def reconcile(self) -> Reconciliation:
        """Count the records exactly and hold them against the total: in = ok + failed + pending.

        Returns the counts and what does not balance.

            books = await job.reconcile()
            assert books.agrees, books.differences
        """
        return await reconcile(self._storage, self.tenant, self.id)

    async def _view(self) -> JobView:
        view = await view_job(self._storage, self.tenant, self.id)
        if view is None:
            raise not_found(self.id)
        return view

    def _reader(self, *, follow: bool) -> RecordReader:
        return RecordReader(self._storage, self.tenant, self.id, look=self._looks() if follow else None)

    def _looks(self) -> Callable[[], Awaitable[JobView]]:
        """What returns the job each time that it is waited for, frozen by then if it has ended."""
        begun = time.monotonic()

        async def look() -> JobView:
            view = await self._frozen_if_ended(await self._view())
            if view.summary is None and time.monotonic() - begun > MEASURE_AFTER_SECONDS:
                await self._storage.measure_clock()
            return view

        return look

    async def _is_frozen(self) -> bool:
        """Whether the job's end is in the store."""
        return await self._storage.modified(keys.summary(self.tenant, self.id)) is not None

    async def _frozen_if_ended(self, view: JobView) -> JobView:
        """The view, or a new one behind the finalizer if the job may have ended."""
        if view.summary is not None:
            return view
        watch, grace = self._connections.job_watch, self._connections.settings.freeze_grace_seconds
        if not must_read_digests(view, await clock_of(self._storage, view, watch, grace=grace)):
            return view
        try:
            await finalize(self._storage, self.tenant, self.id, grace=grace, watch=watch)
        except (StoreDenied, StoreFull):
            # Whoever may only read, or finds no room, leaves the job's end to those that may write.
            return view
        return await self._view()

    async def _joined(self, source: Path | str | Iterable[Item]) -> JoinedInput:
        view = await self._view()
        return await JoinedInput.read(
            source,
            view.manifest,
            view.sealed,
            max_bytes=self._connections.settings.max_body_bytes,
            router=await routes_of_input(self._storage, self.tenant, self.id, view.sealed, self._connections.pools),
        )

    async def _stored_input(self) -> JoinedInput | None:
        view = await view_job(self._storage, self.tenant, self.id, with_segments=False)
        if view is None:
            return None
        with TemporaryDirectory() as folder:
            path = Path(folder) / "input.jsonl"
            if not await download_input(self._storage, view.manifest, path):
                return None
            return await self._joined(path)


class _Names:
    """Gives records their requests, or the custom_ids that those lack which were cut off."""

    def __init__(self, stored: Callable[[], Awaitable[JoinedInput | None]], joined: JoinedInput | None = None) -> None:
        """`stored` opens the stored input, if there is one; `joined` is the one that the caller passed."""
        self._stored = stored
        self._joined = joined
        self._looked = joined is not None

    async def join(self, records: Sequence[ResultRecord]) -> Sequence[ResultRecord]:
        """The records with their requests. Needs an input."""
        assert self._joined is not None
        return [self._joined.join(record) for record in records]

    async def complete(self, records: Sequence[ResultRecord]) -> Sequence[ResultRecord]:
        """The records with their custom_ids, where the job's input is stored."""
        if all(record.custom_id is not None for record in records):
            return records
        if not self._looked:
            self._joined, self._looked = await self._stored(), True
        joined = self._joined
        if joined is None:
            return records
        return [
            record.model_copy(update={"custom_id": joined.join(record).custom_id})
            if record.custom_id is None
            else record
            for record in records
        ]

    def close(self) -> None:
        """Remove what is on disk."""
        if self._joined is not None:
            self._joined.close()
