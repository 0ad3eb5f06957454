"""`/v1/files`. Bodies stream through: nothing is held but what is under way."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from backburner.gateway.answer_memory import AnswerMemory
from backburner.gateway.auth.audit_log import Action
from backburner.gateway.batches.results import BatchResults, ResultFile
from backburner.gateway.files.file_object import (
    BATCH,
    LEAST_EXPIRY_SECONDS,
    MOST_EXPIRY_SECONDS,
    FileDeleted,
    FileObject,
    FilePage,
    StoredFile,
)
from backburner.gateway.files.file_page import FileListing
from backburner.gateway.files.file_store import Written
from backburner.gateway.files.form import FORM_BYTES, UploadForm
from backburner.gateway.http.call import Call, call_of
from backburner.gateway.http.errors import JSON
from backburner.gateway.idempotency import Idempotency, as_made, fingerprint_of, idempotency_key
from backburner.gateway.parts import Parts, parts_of
from backburner_schemas.errors import BackburnerError, CallRefused, CallTooLarge, IdempotencyConflict
from backburner_schemas.status import JobView

router = APIRouter(tags=["files"])
_FILE_FIELD = "file"
_FIELDS = frozenset({"purpose", "expires_after[anchor]", "expires_after[seconds]"})
_ROUTE = "files"
_CONTENT = "application/octet-stream"


async def create_file(request: Request) -> Response:
    """Upload a file: multipart form with `file`, `purpose` and, if it should, `expires_after[…]`, in any order."""
    parts, call = parts_of(request), call_of(request)
    limit = parts.settings.gateway_max_file_bytes
    call.take_time()
    call.body.limit = limit + FORM_BYTES
    length = request.headers.get("content-length")
    if length is not None and int(length) > call.body.limit:
        raise CallTooLarge(f"the file has more than the {limit:,} bytes that one may have", param=_FILE_FIELD)
    form = UploadForm(request.headers.get("content-type"), _FILE_FIELD)
    call.idempotency_key = idempotency_key(request)
    async with parts.uploading(call.principal):
        if length is not None:
            await parts.limiter.store(call.principal, int(length))
        written = await parts.files(call.tenant).write(
            form.pieces(call.body.pieces()),
            max_bytes=limit,
            max_line_bytes=parts.settings.max_body_bytes,
            digests=call.idempotency_key is not None,
        )
        try:
            seconds = _checked(form.fields)
            if length is None:
                await parts.limiter.store(call.principal, written.size)
        except BackburnerError:
            await parts.files(call.tenant).drop_quietly(written.file_id)
            raise
        file = await _keep(parts, call, written, form, seconds)
    call.facts["file"] = file.id
    parts.audit.record(call.principal, Action.FILE_UPLOADED, file.id, bytes=file.bytes)
    return Response(FileObject.of(file).model_dump_json(), media_type=JSON)


async def _keep(parts: Parts, call: Call, written: Written, form: UploadForm, seconds: int | None) -> StoredFile:
    """Make the file of what was written; of a call that came before with the same key, the file that it made.

    Where this fails, the file may have been made all the same, so that its bytes must stay.
    """
    now, files = parts.storage.clock.now(), parts.files(call.tenant)
    file = StoredFile(
        id=written.file_id,
        bytes=written.size,
        created_at=now,
        expires_at=now + (parts.settings.gateway_file_seconds if seconds is None else seconds),
        filename=form.filename,
        purpose=BATCH,
        requests=written.requests,
        created_by=call.principal.subject,
    )
    if (key := call.idempotency_key) is not None:
        content = fingerprint_of([written.sha256, form.filename, form.fields])
        once = Idempotency(parts.storage, call.principal, _ROUTE)
        try:
            made = await once.once(key, content, file.model_dump_json())
        except IdempotencyConflict:
            await files.drop_quietly(written.file_id)
            raise
        file = as_made(StoredFile, made)
        if file.id != written.file_id:
            await files.drop_quietly(written.file_id)
            if (again := await files.keep_again(file)) is None:
                raise IdempotencyConflict("the file that this Idempotency-Key made is deleted; choose a new key")
            return again
    return await files.keep(file)


def _checked(fields: dict[str, str]) -> int | None:
    """Seconds after which the file is to go, if its form says so. Raises `CallRefused` for what a form cannot say."""
    seconds = _expiry(fields)
    if unknown := fields.keys() - _FIELDS:
        name = min(unknown)[:64]
        raise CallRefused(f"the form's field {name!r} is not known; remove it", param=name)
    if fields.get("purpose") != BATCH:
        raise CallRefused("purpose must be batch: files for other purposes are not kept here", param="purpose")
    return seconds


def _expiry(fields: dict[str, str]) -> int | None:
    text, anchor = fields.get("expires_after[seconds]"), fields.get("expires_after[anchor]")
    if text is None and anchor is None:
        return None
    if anchor != "created_at" or text is None:
        raise CallRefused("expires_after needs the anchor created_at, and seconds", param="expires_after")
    seconds = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MOST_EXPIRY_SECONDS)) else 0
    if not LEAST_EXPIRY_SECONDS <= seconds <= MOST_EXPIRY_SECONDS:
        raise CallRefused(
            f"expires_after.seconds must be from {LEAST_EXPIRY_SECONDS:,} to {MOST_EXPIRY_SECONDS:,}",
            param="expires_after",
        )
    return seconds


@router.get("/v1/files", operation_id="list_files")
async def list_files(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(max_length=300)] = None,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> FilePage:
    """List the files, those that batches gave among them, newest first unless `order` says otherwise."""
    parts, tenant = parts_of(request), call_of(request).tenant
    listing = FileListing(parts.files(tenant), parts.batches(tenant), parts.results(tenant))
    return await listing.page(limit=limit, newest_first=order == "desc", after=after, purpose=purpose)


@router.get("/v1/files/{file_id}", operation_id="retrieve_file")
async def retrieve_file(request: Request, file_id: str) -> FileObject:
    """Retrieve what is known of a file."""
    parts, tenant = parts_of(request), call_of(request).tenant
    if (result := ResultFile.parse(file_id)) is not None:
        results = parts.results(tenant)
        return await results.shown(result, await results.find(result))
    return FileObject.of(await parts.files(tenant).find(file_id))


@router.delete("/v1/files/{file_id}", operation_id="delete_file")
async def delete_file(request: Request, file_id: str) -> FileDeleted:
    """Delete a file. One that a batch still reads or writes cannot be deleted."""
    parts, call = parts_of(request), call_of(request)
    call.facts["file"] = file_id[:255]
    if (result := ResultFile.parse(file_id)) is not None:
        await parts.results(call.tenant).delete(result)
    else:
        await parts.files(call.tenant).delete(file_id)
    parts.audit.record(call.principal, Action.FILE_DELETED, file_id)
    return FileDeleted(id=file_id)


async def file_content(request: Request) -> Response:
    """Download a file. A batch's results can be read while it runs: what is there then."""
    parts, call, file_id = parts_of(request), call_of(request), request.path_params["file_id"]
    call.facts["file"] = file_id[:255]
    headers = {"x-content-type-options": "nosniff"}
    if (result := ResultFile.parse(file_id)) is not None:
        results = parts.results(call.tenant)
        view = await results.find(result)
        lines = _result_lines(results, result, view, parts.answer_memory, call)
        name = f"{result.job}_{result.kind}.jsonl"
    else:
        files = parts.files(call.tenant)
        file = await files.find(file_id)
        lines, name = files.stream(file), file.filename
        headers["content-length"] = str(file.bytes)
    headers["content-disposition"] = _attachment(name)
    if request.method == "HEAD":
        # What nobody gets is not read.
        return StreamingResponse((), headers=headers, media_type=_CONTENT)
    lines = await call.body.while_there(_begun(lines))
    call.take_time()
    parts.audit.record(call.principal, Action.FILE_DOWNLOADED, file_id)
    return StreamingResponse(lines, headers=headers, media_type=_CONTENT)


async def _result_lines(
    results: BatchResults, result: ResultFile, view: JobView, memory: AnswerMemory, call: Call
) -> AsyncIterator[bytes]:
    # The first line may be in the last segment: each step until then has the time of a call.
    async with aclosing(results.lines(result, view, memory, moved=call.go_on)) as lines:
        async for data in lines:
            yield data


async def _begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, the first of which was read: what is wrong by then can still be told by the status."""
    first = await anext(pieces, None)

    async def all_of_them() -> AsyncIterator[bytes]:
        if first is not None:
            yield first
            async for piece in pieces:
                yield piece

    return all_of_them()


def _attachment(name: str) -> str:
    plain = name.encode("ascii", "replace").decode().replace("\\", "_").replace('"', "_").replace("?", "_")
    return f'attachment; filename="{plain}"'


streaming = [
    Route("/v1/files", create_file, methods=["POST"], name="create_file"),
    Route("/v1/files/{file_id}/content", file_content, methods=["GET"], name="file_content"),
]
"""The handlers whose bodies stream; `documentation` tells of them what FastAPI cannot know."""
