"""What the gateway asks the store for to list batches: page by page, from a gateway in this process.

The store is one in memory: what is counted are the requests that are made of it.
"""

import json
import statistics
import time
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from backburner.connections import Connections
from backburner.gateway.api import create_api
from backburner.gateway.app import open_parts
from backburner.gateway.settings import GatewaySettings
from backburner.gateway.telemetry import GatewayTelemetry
from backburner.local.programs.ports import LOOPBACK
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.job import Counts, JobManifest, JobState, StoredInput, Summary
from measuring.store_requests import counted_requests

PAGE_BATCH_COUNT = 100
_TENANT = "default"
_OK_STATUS = 200


@dataclass(frozen=True, slots=True)
class Listing:
    """What listing all batches took."""

    lists: float
    """LISTs of the page that took the most."""
    reads: float
    """GETs for each batch of the page that took the most."""
    page_seconds: float
    """Median of the pages."""


async def list_batches(batches: int) -> Listing:
    """Store so many batches and list all of them. Raises `RuntimeError` if one is missing."""
    settings = GatewaySettings.load(
        store_url="memory:///load",
        queue_url=f"kafka://{LOOPBACK}:9",
        gateway_listen_host=LOOPBACK,
        gateway_anonymous_tenant=_TENANT,
    )
    connections = Connections(settings)
    await _store_batches(connections.storage, batches)
    pages: list[tuple[int, float, float]] = []
    shown: list[str] = []
    async with open_parts(settings, connections, GatewayTelemetry(CollectorRegistry())) as parts:
        app = create_api(parts)
        while True:
            after = f"&after={shown[-1]}" if shown else ""
            started = time.monotonic()
            with counted_requests() as count:
                page = await _get(app, "/v1/batches", f"limit={PAGE_BATCH_COUNT}{after}")
            data = [batch["id"] for batch in page["data"]]
            pages.append((count.lists, count.reads / len(data), time.monotonic() - started))
            shown += data
            if not page["has_more"]:
                break
    if len(set(shown)) != batches:
        raise RuntimeError(f"{len(set(shown)):,} of {batches:,} batches were listed")
    lists, reads, seconds = zip(*pages, strict=True)
    return Listing(max(lists), max(reads), statistics.median(seconds))


async def _store_batches(storage: Storage, count: int) -> None:
    """Batches that have ended, as gateway, dispatcher and worker leave them."""
    now = time.time()
    for number in range(count):
        name = keys.new_job_id(now - number)
        given = StoredInput(key=keys.content(_TENANT, "file-load"), bytes=1000)
        manifest = JobManifest(id=name, tenant=_TENANT, created_at=now, deadline=now + 86_400, stored=given)
        summary = Summary(state=JobState.COMPLETED, counts=Counts(total=1, completed=1), finalized_at=now)
        await storage.put(keys.batch(_TENANT, name), b"")
        await storage.put(keys.manifest(_TENANT, name), manifest.model_dump_json().encode())
        await storage.put(keys.summary(_TENANT, name), summary.model_dump_json().encode())


async def _get(app: ASGIApp, path: str, query: str) -> dict[str, Any]:
    """The JSON that the application answers a GET with. Raises `RuntimeError` for another status than 200."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"host", LOOPBACK.encode())],
        "client": (LOOPBACK, 1),
        "server": (LOOPBACK, 80),
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    if sent[0]["status"] != _OK_STATUS:
        raise RuntimeError(f"GET {path} was answered with {body[:2000].decode(errors='replace')}")
    found: dict[str, Any] = json.loads(body)
    return found
