"""The composition root: opens what a gateway needs from its settings, serves, takes it down again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from prometheus_client import REGISTRY

from backburner.availability import Availability
from backburner.connections import Connections
from backburner.gateway.answer_memory import AnswerMemory
from backburner.gateway.api import create_api
from backburner.gateway.auth.audit_log import AuditLog
from backburner.gateway.auth.authentication import open_authentication
from backburner.gateway.batches.running_counts import RunningCounts
from backburner.gateway.http.server import Server, create_server
from backburner.gateway.limits.upload_places import UploadPlaces
from backburner.gateway.models.catalogue import ModelCatalogue
from backburner.gateway.parts import Parts
from backburner.gateway.requests.enqueuer import Enqueuer
from backburner.gateway.requests.signing_key import SigningKey
from backburner.gateway.settings import GatewaySettings
from backburner.gateway.sweep import GatewaySweep
from backburner.gateway.telemetry import GatewayTelemetry
from backburner.logs import get_logger
from backburner.process.clock_keeper import ClockKeeper
from backburner.process.dependency_monitor import DependencyMonitor
from backburner.process.dependency_probe import DependencyProbe
from backburner.process.health import Health
from backburner.process.memory import freeze_gc, keep_few_arenas, trim_memory
from backburner.process.readiness import Readiness
from backburner.process.signals import on_stop_signal
from backburner.publishers import check_queue
from backburner_schemas import keys
from backburner_schemas.errors import BackburnerError, SettingsError

log = get_logger(__name__)
_MEMORY_WAIT_RATIO = 0.8
_START_POLL_SECONDS = 0.02
_WARM_UP_SECONDS = 15.0
"""After that it serves all the same."""


async def run_gateway(settings: GatewaySettings) -> None:
    """Be a gateway until a signal asks it to stop. Raises what makes that impossible, such as `SettingsError`."""
    check_queue(settings)
    keep_few_arenas()
    telemetry, readiness = GatewayTelemetry(REGISTRY), Readiness()
    telemetry.watch_ready(lambda: readiness.ready)
    async with open_parts(settings, Connections(settings), telemetry) as parts:
        health = Health(REGISTRY, readiness, settings.http_host, settings.http_port)
        log.info("listening", host=settings.http_host, port=health.port)
        try:
            await _serve(parts, readiness, health)
        finally:
            readiness.leave()
            health.close()
    log.info("stopped")


@asynccontextmanager
async def open_parts(
    settings: GatewaySettings, connections: Connections, telemetry: GatewayTelemetry
) -> AsyncIterator[Parts]:
    """The parts of a gateway, while the block lasts; the connections end with it. Raises `SettingsError`."""
    enqueuer = Enqueuer(connections)
    try:
        storage = connections.storage
        async with (
            AuditLog(storage) as audit,
            open_authentication(settings, storage, audit, host=settings.gateway_listen_host) as authenticator,
        ):
            yield Parts(
                settings=settings,
                connections=connections,
                authenticator=authenticator,
                limiter=settings.open_limiter(storage),
                audit=audit,
                telemetry=telemetry,
                models=ModelCatalogue(connections.pools),
                running_counts=RunningCounts(),
                # Before the call's own time is over, so that its caller learns why.
                answer_memory=AnswerMemory(seconds=settings.gateway_answer_seconds * _MEMORY_WAIT_RATIO),
                enqueuer=enqueuer,
                signing_key=SigningKey(storage),
                upload_places=UploadPlaces(settings.gateway_max_uploads),
                waits=asyncio.Semaphore(max(1, settings.gateway_max_calls // 2)),
            )
    finally:
        await enqueuer.close()
        await connections.close()


async def _serve(parts: Parts, readiness: Readiness, health: Health) -> None:
    settings = parts.settings
    server = create_server(
        create_api(parts),
        host=settings.gateway_listen_host,
        port=settings.gateway_listen_port,
        drain_seconds=settings.drain_seconds,
        keep_alive_seconds=settings.gateway_keep_alive_seconds,
    )

    def stop() -> None:
        readiness.leave()
        server.should_exit = True

    on_stop_signal(stop)
    dependencies: dict[str, Availability] = {"store": parts.storage}
    monitor = DependencyMonitor(dependencies, readiness, parts.telemetry)
    probe = DependencyProbe(parts.storage, partial(parts.storage.ask, keys.PROBE))
    storage = parts.storage
    clock = ClockKeeper(storage.clock, partial(storage.measure_clock, anew=True), readiness, parts.telemetry)
    sweep = GatewaySweep(parts.storage, seconds=settings.gateway_sweep_seconds)
    async with asyncio.TaskGroup() as tasks:
        timers = (sweep.run(), health.beat(), monitor.run(), probe.run(), clock.run(), trim_memory())
        beside = [tasks.create_task(timer) for timer in timers]
        try:
            warm = tasks.create_task(_warm_up(parts))
            beside.append(warm)
            await asyncio.gather(_run(server, settings), _join(server, readiness, settings, warm))
        finally:
            for task in beside:
                task.cancel()


async def _run(server: Server, settings: GatewaySettings) -> None:
    try:
        await server.serve()
    except SystemExit as error:
        # How uvicorn tells that it cannot listen.
        port = settings.gateway_listen_port
        raise SettingsError(
            f"port {port} cannot be used; set BACKBURNER_GATEWAY_LISTEN_PORT to another, or to 0"
        ) from error


async def _warm_up(parts: Parts) -> None:
    """Connect to the queue and read what every call needs, so that the first one need not wait for it."""
    try:
        async with asyncio.timeout(_WARM_UP_SECONDS):
            await asyncio.gather(parts.connections.publisher(), parts.signing_key.ids(), parts.models.models())
    except (BackburnerError, TimeoutError) as error:
        # Files and batches need no queue, and each call tries again.
        log.warning("queue or store did not answer yet; serving without", error=str(error) or "no answer in time")


async def _join(server: Server, readiness: Readiness, settings: GatewaySettings, warm: asyncio.Task[None]) -> None:
    while not (server.started and warm.done()):
        if server.should_exit:
            return
        await asyncio.sleep(_START_POLL_SECONDS)
    freeze_gc()
    readiness.join()
    log.info("serving", host=settings.gateway_listen_host, port=server.bound_port)
