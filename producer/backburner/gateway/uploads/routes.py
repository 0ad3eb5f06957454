"""`/v1/uploads`."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backburner.gateway.auth.audit_log import Action
from backburner.gateway.files.file_object import BATCH
from backburner.gateway.files.form import FORM_BYTES, UploadForm, inert_name
from backburner.gateway.http.call import call_of
from backburner.gateway.http.errors import JSON
from backburner.gateway.idempotency import Idempotency, as_made, fingerprint_of, idempotency_key
from backburner.gateway.parts import parts_of
from backburner.gateway.uploads.upload_object import (
    PART_LIMIT_BYTES,
    StoredUpload,
    UploadComplete,
    UploadCreate,
    UploadObject,
)
from backburner.gateway.uploads.upload_store import new_upload
from backburner_schemas.errors import CallRefused, CallTooLarge

router = APIRouter(tags=["uploads"])
_ROUTE = "uploads"
_PART_FIELD = "data"


@router.post("/v1/uploads", operation_id="create_upload")
async def create_upload(request: Request, wanted: UploadCreate) -> UploadObject:
    """Begin an upload in parts, which has an hour."""
    parts, call = parts_of(request), call_of(request)
    most = parts.settings.gateway_max_file_bytes
    if wanted.purpose != BATCH:
        raise CallRefused("purpose must be batch: files for other purposes are not kept here", param="purpose")
    if wanted.bytes > most:
        raise CallTooLarge(f"the file has more than the {most:,} bytes that one may have", param="bytes")
    await parts.limiter.store(call.principal, wanted.bytes, announced=True)
    expires = wanted.expires_after
    upload = new_upload(
        filename=inert_name(wanted.filename),
        size=wanted.bytes,
        purpose=wanted.purpose,
        file_seconds=parts.settings.gateway_file_seconds if expires is None else expires.seconds,
        now=parts.storage.clock.now(),
    )
    if (key := idempotency_key(request)) is not None:
        once = Idempotency(parts.storage, call.principal, _ROUTE)
        made = await once.once(key, fingerprint_of(wanted.model_dump(mode="json")), upload.model_dump_json())
        upload = as_made(StoredUpload, made)
    call.facts["upload"] = upload.id
    return await parts.uploads(call.tenant).begin(upload)


async def add_part(request: Request) -> Response:
    """Add a part: multipart form with the field `data`, at most 64 MB."""
    parts, call, upload_id = parts_of(request), call_of(request), request.path_params["upload_id"]
    call.take_time()
    call.body.limit = PART_LIMIT_BYTES + FORM_BYTES
    form = UploadForm(request.headers.get("content-type"), _PART_FIELD)
    length = request.headers.get("content-length")
    async with parts.uploading(call.principal):
        # Of a part that comes in chunks the length is not known: as much as it may have.
        await parts.limiter.store(call.principal, PART_LIMIT_BYTES if length is None else int(length))
        part = await parts.uploads(call.tenant).add(upload_id, form.pieces(call.body.pieces()))
    return Response(part.model_dump_json(), media_type=JSON)


@router.post("/v1/uploads/{upload_id}/complete", operation_id="complete_upload")
async def complete_upload(request: Request, upload_id: str, wanted: UploadComplete) -> UploadObject:
    """Make one file of the parts, in the order that is given. It is checked on the way."""
    parts, call = parts_of(request), call_of(request)
    call.take_time()
    async with parts.uploading(call.principal):
        done = await parts.uploads(call.tenant).complete(
            upload_id,
            wanted.part_ids,
            wanted.md5,
            max_line_bytes=parts.settings.max_body_bytes,
            caller=call.principal.subject,
        )
    assert done.file is not None
    call.facts["file"] = done.file.id
    parts.audit.record(call.principal, Action.FILE_UPLOADED, done.file.id, bytes=done.bytes)
    return done


@router.post("/v1/uploads/{upload_id}/cancel", operation_id="cancel_upload")
async def cancel_upload(request: Request, upload_id: str) -> UploadObject:
    """Give an upload up. Its parts go."""
    call = call_of(request)
    return await parts_of(request).uploads(call.tenant).cancel(upload_id)


streaming = [Route("/v1/uploads/{upload_id}/parts", add_part, methods=["POST"], name="add_part")]
"""The handler whose body streams."""
