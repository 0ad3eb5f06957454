"""Turns an input into a job: checks it, makes the job, sends its requests in order, seals it. Resumes after a crash.

A file is read twice: the first pass finds everything that is wrong with it, the second one sends. An iterable is
checked as it goes.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from backburner.checks import Accepted, Checker
from backburner.connections import Connections
from backburner.cursor import JobCursor, new_owner
from backburner.finalizer import finalize
from backburner.findings import MAX_SKIPPED_KEPT, Findings, InvalidInput, SkippedLine
from backburner.inputs import Line, Source, read_file, read_items, regular_file
from backburner.jobfiles import JobFiles
from backburner.lineage import Lineage
from backburner.logs import get_logger
from backburner.messages import claim_check, message_of
from backburner.publishers.base import Message
from backburner.sending import Mark, Sender, publish
from backburner_schemas.errors import JobConflict, JobError, QueueError, StoreError, Unanswered
from backburner_schemas.job import JobManifest, Prefix, Sealed

_CURSOR_SECONDS = 2.0
_CURSOR_LINES = 20_000
_HEARTBEAT_SECONDS = 300.0
"""Seconds after which the cursor is written though nothing was sent: a slow input must not look like one that left."""
_LAST_CURSOR_SECONDS = 5.0
"""What a submit that ends with an error gives its last batches to be acknowledged."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SubmitProgress:
    """How far a submit has come."""

    checked: int
    """Lines of a file that the first pass has read; for iterables, those read so far."""
    sent: int
    """Requests that the broker has."""
    total: int | None
    """Requests that will be sent; None for iterables, and until a file's first pass is through."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the caller asked for."""

    manifest: JobManifest
    skip_invalid: bool = False
    on_progress: Callable[[SubmitProgress], None] | None = None


@dataclass(slots=True)
class Submitted:
    """What became of it."""

    skipped: Sequence[SkippedLine] = ()
    warnings: list[str] = field(default_factory=list)


class Submission:
    """One submit. Call `run` once."""

    def __init__(self, connections: Connections, order: Order) -> None:
        self._connections = connections
        self._order = order
        self._files = JobFiles(connections.storage, order.manifest)
        self._findings = Findings(MAX_SKIPPED_KEPT)
        self._lineage = Lineage(self._files.conflict)
        self._resumed = Mark()
        self._sealed = False
        self._unproven: list[tuple[Message, int]] = []
        self._pools: set[str] = set()
        self._checked = 0
        self._total: int | None = None
        self._cursor_at = (0.0, 0)

    async def run(self, source: Source) -> Submitted:
        """Send the whole input. See `Client.submit` for what is raised."""
        expected: Prefix | None = None
        await self._files.adopt()
        max_bytes = self._connections.settings.max_body_bytes
        if isinstance(source, (str, Path)):
            path = regular_file(Path(source))
            expected = await self._survey(path)
            self._findings = Findings(MAX_SKIPPED_KEPT)
            chunks = read_file(path, max_bytes=max_bytes)
        else:
            chunks = read_items(source)
        with self._checker() as checker:
            batches = self._accepted(chunks, checker)
            async with aclosing(batches):
                # Nothing is made before there is something to send, and a queue to send it to.
                first = await anext(batches, None)
                if first is None:
                    raise self._empty()
                await self._connections.publisher()
                try:
                    await self._send_all(first, batches, expected)
                except (JobError, Unanswered):
                    raise
                except Exception as error:
                    error.add_note(f"job {self._order.manifest.id} is not sealed; submit with this job_id to resume it")
                    raise
        return Submitted(self._findings, self._connections.pools.warnings(self._pools))

    # --- reading --------------------------------------------------------------------------------------------

    def _checker(self) -> Checker:
        return Checker(
            max_bytes=self._connections.settings.max_body_bytes,
            router=self._connections.pools,
            pool=self._files.manifest.pool,
        )

    async def _survey(self, path: Path) -> Prefix:
        """The file's first pass: raises `InvalidInput` with all that is wrong, or tells what the second will send."""
        survey = Lineage(self._files.conflict)
        findings = Findings()
        chunks = read_file(path, max_bytes=self._connections.settings.max_body_bytes)
        with self._checker() as checker:
            async with aclosing(chunks):
                async for chunk in chunks:
                    accepted, bad = await checker.check(chunk)
                    for finding in bad:
                        findings.add(finding)
                    for one in accepted:
                        survey.take(one.data)
                    self._checked = chunk[-1][0]
                    self._tell()
                    # A file in the page cache would never let the loop turn.
                    await asyncio.sleep(0)
        if findings.total and not self._order.skip_invalid:
            raise InvalidInput.of(findings)
        if not survey.count:
            self._findings = findings
            raise self._empty()
        self._total = survey.count
        return survey.prefix

    async def _accepted(self, chunks: AsyncGenerator[list[Line]], checker: Checker) -> AsyncGenerator[list[Accepted]]:
        async with aclosing(chunks):
            async for chunk in chunks:
                accepted, bad = await checker.check(chunk)
                for finding in bad:
                    self._findings.add(finding)
                self._checked = max(self._checked, chunk[-1][0])
                if bad and not self._order.skip_invalid:
                    # The good ones before it go the same way: their job is cancelled.
                    await self._files.cancel_if_open()
                    raise InvalidInput.of(self._findings, "item" if self._total is None else "line")
                if accepted:
                    yield accepted

    def _empty(self) -> InvalidInput:
        if self._findings.total:
            return InvalidInput.of(self._findings)
        return InvalidInput("the input holds no request; give at least one line")

    # --- sending --------------------------------------------------------------------------------------------

    async def _send_all(
        self, first: list[Accepted], rest: AsyncIterator[list[Accepted]], expected: Prefix | None
    ) -> None:
        sealed = await self._files.open()
        self._sealed = sealed is not None
        cursor = JobCursor(self._connections.storage, *self._files.names, new_owner())
        if sealed is not None:
            self._resumed = Mark(sealed.total, sealed.sha256)
        else:
            self._resumed = await self._claim(cursor, first, expected)
        self._lineage.expect(self._resumed)
        sender = Sender(self._resumed)
        self._cursor_at = (time.monotonic(), self._resumed.count)
        heartbeat = asyncio.create_task(self._heartbeat(cursor, sender))
        try:
            await self._send(first, sender)
            async for accepted in rest:
                await self._send(accepted, sender)
                await self._advance(cursor, sender)
            self._lineage.end()
            await self._check_unchanged(expected)
            if not self._sealed:
                await sender.drain()
                await cursor.advance(self._lineage.count, self._lineage.mark.sha256)
                await self._seal()
        except BaseException:
            # What the broker has by now is in the books, whatever ended the submit.
            await asyncio.shield(self._keep_cursor(cursor, sender))
            raise
        finally:
            heartbeat.cancel()
            await sender.close()
        self._tell(sender)

    async def _send(self, accepted: Sequence[Accepted], sender: Sender) -> None:
        """Send what the broker does not have yet. What it has, of an earlier submit, must be the same."""
        messages: list[tuple[Message, int]] = []
        now = time.time()
        resumed = self._resumed.count
        if self._sealed and self._lineage.count + len(accepted) > resumed:
            raise self._files.conflict()
        for one in accepted:
            self._pools.add(one.pool)
            if self._lineage.count >= resumed:
                messages.append((message_of(self._files.manifest, self._lineage.count, one, now), len(one.data)))
            self._lineage.take(one.data)
        self._unproven += messages
        if self._unproven and self._lineage.proven:
            proven, self._unproven = self._unproven, []
            await sender.send(partial(self._deliver, proven), self._lineage.mark)
        self._tell(sender)

    async def _check_unchanged(self, expected: Prefix | None) -> None:
        if expected not in {None, self._lineage.prefix}:
            await self._files.cancel_if_open()
            raise InvalidInput("the file changed while it was submitted; submit it again when it is whole")

    async def _claim(self, cursor: JobCursor, first: Sequence[Accepted], whole: Prefix | None) -> Mark:
        """Become the job's producer; how far it was sent already. What it was made from is expected of this input."""
        beginning = Lineage(self._files.conflict)
        for one in first:
            beginning.take(one.data)
        begin = await cursor.claim(beginning.prefix, whole)
        if begin.whole is not None and whole is not None and begin.whole != whole:
            raise self._files.conflict()
        self._lineage.expect(begin.first, as_proof=True)
        if begin.whole is not None and whole is None:
            self._lineage.expect(begin.whole)
        return Mark(begin.count, begin.sha256)

    async def _deliver(self, messages: Sequence[tuple[Message, int]]) -> None:
        storage, kind = self._connections.storage, self._connections.settings.queue.kind
        ready = [await claim_check(storage, message, size, kind) for message, size in messages]
        await publish(await self._connections.publisher(), ready)

    async def _advance(self, cursor: JobCursor, sender: Sender) -> None:
        """Write down how far the broker has the job, now and then; and stop if the job was cancelled."""
        written_at, written = self._cursor_at
        done = sender.acknowledged
        if done.count == written:
            return
        if time.monotonic() - written_at >= _CURSOR_SECONDS or done.count - written >= _CURSOR_LINES:
            await self._files.check_going_on()
            await cursor.advance(done.count, done.sha256)
            self._cursor_at = (time.monotonic(), done.count)

    async def _keep_cursor(self, cursor: JobCursor, sender: Sender) -> None:
        """Write down what the broker has, as far as that can be known soon; the error at hand matters more."""
        if self._sealed:
            return
        try:
            async with asyncio.timeout(_LAST_CURSOR_SECONDS):
                with suppress(QueueError):
                    await sender.drain()
                await cursor.advance(sender.acknowledged.count, sender.acknowledged.sha256)
        except (StoreError, JobConflict, TimeoutError) as error:
            log.warning("the cursor could not be kept", job=self._files.manifest.id, error=str(error))

    async def _heartbeat(self, cursor: JobCursor, sender: Sender) -> None:
        while not self._sealed:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            try:
                await cursor.advance(sender.acknowledged.count, sender.acknowledged.sha256)
            except (StoreError, JobConflict) as error:
                # Sending finds out by itself, and says so to the caller.
                log.warning("the cursor could not be kept", job=self._files.manifest.id, error=error.message)

    async def _seal(self) -> None:
        sealed = Sealed(
            total=self._lineage.count,
            sha256=self._lineage.mark.sha256,
            sealed_at=time.time(),
            skipped=self._findings.total,
        )
        await self._files.seal(sealed)
        ending = await finalize(
            self._connections.storage,
            *self._files.names,
            grace=self._connections.settings.freeze_grace_seconds,
        )
        if ending is not None and ending.summary.counts.total != sealed.total:
            # Frozen between the last look and the seal: what came after its end is nobody's.
            await self._files.check_going_on()

    def _tell(self, sender: Sender | None = None) -> None:
        if self._order.on_progress is not None:
            sent = sender.acknowledged.count if sender is not None else 0
            self._order.on_progress(SubmitProgress(self._checked, sent, self._total))
