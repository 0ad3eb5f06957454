"""The composition root: opens what a dispatcher needs from its settings, runs it, takes it down again."""

import asyncio
from functools import partial

from prometheus_client import REGISTRY

from backburner.connections import Connections
from backburner.dispatcher.metrics import Metrics
from backburner.dispatcher.parts import Parts
from backburner.dispatcher.settings import DispatcherSettings
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

log = get_logger(__name__)


async def run_dispatcher(settings: DispatcherSettings) -> None:
    """Be a dispatcher until a signal asks it to stop. Raises what makes that impossible, such as `SettingsError`."""
    check_queue(settings)
    keep_few_arenas()
    connections = Connections(settings)
    storage = connections.storage
    metrics = Metrics(REGISTRY)
    readiness = Readiness()
    health = Health(REGISTRY, readiness, settings.http_host, settings.http_port)
    log.info("listening", host=settings.http_host, port=health.port)
    try:
        parts = Parts(settings, connections, metrics)
        dispatcher = parts.dispatcher
        monitor = DependencyMonitor({"store": storage, "queue": parts.sender}, readiness, metrics)
        probe = DependencyProbe(storage, partial(storage.ask, keys.PROBE))
        clock = ClockKeeper(storage.clock, partial(storage.measure_clock, anew=True), readiness, metrics)

        def stop() -> None:
            readiness.leave()
            dispatcher.stop()

        on_stop_signal(stop)
        async with asyncio.TaskGroup() as tasks:
            timers = (health.beat(), monitor.run(), probe.run(), clock.run(), trim_memory())
            beside = [tasks.create_task(timer) for timer in timers]
            freeze_gc()
            readiness.join()
            log.info("dispatching")
            await dispatcher.run()
            for task in beside:
                task.cancel()
        log.info("stopped")
    finally:
        readiness.leave()
        await connections.close()
        health.close()
