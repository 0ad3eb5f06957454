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

from backburner.gateway.answer_memory import AnswerMemory
from backburner.gateway.batches.results import status_of
from backburner.gateway.http.errors import JSON, error_form
from backburner.gateway.requests.request_ids import made_at
from backburner.runtime.memory_budget import MemoryShare
from backburner.storage import Storage
from backburner.storage.parse import parse_stored
from backburner.storage.storage import MAX_RECORDS_BYTES
from backburner_schemas import keys
from backburner_schemas.errors import BodyTooComplex, StoredObjectBroken
from backburner_schemas.request import check_parsed_size
from backburner_schemas.result import ResultRecord

MAX_WAIT_SECONDS = 60
"""The longest wait of a call: longer ones are cut off by what stands between."""
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0
_GROWTH_FACTOR = 1.5
_SHORT_BYTES = 64 * 1024
_COPIES_COUNT = 3
"""Of an answer: as it is stored, parsed, and on its way to the caller."""
_MAX_PLAIN_BYTES = 16 * 1024 * 1024
"""An answer may be parsed into as much as a request of so many bytes."""
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

    def __init__(
        self, storage: Storage, tenant: str, *, memory: AnswerMemory, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._memory = memory
        self._storage = storage.of_tenant(tenant)
        self._tenant = tenant
        self._clock = clock

    async def stored(self, request_id: str, wait: float, share: MemoryShare) -> bytes | None:
        """The answer as it is stored, held by that share; None if there is none within so many seconds.

        Raises `Overloaded` where there is no memory for it.
        """
        key, until, pause = (
            keys.answer(self._tenant, request_id, request_id),
            self._clock() + wait,
            _FIRST_PAUSE_SECONDS,
        )
        while True:
            found = await self._read(key, share)
            if found is not None:
                return found
            left = until - self._clock()
            if left <= 0:
                return None
            await asyncio.sleep(min(pause, left))
            pause = min(pause * _GROWTH_FACTOR, _LONGEST_PAUSE_SECONDS)

    async def _read(self, key: str, share: MemoryShare) -> bytes | None:
        # Nearly all are short, and known whole after one question.
        data = await self._storage.head(key, _SHORT_BYTES + 1)
        if data is None:
            return None
        if len(data) <= _SHORT_BYTES:
            await self._memory.take(share, len(data) * _COPIES_COUNT)
            return data
        size = min(await self._storage.size(key) or 0, MAX_RECORDS_BYTES)
        await self._memory.take(share, size * _COPIES_COUNT)
        found = await self._storage.get(key, max_bytes=size)
        return None if found is None else found.data


def pending(request_id: str, root_path: str = "") -> Response:
    """The answer while there is none; `root_path` is where callers find the service."""
    body = AsyncRequest(id=request_id, created_at=made_at(request_id)).model_dump_json()
    headers = {"location": f"{root_path}/v1/async/{request_id}", "etag": _PENDING, "cache-control": "no-cache"}
    return Response(body, 202, headers, media_type=JSON)


async def answered(request_id: str, data: bytes) -> Response:
    """The answer that is stored, with the status that it has: the response, or the error in OpenAI's form.

    Raises `StoredObjectBroken` for what is none, and for what would become too large once it is parsed.
    """
    if len(data) > _SHORT_BYTES:
        # Others are served meanwhile.
        return await asyncio.to_thread(_answered, request_id, data)
    return _answered(request_id, data)


def _answered(request_id: str, data: bytes) -> Response:
    try:
        check_parsed_size(data, _MAX_PLAIN_BYTES)
    except BodyTooComplex as too_complex:
        raise StoredObjectBroken(
            f"the answer to {request_id} has more objects, lists and items than a gateway reads; "
            f"read it from the store, by `backburner results {request_id}`"
        ) from too_complex
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
