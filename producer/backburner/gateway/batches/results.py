"""A batch's results as two files, output and errors, made while they are read from the records that are stored.

Both grow while the batch runs, and stay the same once it has ended. Then each request's line is in exactly one of them.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from enum import StrEnum
from typing import NamedTuple

from pydantic_core import from_json, to_json

from backburner.gateway.answer_memory import AnswerMemory
from backburner.gateway.batches.batch_view import view_batch
from backburner.gateway.files.file_object import BATCH_OUTPUT, FileObject
from backburner.gateway.http.errors import error_form
from backburner.inputs.line_blocks import BOM, is_blank
from backburner.jobs.record_lines import RecordLines
from backburner.jobs.record_reader import Piece, RecordReader, parsed
from backburner.storage import Storage
from backburner_schemas import errors, keys
from backburner_schemas.envelope import Address
from backburner_schemas.errors import BackburnerError, CallRefused, FileNotFound
from backburner_schemas.indexset import IndexSet
from backburner_schemas.result import ResultRecord, error_record
from backburner_schemas.status import JobView

_PREFIX = "file-"
_BLOCK_BYTES = 1 << 18
_MAX_LINE_BYTES = 32 * 1024 * 1024
"""Of an input, several times the largest request."""


class ResultKind(StrEnum):
    """The two files that a batch gives."""

    OUTPUT = "output"
    """A line for each request with a response."""
    ERRORS = "errors"
    """A line for each request without one."""


class ResultFile(NamedTuple):
    """Whose file, and which of the two."""

    job: str
    kind: ResultKind

    @property
    def id(self) -> str:
        """The file's id."""
        return f"{_PREFIX}{self.job}-{self.kind}"

    @classmethod
    def parse(cls, file_id: str) -> "ResultFile | None":
        """The file of that id; None for an id of another kind."""
        job, dash, kind = file_id.removeprefix(_PREFIX).rpartition("-")
        if not (dash and job and file_id.startswith(_PREFIX)) or kind not in set(ResultKind):
            return None
        return cls(job, ResultKind(kind))


def files_of(view: JobView) -> dict[ResultKind, str]:
    """The ids of the files that the batch has: those with at least one line, as far as that is known."""
    counts = view.summary.counts if view.summary is not None else view.estimated()[0]
    lines = {ResultKind.OUTPUT: counts.completed, ResultKind.ERRORS: counts.failed}
    return {kind: ResultFile(view.manifest.id, kind).id for kind, count in lines.items() if count}


class BatchResults:
    """The result files of one tenant. Every method raises `StoreError`."""

    def __init__(self, storage: Storage, tenant: str) -> None:
        self._storage = storage.of_tenant(tenant)
        self._tenant = tenant

    async def find(self, file: ResultFile) -> JobView:
        """The batch of the file. Raises `FileNotFound`, also for a file that was deleted, or has expired."""
        view = await view_batch(self._storage, self._tenant, file.job)
        if view is None or self._gone(file, view) or await self._deleted(file):
            raise FileNotFound(f"there is no file {file.id[:96]!r}; `GET /v1/files` lists those that exist")
        return view

    async def shown(self, file: ResultFile, view: JobView) -> FileObject:
        """The file in OpenAI's form."""
        return _shown(file, view, await self._sizes(view))

    async def shown_all(self, view: JobView, kinds: Iterable[ResultKind]) -> list[FileObject]:
        """The files of these kinds that the batch has, in OpenAI's form: a look at each, and a listing."""
        ids = files_of(view)
        files = [ResultFile(view.manifest.id, kind) for kind in kinds if kind in ids]
        there = [file for file in files if not (self._gone(file, view) or await self._deleted(file))]
        if not there:
            return []
        sizes = await self._sizes(view)
        return [_shown(file, view, sizes) for file in there]

    async def delete(self, file: ResultFile) -> None:
        """Remove the file of a batch that has ended; with the second one the records go. Raises `FileNotFound`."""
        view = await self.find(file)
        if view.summary is None:
            raise CallRefused(f"the batch {file.job} still writes this file; cancel it first, or wait for its end")
        await self._storage.create(keys.deleted_results(self._tenant, file.job, file.kind), b"")
        others = [other for kind in files_of(view) if (other := ResultFile(file.job, kind)) != file]
        if all([await self._deleted(other) for other in others]):
            await self.drop_records(file.job)

    async def are_over(self, job: str, now: float) -> bool:
        """Whether the results' time has come, in Unix seconds. Those of a batch that has not ended have none yet."""
        view = await view_batch(self._storage, self._tenant, job)
        if view is None:
            return True
        expires = _expires_at(view)
        return expires is not None and now >= expires

    async def drop_records(self, job: str) -> None:
        """Remove the records of a batch for good."""
        for prefix in (keys.segments(self._tenant, job), keys.bodies(self._tenant, job)):
            await self._storage.delete_all(prefix)

    async def lines(
        self, file: ResultFile, view: JobView, memory: AnswerMemory, *, moved: Callable[[], object] = lambda: None
    ) -> AsyncGenerator[bytes]:
        """The file's lines, some at a time. Raises `Overloaded` before the first, where there is no memory for them.

        The first may come late. `moved` is called after each step until then, and afterwards.
        """
        await memory.wait(self._tenant)
        # Those that were cut off come below, with their names.
        reader = RecordReader(
            self._storage,
            self._tenant,
            file.job,
            cut_off=False,
            errors_only=file.kind is ResultKind.ERRORS,
            memory=memory.of(self._tenant),
            moved=moved,
        )
        # Of a batch that ends while this is read: those that were cut off are told by name once it has ended.
        missing = view.summary.missing if view.summary is not None else None
        async with aclosing(reader.pieces(follow=False)) as pieces:
            async for piece in pieces:
                if data := b"".join(_lines(file.kind, piece, missing)):
                    yield data
        if file.kind is ResultKind.ERRORS and missing:
            async for data in self._cut_off(view, missing, moved):
                yield data

    async def _cut_off(self, view: JobView, missing: IndexSet, moved: Callable[[], object]) -> AsyncIterator[bytes]:
        """Lines for the requests that were never run, with their custom_ids from the input."""
        assert view.summary is not None
        error = _CUT_OFF.get(view.summary.missing_code or "", errors.Expired)()
        manifest, last, held, size = view.manifest, -1, list[bytes](), 0
        async for index, custom_id in self._named(view, missing, moved):
            record = error_record(Address(manifest.tenant, manifest.id, index, custom_id), error)
            held.append(error_line(record))
            size, last = size + len(held[-1]), index
            if size >= _BLOCK_BYTES:
                yield b"".join(held)
                held, size = [], 0
        # The input may be gone by now, and with it the names.
        for index in missing - IndexSet.below(last + 1):
            held.append(error_line(error_record(Address(manifest.tenant, manifest.id, index, None), error)))
            size += len(held[-1])
            if size >= _BLOCK_BYTES:
                yield b"".join(held)
                held, size = [], 0
        if held:
            yield b"".join(held)

    async def _named(
        self, view: JobView, wanted: IndexSet, moved: Callable[[], object]
    ) -> AsyncIterator[tuple[int, str | None]]:
        """These indexes and the custom_ids of their lines, as far as the input is there."""
        stored = view.manifest.stored
        key = stored.key if stored is not None else keys.stored_input(self._tenant, view.manifest.id)
        if not keys.is_input_of(key, self._tenant, view.manifest.id) or await self._storage.modified(key) is None:
            return
        left = iter(wanted)
        due, index = next(left, None), 0
        async for lines in self._lines_of(key):
            moved()
            for line in lines:
                if index == due:
                    yield index, _custom_id(line)
                    due = next(left, None)
                index += 1
            if due is None:
                return

    async def _lines_of(self, key: str) -> AsyncIterator[list[bytes]]:
        """The lines of an input that are requests, some at a time: those that `locate_lines` gives and are not blank.

        They end at a line that is too long to be held: it is no input of requests, and nothing behind it has a name.
        """
        rest, is_first = b"", True
        async for piece in self._storage.stream(key):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > _MAX_LINE_BYTES:
                return
            if is_first and lines:
                lines[0], is_first = lines[0].removeprefix(BOM), False
            yield [line for line in lines if not is_blank(line)]
        last = rest.removeprefix(BOM) if is_first else rest
        if not is_blank(last):
            yield [last]

    async def _sizes(self, view: JobView) -> dict[ResultKind, int]:
        """Bytes of the segments that each file's lines are in."""
        counted = set(view.segments)
        prefix, sizes = keys.segments(self._tenant, view.manifest.id), dict.fromkeys(ResultKind, 0)
        async for listed in self._storage.scan(prefix):
            name = keys.SegmentName.parse(listed.key)
            if name is None or listed.key[len(prefix) :] not in counted:
                continue
            sizes[ResultKind.OUTPUT] += listed.size if name.ok else 0
            sizes[ResultKind.ERRORS] += listed.size if name.failed else 0
        return sizes

    def _gone(self, file: ResultFile, view: JobView) -> bool:
        expires = _expires_at(view)
        return (expires is not None and self._storage.clock.trusted_now() >= expires) or (
            view.summary is not None and file.kind not in files_of(view)
        )

    async def _deleted(self, file: ResultFile) -> bool:
        return await self._storage.modified(keys.deleted_results(self._tenant, file.job, file.kind)) is not None


def _shown(file: ResultFile, view: JobView, sizes: Mapping[ResultKind, int]) -> FileObject:
    ended = view.summary.finalized_at if view.summary is not None else None
    expires = _expires_at(view)
    return FileObject(
        id=file.id,
        bytes=sizes[file.kind],
        created_at=int(view.manifest.created_at if ended is None else ended),
        expires_at=None if expires is None else int(expires),
        filename=f"{file.job}_{file.kind}.jsonl",
        purpose=BATCH_OUTPUT,
    )


def _expires_at(view: JobView) -> float | None:
    after = view.manifest.output_expires_after
    return None if after is None or view.summary is None else view.summary.finalized_at + after


def _lines(kind: ResultKind, piece: Piece, missing: IndexSet | None) -> Iterator[bytes]:
    """The lines of that kind in what was read. Those of requests that are missing come by their names instead."""
    if isinstance(piece, RecordLines):
        if not piece.failed:
            if kind is ResultKind.OUTPUT:
                yield piece.data
            return
        records: Iterable[tuple[bytes | None, ResultRecord]] = zip(
            piece.data.splitlines(keepends=True), parsed("that was read", piece.data), strict=True
        )
    else:
        records = ((None, record) for record in piece)
    for line, record in records:
        if record.ok:
            if kind is ResultKind.OUTPUT:
                yield line or RecordLines.of([record]).data
        elif kind is ResultKind.ERRORS and not _is_in(missing, record):
            yield error_line(record)


def _is_in(missing: IndexSet | None, record: ResultRecord) -> bool:
    if missing is None:
        # Only what a reader makes of those that were cut off has no name.
        return record.custom_id is None
    index = record.backburner.index
    return isinstance(index, int) and index in missing


_NEVER_RAN = {
    errors.Expired.code: "batch_expired",
    errors.ProducerAbandoned.code: "batch_expired",
    errors.Cancelled.code: "batch_cancelled",
}
"""OpenAI's codes for what never ran."""

_CUT_OFF = {kind.code: kind for kind in (errors.Expired, errors.Cancelled, errors.ProducerAbandoned)}


def error_line(record: ResultRecord) -> bytes:
    """An error record as a line of OpenAI's error file, with its end: a failure is a response with its status."""
    assert record.error is not None
    error = record.error
    response = told = None
    if error.code in _NEVER_RAN:
        told = {"code": _NEVER_RAN[error.code], "message": error.message}
    else:
        status = status_of(error.code)
        body = error_form(status, error.code, error.message, error.param)
        response = {"status_code": status, "request_id": record.id, "body": body}
    return (
        to_json(
            {
                "id": record.id,
                "custom_id": record.custom_id,
                "response": response,
                "error": told,
                "backburner": record.backburner.model_dump(),
            }
        )
        + b"\n"
    )


def status_of(code: str) -> int:
    """The HTTP status of the error with that code; 500 for one that is not in the tree."""
    return _STATUSES.get(code, 500)


def _statuses(kind: type[BackburnerError]) -> Iterator[tuple[str, int]]:
    for child in kind.__subclasses__():
        yield child.code, child.http_status
        yield from _statuses(child)


_STATUSES = dict(_statuses(BackburnerError))


def _custom_id(line: bytes) -> str | None:
    try:
        found = from_json(line)
    except ValueError:
        return None
    custom_id = found.get("custom_id") if isinstance(found, dict) else None
    return custom_id if isinstance(custom_id, str) else None
