"""The answer to a single request: what is stored of it, as HTTP's answer to whoever asks."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from backburner.gateway.batches.results import status_of
from backburner.gateway.http.errors import JSON, error_form
from backburner.gateway.requests.request_ids import made_at
from backburner.storage import Storage
from backburner.storage.parse import parse_stored
from backburner.storage.storage import MAX_RECORDS_BYTES
from backburner_schemas import keys
from backburner_schemas.result import ResultRecord

MAX_WAIT_SECONDS = 60
"""The longest wait of a call: longer ones are cut off by what stands between."""
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_GROWTH_FACTOR = 1.5
_PENDING = '"pending"'


class AsyncRequest(BaseModel):
    """A single request that is not answered yet."""

    id: str
    """The request's id: ask for it under `/v1/async/{id}`."""
    object: Literal["async.request"] = "async.request"
    """Always `async.request`."""
    status: Literal["pending"] = "pending"
    """Always `pending`: an answer comes in its own form."""
    created_at: int
    """Unix seconds."""


class Answers:
    """The answers of one tenant. Every method raises `StoreError`."""

    def __init__(self, storage: Storage, tenant: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage = storage.of_tenant(tenant)
        self._tenant = tenant
        self._clock = clock

    async def stored(self, request_id: str, wait: float) -> bytes | None:
        """The answer as it is stored; None if there is none within so many seconds."""
        key, until, pause = (
            keys.answer(self._tenant, request_id, request_id),
            self._clock() + wait,
            _FIRST_PAUSE_SECONDS,
        )
        while True:
            found = await self._storage.get(key, max_bytes=MAX_RECORDS_BYTES)
            if found is not None:
                return found.data
            left = until - self._clock()
            if left <= 0:
                return None
            await asyncio.sleep(min(pause, left))
            pause = min(pause * _GROWTH_FACTOR, _LONGEST_PAUSE_SECONDS)


def pending(request_id: str, root_path: str = "") -> Response:
    """The answer while there is none; `root_path` is where callers find the service."""
    body = AsyncRequest(id=request_id, created_at=made_at(request_id)).model_dump_json()
    headers = {"location": f"{root_path}/v1/async/{request_id}", "etag": _PENDING, "cache-control": "no-cache"}
    return Response(body, 202, headers, media_type=JSON)


def answered(request_id: str, data: bytes) -> Response:
    """The answer that is stored, with the status that it has: the response, or the error in OpenAI's form."""
    record = parse_stored(ResultRecord, request_id, data)
    headers = {"etag": f'"{hashlib.sha256(data).hexdigest()[:32]}"', "cache-control": "private, no-cache"}
    if record.response is not None:
        return Response(to_json(record.response.body), record.response.status_code, headers, media_type=JSON)
    assert record.error is not None
    error = record.error
    status = status_of(error.code)
    # It is stored, and asking again changes nothing.
    headers["x-should-retry"] = "false"
    return Response(
        to_json(error_form(status, error.code, error.message, error.param)), status, headers, media_type=JSON
    )


def unless_known(request: Request, response: Response) -> Response:
    """The response, or 304 where the caller has that very one already."""
    etag = response.headers["etag"]
    known = [one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers={"etag": etag})
    return response


def wait_seconds(request: Request) -> int:
    """How long the caller asks to wait, by `Prefer: wait=N`; 0 if not at all."""
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        name, _, value = preference.split(";")[0].partition("=")
        value = value.strip().strip('"')
        if name.strip().lower() == "wait" and value.isascii() and value.isdigit():
            return min(int(value[:6]), MAX_WAIT_SECONDS)
    return 0
