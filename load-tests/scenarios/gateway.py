"""What the gateway costs: single enqueues, an upload of 200 MB, and the requests that a page of batches takes.

Enqueues go to two replicas over connections that each wait for their answer, and to two processes of a bare Starlette
endpoint that only publishes, on the same broker. The gateway authenticates an API key, checks the request and keeps
what it answers with.

The upload goes to one replica as the stock client sends it, a multipart form, and to a bare handler that pipes the body
of a PUT to the same store. The gateway checks each line on its way.

The list of 10,000 batches is read page by page from a gateway in this process, over a store in memory: what is counted
are the requests that it makes.
"""

import asyncio
import json
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from backburner.connections import Connections
from backburner.gateway.api import create_api
from backburner.gateway.app import open_parts
from backburner.gateway.auth.api_key_store import ApiKeyStore
from backburner.gateway.auth.principal import Scope
from backburner.gateway.settings import GatewaySettings
from backburner.gateway.telemetry import GatewayTelemetry
from backburner.local.programs.ports import LOOPBACK, PortLeases
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.job import Counts, JobManifest, JobState, StoredInput, Summary
from measuring.figures import Bound, Check, Figures
from measuring.http_load import post, send_all
from measuring.pairs import Measured, Pair, Side, interleaved
from measuring.part import Part, part
from measuring.servers import servers
from measuring.store_requests import counted_requests

GOAL_RATIO = 0.6
UPLOAD_GOAL_RATIO = 0.7
MEMORY_GOAL_MB = 64.0
"""Memory that an upload may take beyond what the gateway has before it."""
REPLICA_COUNT = 2
CONNECTION_COUNT = 128
UPLOAD_BYTES = 200 * 1000 * 1000
PAGE_BATCH_COUNT = 100
_PATH = "/v1/async/chat/completions"
_PROMPT = "x" * 350
_LINE_CHARACTERS = 2000
_TENANT = "default"
_WARM_UP_REQUESTS = 500
_SEND_BYTES = 1 << 20
_ACCEPTED_STATUS = 202


def gateway(pairs: int, requests: int, uploads: int, batches: int, *, quick: bool = False) -> Figures:
    """Run pairs of so many enqueues and of uploads, and list so many batches. The ratio is of enqueues a second."""
    size = UPLOAD_BYTES // 10 if quick else UPLOAD_BYTES
    with servers("fake", durable=False), _sides() as sides:
        enqueued = _enqueue(sides, pairs, requests)
        uploaded = _upload(sides, uploads, size)
    listing = asyncio.run(_list(batches))
    waited = statistics.median(pair.baseline.extra["p99_s"] / pair.ours.extra["p99_s"] for pair in enqueued)
    growth = max(pair.ours.extra["grown_mb"] for pair in uploaded)
    print(f"list of {batches:,} batches: {listing}", flush=True)
    return Figures.of_pairs(
        "gateway",
        enqueued,
        ("bare Starlette", "gateway"),
        goal=GOAL_RATIO,
        against=f"a bare Starlette endpoint that only publishes, {REPLICA_COUNT} replicas of either",
        settings={
            "requests": requests,
            "connections": CONNECTION_COUNT,
            "upload_bytes": size,
            "batches": batches,
            "page": PAGE_BATCH_COUNT,
        },
        details={
            "uploads": [
                {"bare_seconds": pair.baseline.seconds, "seconds": pair.ours.seconds, **pair.ours.extra}
                for pair in uploaded
            ],
            "list_page_seconds": listing.page_seconds,
        },
        checks=[
            Check.of("p99 of a bare enqueue over the gateway's", waited, GOAL_RATIO),
            Check.of(
                f"speed of an upload of {size / 1e6:.0f} MB",
                statistics.median(pair.speed for pair in uploaded),
                UPLOAD_GOAL_RATIO,
                against="a bare PUT that is piped to the same store",
            ),
            Check.of("MB more while it is uploaded", growth, MEMORY_GOAL_MB, bound=Bound.AT_MOST),
            Check.of("LISTs for a page of batches", listing.lists, 1, bound=Bound.AT_MOST),
            Check.of("GETs for a batch that is shown", listing.reads, 2, bound=Bound.AT_MOST),
        ],
        quick=quick,
    )


@dataclass(frozen=True, slots=True)
class _Sides:
    """The processes of both sides, and what the gateway's callers need."""

    bare: Sequence[Part]
    gateways: Sequence[Part]
    ports: Sequence[int]
    """Where the gateways serve."""
    key: str


@contextmanager
def _sides() -> Iterator[_Sides]:
    key = asyncio.run(_make_key())
    with ExitStack() as stack:
        leases = stack.enter_context(PortLeases())
        ports = [leases.take() for _ in range(REPLICA_COUNT)]
        bare = [stack.enter_context(part("programs.bare_endpoint")) for _ in ports]
        gateways = [
            stack.enter_context(
                part(
                    "backburner.gateway",
                    BACKBURNER_GATEWAY_LISTEN_HOST=LOOPBACK,
                    BACKBURNER_GATEWAY_LISTEN_PORT=str(port),
                )
            )
            for port in ports
        ]
        yield _Sides(bare, gateways, ports, key)


async def _make_key() -> str:
    secret, _ = await ApiKeyStore(Storage.open(Settings.load())).create(_TENANT, "load", [Scope.READ, Scope.WRITE])
    return secret


# --- enqueues -------------------------------------------------------------------------------------------------------


def _enqueue(sides: _Sides, pairs: int, requests: int) -> list[Pair]:
    bodies = [
        json.dumps({"model": "fake", "messages": [{"role": "user", "content": f"{number} {_PROMPT}"}]}).encode()
        for number in range(requests)
    ]
    with_key = [post(_PATH, body, authorization=f"Bearer {sides.key}") for body in bodies]

    def side(name: str, parts: Sequence[Part], ports: Sequence[int]) -> Side:
        # Both sides get the same bytes; the bare one looks at no key.
        return Side(name, lambda _: _send(parts, ports, with_key))

    bare = side("bare Starlette", sides.bare, [one.port for one in sides.bare])
    ours = side("gateway", sides.gateways, sides.ports)
    for one in (bare, ours):
        one.run(-1)
    return interleaved(pairs, bare, ours, check=_report)


def _send(parts: Sequence[Part], ports: Sequence[int], requests: Sequence[bytes]) -> Measured:
    cpu = sum(one.cpu_seconds() for one in parts)
    load = asyncio.run(send_all(ports, requests, connections=CONNECTION_COUNT, status=_ACCEPTED_STATUS))
    spent = sum(one.cpu_seconds() for one in parts) - cpu
    return Measured(load.seconds, spent, len(requests), {"p99_s": load.p99})


def _report(pair: Pair) -> None:
    for name, side in (("bare", pair.baseline), ("gateway", pair.ours)):
        each = side.cpu_seconds / side.work * 1e6
        print(
            f"{name}: {side.rate:,.0f} requests/s, p99 {side.extra['p99_s'] * 1000:.1f} ms, {each:.0f} µs of CPU each"
        )


# --- upload ---------------------------------------------------------------------------------------------------------


def _upload(sides: _Sides, pairs: int, size: int) -> list[Pair]:
    content = _lines(size)
    form, content_type = _form(content)
    bare, ours = sides.bare[0], sides.gateways[0]
    authorization = f"authorization: Bearer {sides.key}"

    def send_bare(number: int) -> Measured:
        head = [f"PUT /uploads/{number} HTTP/1.1", f"content-length: {len(content)}"]
        return _measured(bare, bare.port, head, [content])

    def send_ours(_number: int) -> Measured:
        length = sum(map(len, form))
        head = ["POST /v1/files HTTP/1.1", f"content-length: {length}", f"content-type: {content_type}", authorization]
        return _measured(ours, sides.ports[0], head, form)

    return interleaved(pairs, Side("bare PUT", send_bare), Side("upload", send_ours))


def _lines(size: int) -> memoryview:
    """Batch lines of about so many bytes together."""
    found, number = bytearray(), 0
    while len(found) < size:
        body = {"model": "fake", "messages": [{"role": "user", "content": f"{number} " + "x" * _LINE_CHARACTERS}]}
        line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        found += json.dumps(line).encode() + b"\n"
        number += 1
    return memoryview(found)


def _form(content: memoryview) -> tuple[list[memoryview], str]:
    """The multipart form around it, in pieces, and its content type."""
    mark = "0123456789abcdef0123456789abcdef"
    head = (
        f'--{mark}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{mark}\r\ncontent-disposition: form-data; name="file"; filename="input.jsonl"\r\n'
        "content-type: application/octet-stream\r\n\r\n"
    )
    tail = f"\r\n--{mark}--\r\n"
    return [memoryview(head.encode()), content, memoryview(tail.encode())], f"multipart/form-data; boundary={mark}"


def _measured(part: Part, port: int, head: Sequence[str], pieces: Sequence[memoryview]) -> Measured:
    """Send a request, whose body is these pieces, and wait for its answer. Raises `RuntimeError` unless it is a 200."""
    before, cpu = part.resident_mb(), part.cpu_seconds()
    part.reset_peak()
    started = time.monotonic()
    with socket.create_connection((LOOPBACK, port)) as connection:
        connection.sendall("\r\n".join([*head, f"host: {LOOPBACK}", "connection: close", "", ""]).encode())
        for piece in pieces:
            for start in range(0, len(piece), _SEND_BYTES):
                connection.sendall(piece[start : start + _SEND_BYTES])
        answer = b"".join(iter(lambda: connection.recv(_SEND_BYTES), b""))
    seconds = time.monotonic() - started
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"an upload was answered with {answer[:2000].decode(errors='replace')}")
    grown = part.peak_mb() - before
    return Measured(seconds, part.cpu_seconds() - cpu, sum(map(len, pieces)) / 1e6, {"grown_mb": grown})


# --- list -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Listing:
    """What listing all batches took of the store."""

    lists: float
    """LISTs of the page that took the most."""
    reads: float
    """GETs for each batch of the page that took the most."""
    page_seconds: float
    """Median of the pages."""


async def _list(batches: int) -> _Listing:
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
    return _Listing(max(lists), max(reads), statistics.median(seconds))


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
    if sent[0]["status"] != 200:  # noqa: PLR2004
        raise RuntimeError(f"GET {path} was answered with {body[:2000].decode(errors='replace')}")
    found: dict[str, Any] = json.loads(body)
    return found
