"""A client of the gateway that knows docs/gateway.md alone: files, batches and single requests over plain HTTP.

A call without an answer, or one that is told to come again, raises `OSError`; with the same key it makes nothing twice.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from chaos.book import Told, ToldFile, ToldLine
from chaos.patience import NeverCame

_CALL_SECONDS = 20.0
_ANSWER_WAIT_SECONDS = 5
_WINDOW = "24h"
_PENDING_STATUS = 202
_FIRST_ERROR_STATUS = 400
_CONFLICT_STATUS = 409
_FIRST_OF_SERVER_STATUS = 500
_RUNNING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


class GatewayClient:
    """Calls one gateway."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def models(self) -> set[str]:
        """The names that it lists. Raises `OSError`."""
        return {str(one["id"]) for one in (await self._call("GET", "/models")).json()["data"]}

    async def create_batch(self, lines: Sequence[Mapping[str, Any]], url: str, priority: str, key: str) -> str:
        """Upload the lines and make a batch of them; its id."""
        data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        file = await self._call(
            "POST",
            "/files",
            headers={"idempotency-key": f"file-{key}"},
            files={"file": (f"{key}.jsonl", data)},
            data={"purpose": "batch"},
        )
        wanted = {
            "input_file_id": file.json()["id"],
            "endpoint": url,
            "completion_window": _WINDOW,
            "priority": priority,
        }
        batch = await self._call("POST", "/batches", headers={"idempotency-key": key}, json=wanted)
        return str(batch.json()["id"])

    async def batch(self, batch: str) -> Told | None:
        """What the gateway tells of a batch, its files included; None while it runs."""
        found = (await self._call("GET", f"/batches/{batch}")).json()
        if found["status"] in _RUNNING:
            return None
        counts = found["request_counts"]
        lines = []
        for file in ToldFile:
            if found.get(file) is not None:
                content = (await self._call("GET", f"/files/{found[file]}/content")).text
                lines += [_line(file, text) for text in content.splitlines()]
        return Told(found["status"], (counts["total"], counts["completed"], counts["failed"]), lines)

    async def create_request(self, url: str, body: Mapping[str, Any], priority: str, key: str) -> str:
        """Put one request onto the queue; its id."""
        path = "/async" + url.removeprefix("/v1")
        headers = {"idempotency-key": key}
        made = await self._call("POST", path, headers=headers, params={"priority": priority}, json=body)
        return str(made.json()["id"])

    async def answered(self, request: str) -> bool:
        """Whether the request has its answer, or its error; waits for it for some seconds."""
        headers = {"prefer": f"wait={_ANSWER_WAIT_SECONDS}"}
        answer = await self._call("GET", f"/async/{request}", headers=headers, stored=True)
        return answer.status_code != _PENDING_STATUS

    async def _call(self, method: str, path: str, *, stored: bool = False, **what: Any) -> httpx2.Response:
        """The answer; with `stored` also one that is the stored error of a request.

        Raises `OSError`, and `NeverCame` for a call that is refused for good.
        """
        try:
            answer = await self._http.request(method, path, **what)
        except httpx2.HTTPError as error:
            raise OSError(f"{method} {path}: {type(error).__name__}: {error}") from error
        final = answer.headers.get("x-should-retry") == "false"
        if answer.status_code < _FIRST_ERROR_STATUS or (stored and final):
            return answer
        told = f"{method} {path} was answered with {answer.status_code}: {answer.text[:300]}"
        if answer.status_code >= _FIRST_OF_SERVER_STATUS or (answer.status_code == _CONFLICT_STATUS and not final):
            raise OSError(told)
        raise NeverCame(f"the gateway took it: {told}")


@asynccontextmanager
async def gateway_client(url: str) -> AsyncIterator[GatewayClient]:
    """A client of the gateway at that URL, which ends in `/v1`."""
    async with httpx2.AsyncClient(base_url=url, timeout=_CALL_SECONDS) as http:
        yield GatewayClient(http)


def _line(file: ToldFile, text: str) -> ToldLine:
    found = json.loads(text)
    response = found.get("response") or {}
    return ToldLine(found["custom_id"], file, response.get("status_code"), response.get("body"), found.get("error"))
