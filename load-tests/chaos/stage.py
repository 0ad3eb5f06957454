"""What every scenario of the harness needs: a pool, workers with their supervisor, a client, load and a book."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from backburner import Client
from backburner.cli.commands.stack import ensure_pool
from backburner.local.programs.ports import PortLeases
from backburner.settings import Settings
from backburner_schemas.routing import pool_name
from chaos import kafka_state, sqs_state
from chaos.background import ended
from chaos.book import Book
from chaos.checker import Verdict, check
from chaos.gateway_client import GatewayClient, gateway_client
from chaos.journals import Journals
from chaos.load import Load
from chaos.objects import ReadAhead, S3Objects
from chaos.patience import until
from chaos.place import Place
from chaos.producers import raw_lines
from chaos.queue_state import QueueState
from chaos.servers import Servers
from chaos.services import Services
from chaos.supervisor import Supervisor
from chaos.workers import WORKER_PROGRAM, Workers

_WARM_SECONDS = 90.0
_COMMIT_SECONDS = 60.0
_REAL_PATIENCE_FACTOR = 3.0

# Short times, so that ends come soon; the grace still covers marker, segment and drain, as it must.
QUICK = {
    "BACKBURNER_FREEZE_GRACE_SECONDS": "4",
    "BACKBURNER_CANCEL_POLL_SECONDS": "0.25",
    "BACKBURNER_SWEEP_SECONDS": "1",
    "BACKBURNER_SEGMENT_MIN_AGE_SECONDS": "0.2",
    "BACKBURNER_SEGMENT_MAX_AGE_SECONDS": "1",
    "BACKBURNER_DRAIN_SECONDS": "2",
    "BACKBURNER_RETRY_BASE_SECONDS": "0.2",
    "BACKBURNER_RETRY_MAX_SECONDS": "1",
    "BACKBURNER_HTTP_HOST": "127.0.0.1",
    # Few at once, so that a batch lasts as long as its fault.
    "BACKBURNER_CONCURRENCY": "8",
}
ADAPTER = "fake-legal"
"""An adapter beside the fake model."""
FAKE = {
    "BACKBURNER_ENGINE": "fake",
    "BACKBURNER_MODEL": "fake",
    "BACKBURNER_FAKE_LATENCY_SECONDS": "0.05",
    "BACKBURNER_FAKE_PROCESS": "true",
    # Off by default, and judged here like everything else.
    "BACKBURNER_ADAPTERS": f"{ADAPTER}=none",
    "BACKBURNER_RESULT_CACHE_SECONDS": "3600",
}
QUICK_FAKE = {**QUICK, **FAKE}


@dataclass(frozen=True, slots=True)
class CrewSpec:
    """Which processes a scenario begins with."""

    count: int
    """Of workers."""
    named: int = 0
    """How many of them keep their names, and so their membership, over restarts."""
    services: bool = False
    """Whether a gateway and dispatchers stand before them, by which a part of the load goes."""
    program: str = WORKER_PROGRAM
    """The module that the workers run."""
    model: str = "fake"
    settings: Mapping[str, str] = field(default_factory=lambda: QUICK_FAKE)
    real: bool = False
    """Whether the engine is a real one, whose answers are not a function of the request."""

    @property
    def patience(self) -> float:
        """How many times longer than with the fake engine everything may take."""
        return _REAL_PATIENCE_FACTOR if self.real else 1.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that a scenario acts on."""

    servers: Servers
    crew: CrewSpec
    supervisor: Supervisor
    workers: Workers
    services: Services | None
    journals: Journals
    client: Client
    load: Load
    book: Book

    async def all_ready(self) -> None:
        """Until every worker is warm and pulls, and gateway and dispatchers serve. Raises `NeverCame`."""
        for place in self.supervisor.manned:
            await until(
                partial(_ready, place), f"{place.name}'s being ready", seconds=_WARM_SECONDS * self.crew.patience
            )

    async def look(self) -> QueueState:
        """The queue, once all of it is committed or the wait is over."""
        prefix, pool = self.book.prefix, self.book.pool
        if self.servers.sqs is not None:
            return await sqs_state.look(self.servers.sqs, prefix, pool, seconds=_COMMIT_SECONDS)
        return await kafka_state.look(self.servers.bootstrap, prefix, pool, seconds=_COMMIT_SECONDS)

    def check(self, queue: QueueState) -> Verdict:
        """The checker's verdict."""
        return check(self.book, ReadAhead(S3Objects(self.servers.address)), queue, fake=not self.crew.real)


@contextlib.asynccontextmanager
async def stage(servers: Servers, crew: CrewSpec, folder: Path, *, seed: int) -> AsyncIterator[Stage]:
    """The crew is warm when the block begins, and gone after it. This process's environment has the settings."""
    settings = {**servers.settings, **crew.settings}
    # The client reads the store's credentials from there.
    os.environ.update(settings)
    await ensure_pool(settings, crew.model)
    loaded = Settings.load()
    book = Book(loaded.tenant, loaded.prefix, pool_name(crew.model))
    (folder / "journals").mkdir()
    journals = Journals(folder / "journals")
    async with contextlib.AsyncExitStack() as stack:
        leases = stack.enter_context(PortLeases())
        supervisor = Supervisor()
        workers = Workers(
            supervisor,
            settings,
            folder=folder,
            leases=leases,
            journals=journals,
            named=crew.named,
            program=crew.program,
        )
        stack.push_async_callback(asyncio.to_thread, supervisor.stop)
        tending = asyncio.create_task(supervisor.tend())
        stack.push_async_callback(ended, tending)
        client = await stack.enter_async_context(Client())
        raw = await stack.enter_async_context(raw_lines(servers, book.prefix, book.pool))
        models = (crew.model,) if crew.real else (crew.model, ADAPTER)
        services = gateway = None
        if crew.services:
            services = Services(supervisor, settings, tenant=book.tenant, folder=folder, leases=leases)
            gateway = await stack.enter_async_context(gateway_client(services.url))
        load = Load(client, gateway, raw, book, models=models, seed=seed, real=crew.real)
        found = Stage(servers, crew, supervisor, workers, services, journals, client, load, book)
        for _ in range(crew.count):
            workers.add("core")
        await found.all_ready()
        if gateway is not None:
            # A worker announces what it serves when it is ready, and the gateway reads that every few seconds.
            names = set(models)
            await until(
                partial(_lists, gateway, names), f"a gateway that lists {', '.join(models)}", seconds=_WARM_SECONDS
            )
        yield found


async def _lists(gateway: GatewayClient, models: set[str]) -> bool:
    return models <= await gateway.models()


def _ready(place: Place) -> bool:
    return place.ready
