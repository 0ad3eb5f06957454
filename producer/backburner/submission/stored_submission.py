"""Turns an input into a stored job: checks it, puts it into the object store, and leaves the rest to a dispatcher."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, closing, contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from backburner.connections import Connections
from backburner.inputs.batch import Batch
from backburner.inputs.file_reader import FileReader
from backburner.inputs.fingerprint import Fingerprint
from backburner.inputs.item_reader import ItemReader
from backburner.inputs.line_blocks import on_one_line
from backburner.inputs.reader import InputReader
from backburner.inputs.source import Source, check_source
from backburner.inputs.validation import Checker
from backburner.jobs.routes import note_unrouted
from backburner.runtime.progress import ProgressCalls
from backburner.submission.job_objects import JobObjects
from backburner.submission.stored_job import create_stored_job
from backburner.submission.submission import (
    SubmitOptions,
    SubmitProgress,
    Submitted,
    made_remedy,
    resumable,
    resume_remedy,
)
from backburner.temporary_files import temporary_files
from backburner_schemas import keys
from backburner_schemas.job import StoredInput


class StoredSubmission:
    """One submit that stores its input. Call `run` once."""

    def __init__(self, connections: Connections, options: SubmitOptions) -> None:
        self._connections = connections
        self._options = options
        self._objects = JobObjects(connections.storage, options.manifest)
        self._fingerprint = Fingerprint(self._objects.conflict)
        self._progress = ProgressCalls(options.on_progress)
        self._total: int | None = None
        self._reader: InputReader | None = None

    async def run(self, source: Source) -> Submitted:
        """See `_run`. An async `on_progress` has been awaited when it returns."""
        try:
            done = await self._run(source)
            job = self._options.manifest.id
            with resumable(job, made_remedy(job)):
                await self._progress.end()
        finally:
            self._progress.drop()
        return done

    async def _run(self, source: Source) -> Submitted:
        """Store the whole input and make the job. See `Client.submit` for what is raised."""
        resumed = await self._objects.adopt()
        connections, manifest = self._connections, self._objects.manifest
        max_bytes = connections.settings.max_body_bytes
        with (
            closing(
                Checker(max_bytes=max_bytes, router=connections.pools, pool=manifest.pool, model=manifest.model)
            ) as checker,
            closing(self._reader_of(source, checker, max_bytes)) as reader,
            _temporary() as copy,
        ):
            self._reader = reader
            expected = await reader.survey(self._fingerprint, self._report)
            self._total = expected.count if expected is not None else None
            if isinstance(source, (str, Path)) and not self._options.skip_invalid and manifest.model is None:
                path = Path(source)
            else:
                path = Path(copy.name)
                await self._write(reader, copy)
            if manifest.pool is not None and not resumed:
                await connections.pools.check_served(manifest.pool, checker.models)
            with resumable(manifest.id, resume_remedy(manifest.id, stored=True)):
                if reader.findings.total:
                    await note_unrouted(connections.storage, *self._objects.names, checker.unrouted)
                await self._store(path, skipped=reader.findings.total)
                self._total = self._fingerprint.count
                self._report(stored=True)
                pools, named = connections.pools, manifest.pool
                used = {named} if named is not None else {await pools.pool_for(model) for model in checker.models}
        return Submitted(reader.findings, pools.warnings(used))

    def _reader_of(self, source: Source, checker: Checker, max_bytes: int) -> InputReader:
        skip_invalid = self._options.skip_invalid
        if isinstance(source, (str, Path)):
            return FileReader(Path(source), checker, max_bytes=max_bytes, skip_invalid=skip_invalid, refuse=_nothing)
        check_source(source)
        return ItemReader(source, checker, skip_invalid=skip_invalid, refuse=_nothing)

    async def _write(self, reader: InputReader, copy: IO[bytes]) -> None:
        """Write what is accepted into the file, a line each."""
        surveyed = self._fingerprint.count
        async with aclosing(reader.batches()) as batches:
            async for batch in batches:
                if not surveyed:
                    self._fingerprint.take_all(batch.data(), len(batch))
                with temporary_files():
                    await asyncio.to_thread(copy.write, _lines(batch))
                self._report()
        if not self._fingerprint.count:
            raise reader.empty()
        with temporary_files():
            copy.flush()

    async def _store(self, path: Path, *, skipped: int) -> None:
        first = self._objects.manifest
        stored = StoredInput(
            key=keys.stored_input(*self._objects.names),
            bytes=(await asyncio.to_thread(path.stat)).st_size,
            sha256=self._fingerprint.prefix.sha256,
            skipped=skipped,
        )
        if first is not self._options.manifest and first.stored != stored:
            # It was made before, of something else; its input must not be touched.
            raise self._objects.conflict()
        await create_stored_job(self._connections.storage, first.model_copy(update={"stored": stored}), path)

    def _report(self, *, stored: bool = False) -> None:
        if self._options.on_progress is not None:
            checked = self._reader.checked if self._reader is not None else 0
            sent = self._fingerprint.count if stored else 0
            self._progress.tell(SubmitProgress(checked, sent, self._total, self._options.manifest.id))


def _lines(batch: Batch) -> bytes:
    return b"".join([b"{%b}\n" % on_one_line(members) for members in batch.members()])


async def _nothing() -> None:
    """No job was made yet that would have to be cancelled."""


@contextmanager
def _temporary() -> Iterator[IO[bytes]]:
    with temporary_files():
        file = NamedTemporaryFile(prefix="backburner-", suffix=".jsonl")  # noqa: SIM115 - closed below
    try:
        yield file
    finally:
        # A disk that ran full has been told of; closing tries to write the rest once more.
        with suppress(OSError):
            file.close()
