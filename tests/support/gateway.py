"""A gateway in this process, over the fake system's store and queue, and what a dispatcher would do beside it."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator

import httpx2
from prometheus_client import CollectorRegistry
from waiting import PATIENCE, until

from backburner.connections import Connections
from backburner.gateway.api import create_api
from backburner.gateway.app import open_parts
from backburner.gateway.auth.api_key_store import ApiKeyStore
from backburner.gateway.auth.principal import Scope
from backburner.gateway.http.server import create_server
from backburner.gateway.parts import Parts
from backburner.gateway.settings import GatewaySettings
from backburner.gateway.telemetry import GatewayTelemetry
from backburner.jobs.finalizer import finalize
from backburner.publishers.base import Message
from backburner.storage import Storage
from backburner.testing.system import FakeSystem, _FakePublisher
from backburner_schemas import keys
from backburner_schemas.envelope import Envelope
from backburner_schemas.job import Cursor, JobManifest, Sealed

EVERYTHING = (Scope.READ, Scope.WRITE)


def batch_lines(count: int, *, model: str = "fake", prefix: str = "r", url: str = "/v1/chat/completions") -> bytes:
    """A batch file of that many requests."""
    return b"".join(
        json.dumps(
            {
                "custom_id": f"{prefix}{number}",
                "method": "POST",
                "url": url,
                "body": {"model": model, "messages": [{"role": "user", "content": f"prompt {number}"}]},
            }
        ).encode()
        + b"\n"
        for number in range(count)
    )


class Gateway:
    """A gateway under test."""

    def __init__(self, system: FakeSystem, parts: Parts) -> None:
        self.system = system
        self.parts = parts
        self.app = create_api(parts)
        self._clients: list[httpx2.AsyncClient] = []

    @property
    def storage(self) -> Storage:
        return self.system.storage

    async def secret(self, tenant: str = "default", scopes=EVERYTHING) -> str:
        """An API key of that tenant."""
        made, _ = await ApiKeyStore(self.storage).create(tenant, "test", scopes)
        return made

    async def client(self, tenant: str = "default", scopes=EVERYTHING, **headers: str) -> httpx2.AsyncClient:
        """An HTTP client that calls as that tenant."""
        authorization = {"authorization": f"Bearer {await self.secret(tenant, scopes)}"}
        made = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.app),
            base_url="http://gateway",
            headers={**authorization, **headers},
        )
        self._clients.append(made)
        return made

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()

    async def dispatch(self, job: str, tenant: str = "default", *, only: int | None = None, seal: bool = True) -> None:
        """Send a stored job, as a dispatcher does; `only` so many of its requests."""
        stored = await self.storage.get(keys.manifest(tenant, job))
        manifest = JobManifest.model_validate_json(stored.data)
        data = (await self.storage.get(manifest.stored.key)).data
        requests = [json.loads(line) for line in data.splitlines() if line.strip()]
        count = len(requests) if only is None else only
        cursor = Cursor(owner="d", count=count, total=len(requests), planned_at=time.time())
        await self.storage.put(keys.cursor(tenant, job), cursor.model_dump_json().encode())
        messages = [
            Message(
                "fake",
                manifest.priority,
                Envelope(
                    tenant=tenant,
                    job=job,
                    index=index,
                    custom_id=one["custom_id"],
                    url=one["url"],
                    body=one["body"],
                    deadline=manifest.deadline,
                    enqueued_at=time.time(),
                ),
            )
            for index, one in enumerate(requests[:count])
        ]
        if messages:
            await _FakePublisher(self.system).publish(messages)
        if seal and only is None:
            sealed = Sealed(total=len(requests), sha256="", sealed_at=time.time())
            await self.storage.put(keys.sealed(tenant, job), sealed.model_dump_json().encode())
            await self.storage.delete([keys.pending(tenant, job)])
            await finalize(self.storage, tenant, job, grace=0.0)


@contextlib.asynccontextmanager
async def gateway_over(system: FakeSystem, **settings) -> AsyncIterator[Gateway]:
    """A gateway over the system's store and queue."""
    made = GatewaySettings(store_url="memory:///", queue_url="kafka://fake:9092", freeze_grace_seconds=0.0, **settings)
    connections = Connections(made, system.storage, _FakePublisher(system))
    async with open_parts(made, connections, GatewayTelemetry(CollectorRegistry())) as parts:
        # Tests make keys by the dozen; each would wait for the pause between two listings.
        parts.authenticator._api_keys._listing._pause_seconds = 0.0
        gateway = Gateway(system, parts)
        try:
            yield gateway
        finally:
            await gateway.close()


class Served:
    """A gateway behind its real HTTP server, in a thread of its own."""

    def __init__(self, **settings) -> None:
        self._settings = settings
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="gateway")
        self.port = 0
        self.secret = ""
        self.gateway: Gateway | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **headers: str) -> httpx2.Client:
        authorization = {"authorization": f"Bearer {self.secret}"}
        return httpx2.Client(base_url=self.url, headers={**authorization, **headers}, timeout=PATIENCE)

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(PATIENCE)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)

    async def _serve(self) -> None:
        async with FakeSystem() as system, gateway_over(system, **self._settings) as self.gateway:
            self.secret = await self.gateway.secret()
            self._server = create_server(
                self.gateway.app,
                host="127.0.0.1",
                port=0,
                drain_seconds=5,
                keep_alive_seconds=self.gateway.parts.settings.gateway_keep_alive_seconds,
            )
            serving = asyncio.create_task(self._server.serve())
            await until(lambda: self._server.started)
            self.port = self._server.bound_port
            self._started.set()
            await serving


@contextlib.contextmanager
def served(**settings) -> Iterator[Served]:
    """A gateway behind its real HTTP server."""
    one = Served(**settings)
    one.start()
    try:
        yield one
    finally:
        one.stop()
