"""Turns an input into a job: creates the job, sends its requests in order, seals it. Resumes after a crash."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

from backburner.connections import Connections
from backburner.inputs.batch import Batch
from backburner.inputs.file_reader import FileReader
from backburner.inputs.findings import SkippedLine
from backburner.inputs.fingerprint import Fingerprint
from backburner.inputs.item_reader import ItemReader
from backburner.inputs.reader import InputReader
from backburner.inputs.source import Source, check_source
from backburner.inputs.validation import Checker
from backburner.jobs.finalizer import finalize
from backburner.jobs.routes import JobRoutes, note_unrouted, noted_unrouted
from backburner.logs import get_logger
from backburner.publishers.base import Message
from backburner.runtime.progress import ProgressCalls
from backburner.runtime.remedies import noting
from backburner.submission.cursor import JobCursor, new_owner
from backburner.submission.envelopes import Envelopes, claim_check_all
from backburner.submission.job_objects import JobObjects
from backburner.submission.sender import Sender, publish
from backburner_schemas.errors import BackburnerError, JobConflict, JobError, StoreError, Unanswered
from backburner_schemas.job import JobManifest, Prefix, Sealed

_CURSOR_SECONDS = 2.0
_CURSOR_LINES = 20_000
_HEARTBEAT_SECONDS = 300.0
"""Seconds after which the cursor is written though nothing was sent: a slow input must not look like one that left."""
_LAST_CURSOR_SECONDS = 5.0
"""How long a submit that ends with an error waits for its last batches to be acknowledged."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SubmitProgress:
    """How far a submit has come."""

    checked: int
    """Lines of a file that the first pass has read; for iterables, those read so far."""
    sent: int
    """Requests that the broker has; of a stored job, the object store."""
    total: int | None
    """Requests that will be sent; None for iterables, and until a file's first pass is through."""
    job_id: str = ""
    """The job's id, by which a submit that is broken off can be resumed."""


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """What the caller asked for."""

    manifest: JobManifest
    skip_invalid: bool = False
    on_progress: Callable[[SubmitProgress], object] | None = None
    remedy: str | None = None
    """How to go on if it is broken off; by submitting again if not given."""


@dataclass(slots=True)
class Submitted:
    """What became of it."""

    skipped: Sequence[SkippedLine] = ()
    warnings: list[str] = field(default_factory=list)


def resume_remedy(job: str, *, stored: bool = False) -> str:
    """How to go on with a submit that was broken off; `stored`: one that stores its input."""
    if stored:
        return (
            f"job {job} may not be made: submit the same input with job_id={job!r}, stored=True "
            f"(--job-id {job} --stored) to make it"
        )
    return f"job {job} is not sealed: submit the same input with job_id={job!r} (--job-id {job}) to resume it"


def made_remedy(job: str) -> str:
    """How to go on behind a submit that did all that it was to do."""
    return f"job {job} is submitted as a whole: client.job({job!r}) has it (backburner watch {job})"


@contextmanager
def resumable(job: str, remedy: str | None = None) -> Iterator[None]:
    """A job is being made: whatever breaks it off says how to go on, which is to submit again if not told otherwise."""
    remedy = remedy or resume_remedy(job)
    with noting(remedy):
        try:
            yield
        except (JobError, Unanswered) as error:
            error.of_job(job)
            raise
        except BackburnerError as error:
            error.of_job(job, remedy)
            raise


class Submission:
    """One submit. Call `run` once."""

    def __init__(self, connections: Connections, options: SubmitOptions) -> None:
        self._connections = connections
        self._options = options
        self._objects = JobObjects(connections.storage, options.manifest)
        self._fingerprint = Fingerprint(self._objects.conflict)
        self._cursor = JobCursor(connections.storage, *self._objects.names, new_owner())
        self._progress = ProgressCalls(options.on_progress)
        self._rolling = False
        self._resumed = Prefix()
        self._sealed = False
        self._unproven: list[Sequence[Message]] = []
        self._pools: set[str] = set()
        self._noted: frozenset[str] | None = None
        """The models without a pool that the store has noted."""
        self._total: int | None = None
        self._cursor_at = (0.0, 0)
        self._reader: InputReader | None = None

    async def run(self, source: Source) -> Submitted:
        """See `_run`. An async `on_progress` has been awaited when it returns."""
        try:
            done = await self._run(source)
            job = self._options.manifest.id
            with resumable(job, self._options.remedy or made_remedy(job)):
                await self._progress.end()
        finally:
            self._progress.drop()
        return done

    async def _run(self, source: Source) -> Submitted:
        """Send the whole input. See `Client.submit` for what is raised."""
        resumed = await self._objects.adopt()
        max_bytes, manifest, pools = (
            self._connections.settings.max_body_bytes,
            self._objects.manifest,
            self._connections.pools,
        )
        # What was begun is completed by the routes that it was begun with.
        self._noted = await noted_unrouted(self._connections.storage, *self._objects.names) if resumed else None
        router = pools if self._noted is None else JobRoutes(self._noted, pools)
        with (
            closing(Checker(max_bytes=max_bytes, router=router, pool=manifest.pool, model=manifest.model)) as checker,
            closing(self._reader_of(source, checker, max_bytes)) as reader,
        ):
            self._reader = reader
            expected = await reader.survey(Fingerprint(self._objects.conflict), self._report)
            if expected is not None:
                self._total = expected.count
                self._report()
            async with aclosing(reader.batches()) as batches:
                # Nothing is created before there is something to send, and a queue to send it to.
                first = await anext(batches, None)
                if first is None:
                    raise reader.empty()
                # What was begun is completed, whoever works in the pool by now.
                if manifest.pool is not None and manifest.parent is None and not resumed:
                    await pools.check_served(manifest.pool, checker.models)
                await self._connections.publisher()
                with resumable(self._options.manifest.id, self._options.remedy):
                    await self._send_all(first, batches, reader, checker, expected)
        return Submitted(reader.findings, pools.warnings(self._pools))

    def _reader_of(self, source: Source, checker: Checker, max_bytes: int) -> InputReader:
        skip_invalid, refuse = self._options.skip_invalid, self._refuse
        if isinstance(source, (str, Path)):
            return FileReader(Path(source), checker, max_bytes=max_bytes, skip_invalid=skip_invalid, refuse=refuse)
        check_source(source)
        return ItemReader(source, checker, skip_invalid=skip_invalid, refuse=refuse)

    async def _refuse(self) -> None:
        """Cancel the job whose input turned out invalid, unless it may be the job of another input."""
        if self._fingerprint.proven and not self._fingerprint.expected:
            await self._objects.cancel_if_open()

    # --- sending --------------------------------------------------------------------------------------------

    async def _send_all(
        self,
        first: Batch,
        rest: AsyncIterator[Batch],
        reader: InputReader,
        checker: Checker,
        expected: Prefix | None,
    ) -> None:
        sealed = await self._objects.open()
        self._sealed = sealed is not None
        if sealed is not None:
            self._resumed = Prefix(sealed.total, sealed.sha256)
        else:
            self._resumed = await self._begin(first, expected)
        self._fingerprint.expect(self._resumed)
        # Where the hash is needed within a batch, all that is before must be read for it.
        self._rolling = expected is None or not reader.ends_at(self._fingerprint.expected)
        sender = Sender(self._resumed)
        self._cursor_at = (time.monotonic(), self._resumed.count)
        envelopes = Envelopes(self._objects.manifest)
        heartbeat = asyncio.create_task(self._heartbeat(sender))
        try:
            await self._send(first, envelopes, sender, reader, checker)
            async for batch in rest:
                await self._send(batch, envelopes, sender, reader, checker)
                await self._advance(sender)
            self._fingerprint.end()
            if not self._sealed:
                await self._cursor.claim()
                await sender.drain()
                await self._cursor.advance(self._fingerprint.count, self._fingerprint.prefix.sha256)
                await self._note_unrouted(reader, checker)
                await self._seal(skipped=reader.findings.total)
            # Also of a job that was sealed before: whoever sealed it may have died before this.
            await self._finalize()
        except BaseException:
            # What the broker has by now is recorded, whatever ended the submit.
            await asyncio.shield(self._keep_cursor(sender))
            raise
        finally:
            heartbeat.cancel()
            await sender.close()
        self._report(sender)

    async def _send(
        self, batch: Batch, envelopes: Envelopes, sender: Sender, reader: InputReader, checker: Checker
    ) -> None:
        """Send what the broker does not have yet. What it has, of an earlier submit, must be the same."""
        first = self._fingerprint.count
        known = max(self._resumed.count - first, 0)
        if self._sealed and known < len(batch):
            raise self._objects.conflict()
        if batch.end is None or self._rolling:
            self._fingerprint.take_all(batch.data(), len(batch))
        else:
            self._fingerprint.skip(batch.end)
        self._pools.update(batch.pools())
        if known < len(batch):
            members, pools = batch.members()[known:], batch.pools()[known:]
            self._unproven.append(
                envelopes.messages(members, pools, first + known, self._connections.storage.clock.now())
            )
        if not self._sealed and self._fingerprint.proven:
            # Also where nothing new is to be sent for long: a job whose producer is gone counts as abandoned meanwhile.
            await self._cursor.claim()
        if self._unproven and self._fingerprint.proven:
            await self._note_unrouted(reader, checker)
            proven, self._unproven = self._unproven, []
            messages = proven[0] if len(proven) == 1 else list(chain.from_iterable(proven))
            await sender.send(partial(self._deliver, messages), self._fingerprint.prefix)
        self._report(sender)

    async def _begin(self, first: Batch, whole: Prefix | None) -> Prefix:
        """Begin the job, or find how far it was sent; this input must be what it was made from."""
        beginning = Fingerprint(self._objects.conflict)
        if first.end is not None:
            beginning.skip(first.end)
        else:
            beginning.take_all(first.data(), len(first))
        begin = await self._cursor.begin(beginning.prefix, whole)
        if begin.whole is not None and whole is not None and begin.whole != whole:
            raise self._objects.conflict()
        self._fingerprint.expect(begin.first, as_proof=True)
        if begin.whole is not None and whole is None:
            self._fingerprint.expect(begin.whole)
        return Prefix(begin.count, begin.sha256)

    async def _deliver(self, messages: Sequence[Message]) -> None:
        storage = self._connections.storage
        ready = await claim_check_all(storage, messages, self._connections.settings.queue.kind)
        await publish(
            await self._connections.publisher(), storage, ready, max_retries=self._connections.limits.max_retries
        )

    async def _advance(self, sender: Sender) -> None:
        """Record every few seconds how far the broker has the job; stop if the job was cancelled."""
        written_at, written = self._cursor_at
        done = sender.acknowledged
        if done.count == written:
            return
        if time.monotonic() - written_at >= _CURSOR_SECONDS or done.count - written >= _CURSOR_LINES:
            await self._objects.check_going_on()
            await self._cursor.advance(done.count, done.sha256)
            self._cursor_at = (time.monotonic(), done.count)

    async def _keep_cursor(self, sender: Sender) -> None:
        """Record what the broker has, as far as that is known soon; the error at hand matters more."""
        if self._sealed:
            return
        try:
            async with asyncio.timeout(_LAST_CURSOR_SECONDS):
                # Whatever a batch failed for: those before it are on the broker.
                with suppress(Exception):
                    async with asyncio.timeout(_LAST_CURSOR_SECONDS / 2):
                        await sender.drain()
                await self._cursor.advance(sender.acknowledged.count, sender.acknowledged.sha256)
        except (StoreError, JobConflict, TimeoutError) as error:
            log.warning(
                "writing the cursor failed; a resume sends more again", job=self._objects.manifest.id, error=str(error)
            )

    async def _heartbeat(self, sender: Sender) -> None:
        while not self._sealed:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            try:
                await self._cursor.advance(sender.acknowledged.count, sender.acknowledged.sha256)
            except (StoreError, JobConflict) as error:
                # Sending finds out by itself, and raises it to the caller.
                log.warning("writing the cursor failed; retrying", job=self._objects.manifest.id, error=error.message)

    async def _note_unrouted(self, reader: InputReader, checker: Checker) -> None:
        """Note what lines were skipped for before what follows them is sent: the job may never be sealed."""
        if not reader.findings.total and checker.unrouted == frozenset():
            return
        models = None if checker.unrouted is None else checker.unrouted | (self._noted or frozenset())
        if models != self._noted:
            await note_unrouted(self._connections.storage, *self._objects.names, models)
            self._noted = models

    async def _seal(self, *, skipped: int) -> None:
        sealed = Sealed(
            total=self._fingerprint.count,
            sha256=self._fingerprint.prefix.sha256,
            sealed_at=self._connections.storage.clock.now(),
            skipped=skipped,
        )
        await self._objects.seal(sealed)

    async def _finalize(self) -> None:
        ending = await finalize(
            self._connections.storage,
            *self._objects.names,
            grace=self._connections.settings.freeze_grace_seconds,
            watch=self._connections.job_watch,
        )
        if not self._sealed and ending is not None and ending.summary.counts.total != self._fingerprint.count:
            # Frozen between the last check and the seal: what came after its end does not count.
            await self._objects.check_going_on()

    def _report(self, sender: Sender | None = None) -> None:
        if self._options.on_progress is not None:
            checked = self._reader.checked if self._reader is not None else 0
            sent = sender.acknowledged.count if sender is not None else 0
            job = self._options.manifest.id
            self._progress.tell(SubmitProgress(checked, sent, self._total, job))
