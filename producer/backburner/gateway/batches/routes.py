"""`/v1/batches`."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from backburner.gateway.auth.audit_log import Action
from backburner.gateway.batches.batch_create import BatchCreate, estimated_tokens
from backburner.gateway.files.file_object import BATCH, StoredFile
from backburner.gateway.http.body import CallerGone
from backburner.gateway.http.call import Call, call_of
from backburner.gateway.idempotency import Idempotency, as_made, fingerprint_of, idempotency_key, is_retry, not_made
from backburner.gateway.parts import Parts, parts_of
from backburner_schemas.errors import CallRefused
from backburner_schemas.job import JobManifest
from backburner_schemas.names import is_name
from backburner_schemas.status import BatchStatus

router = APIRouter(tags=["batches"])
_ROUTE = "batches"
_MAX_LOGGED_CHARACTERS = 255


class BatchPage(BaseModel):
    """Some batches, newest first. Go on with the last one's id as `after`."""

    object: Literal["list"] = "list"
    """Always `list`."""
    data: list[BatchStatus]
    """The batches of this page."""
    first_id: str | None = None
    """Id of the first."""
    last_id: str | None = None
    """Id of the last."""
    has_more: bool
    """Whether there are more."""


@router.post("/v1/batches", operation_id="create_batch")
async def create_batch(request: Request, wanted: BatchCreate) -> BatchStatus:
    """Make a batch of an uploaded file. Its input is checked then, while its status is `validating`."""
    parts, call = parts_of(request), call_of(request)
    once, batches = Idempotency(parts.storage, call.principal, _ROUTE), parts.batches(call.tenant)
    key, content = idempotency_key(request), fingerprint_of(wanted.model_dump(mode="json"))
    if key is not None:
        found = await once.found(key, content)
    else:
        found = await once.first(content) if is_retry(request) else None
    manifest = None if found is None else await batches.made(_id_of(call, found))
    if manifest is None:
        # Asked before anything is kept: what was refused must not be let in when it is called again.
        file = await _input(parts, call, wanted.input_file_id)
        most = parts.settings.gateway_max_batch_requests
        mine = wanted.manifest(
            call.principal,
            file,
            now=parts.storage.clock.now(),
            max_requests=most,
            grace=parts.settings.freeze_grace_seconds,
        )
        await parts.limiter.queue(call.principal, file.requests, estimated_tokens(file.bytes))
        if key is not None:
            found = await once.once(key, content, mine.model_dump_json())
        else:
            if await request.is_disconnected():
                # It may have called again by now, and then a batch is made there.
                raise CallerGone
            found = await once.retried(content, mine.model_dump_json(), retry=is_retry(request))
        # What an earlier call could not make begins now, or its time might be over: only the id is that call's.
        manifest = mine.model_copy(update={"id": _id_of(call, found)})
    made = await batches.create(manifest)
    call.facts["batch"] = made.id
    parts.audit.record(call.principal, Action.BATCH_CREATED, made.id, file=wanted.input_file_id)
    return made


def _id_of(call: Call, made: str) -> str:
    """The batch's id that was kept of a call. Raises `StoredObjectBroken` for what no call of this tenant makes."""
    manifest = as_made(JobManifest, made)
    if manifest.tenant != call.tenant or not is_name(manifest.id):
        raise not_made()
    return manifest.id


async def _input(parts: Parts, call: Call, file_id: str) -> StoredFile:
    """The file of requests. Raises `FileNotFound`, and `CallRefused` for one that no batch can be made of."""
    file = await parts.files(call.tenant).find(file_id)
    if file.purpose != BATCH:
        raise CallRefused(f"the file {file.id} has the purpose {file.purpose}, not batch", param="input_file_id")
    most = parts.settings.gateway_max_batch_requests
    if file.requests > most:
        raise CallRefused(
            f"the file has {file.requests:,} requests and a batch may have {most:,}; split it", param="input_file_id"
        )
    return file


@router.get("/v1/batches", operation_id="list_batches")
async def list_batches(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(max_length=255)] = None,
) -> BatchPage:
    """List the batches, newest first."""
    batches, has_more = await parts_of(request).batches(call_of(request).tenant).page(after=after, limit=limit)
    ids: list[str] | list[None] = [batch.id for batch in batches] or [None]
    return BatchPage(data=batches, first_id=ids[0], last_id=ids[-1], has_more=has_more)


@router.get("/v1/batches/{batch_id}", operation_id="retrieve_batch")
async def retrieve_batch(request: Request, batch_id: str) -> BatchStatus:
    """Retrieve one batch."""
    return await parts_of(request).batches(call_of(request).tenant).retrieve(batch_id)


@router.post("/v1/batches/{batch_id}/cancel", operation_id="cancel_batch")
async def cancel_batch(request: Request, batch_id: str) -> BatchStatus:
    """Cancel a batch. What is running ends, what is not is not run; the results so far stay."""
    parts, call = parts_of(request), call_of(request)
    call.facts["batch"] = batch_id[:_MAX_LOGGED_CHARACTERS]
    batch = await parts.batches(call.tenant).cancel(batch_id)
    parts.audit.record(call.principal, Action.BATCH_CANCELLED, batch.id)
    return batch
