"""The composition root: opens what a worker needs from its settings, runs it, takes it down again."""

import asyncio
import gc
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from prometheus_client import REGISTRY

from backburner.availability import Availability
from backburner.logs import get_logger, guard
from backburner.process.clock_keeper import ClockKeeper
from backburner.process.dependency_monitor import DependencyMonitor
from backburner.process.health import Health
from backburner.process.memory import freeze_gc, keep_few_arenas, trim_memory
from backburner.process.readiness import Readiness
from backburner.publishers import check_queue
from backburner.storage import Storage
from backburner_worker.engine.base import Engine, EngineInfo, MayBeAway
from backburner_worker.engine.factory import create_engine
from backburner_worker.parts import Parts
from backburner_worker.reclaim.factory import open_notice_sources
from backburner_worker.reclaim.notice import NoticeSource
from backburner_worker.reclaim.watcher import ReclaimWatcher
from backburner_worker.requests.parameters import check_allowed_extra
from backburner_worker.settings import WorkerSettings
from backburner_worker.startup_checks import Checks
from backburner_worker.stopping import Stopping
from backburner_worker.telemetry.telemetry import Telemetry

log = get_logger(__name__)


class Worker:
    """A warm engine joined to a queue and a store. One engine can serve several, one after the other."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.identity = parts.identity
        self.pipeline = parts.pipeline
        telemetry = parts.telemetry
        telemetry.ages_by(parts.storage.clock.now)
        telemetry.retention(parts.settings.topic_retention_seconds)
        telemetry.serves(self.identity.pool, self.identity.group, self.identity.release)
        telemetry.watch_admission(parts.admission)
        telemetry.watch_in_flight("waiting", lambda: len(parts.feeder))
        telemetry.watch_in_flight("engine", lambda: parts.admission.in_flight)
        telemetry.watch_in_flight("suspects", lambda: parts.feeder.suspects + parts.runner.suspects)
        self.dependencies: dict[str, Availability] = {
            "store": parts.storage,
            "queue": parts.source,
            "retries": parts.retries,
        }
        """What the worker needs around it, by the names that metrics and logs have for it."""
        if isinstance(parts.engine, MayBeAway):
            self.dependencies["engine"] = parts.engine
            telemetry.watch_servers(parts.engine.servers)

    async def run(self, *, on_joined: Callable[[], None] = lambda: None) -> None:
        """Pull and answer until the pipeline is stopped, then drain."""
        sweep, cache = self.parts.sweep, self.parts.cache
        async with asyncio.TaskGroup() as tasks:
            timers = (sweep.announce(), sweep.run(), sweep.finalize_named(), self.parts.load_monitor.run())
            beside = [tasks.create_task(timer) for timer in timers]
            try:
                await self.pipeline.run(drain=self.parts.settings.drain_seconds, on_joined=on_joined)
            finally:
                for task in beside:
                    task.cancel()
                await sweep.close()
                if cache is not None:
                    await cache.close()


async def run_worker(settings: WorkerSettings, *, notices: Sequence[NoticeSource] | None = None) -> None:
    """Be a worker until a signal asks it to stop. Raises what makes that impossible, such as `SettingsError`.

    `notices` takes the place of the sources of notices that the settings name.
    """
    keep_few_arenas()
    reclaim = ReclaimWatcher(open_notice_sources(settings, os.environ) if notices is None else notices)
    storage = Storage.open(settings)
    check_queue(settings)  # Before the model loads.
    check_allowed_extra(settings.extra_parameters)
    telemetry = Telemetry(REGISTRY)
    readiness = Readiness()
    telemetry.watch_ready(lambda: readiness.ready)
    health = Health(REGISTRY, readiness, settings.http_host, settings.http_port)
    log.info("listening", host=settings.http_host, port=health.port)
    engine = create_engine(settings.engine_options)
    checks = Checks(settings, storage)
    try:
        # A load creates objects by the million, and hardly any of them goes away: a fifth of its time was garbage
        # collection.
        gc.disable()
        began = time.monotonic()
        info = await _load(engine, checks, readiness, telemetry)
        load_seconds = time.monotonic() - began
        freeze_gc()
        # Errors that it logs quote what was refused.
        guard("vllm")
        log.info("model ready", models=info.models, engine=info.version, kv_tokens=info.kv_tokens)
        async with asyncio.TaskGroup() as tasks:
            parts = Parts(
                settings, storage=storage, telemetry=telemetry, engine=engine, info=info, load_seconds=load_seconds
            )
            worker = Worker(parts)
            monitor = DependencyMonitor(worker.dependencies, readiness, telemetry)
            stopping = Stopping(worker.pipeline, readiness, reclaim, telemetry)
            clock = ClockKeeper(storage.clock, partial(storage.measure_clock, anew=True), readiness, telemetry)
            timers = (health.beat(), monitor.run(), stopping.watch(), clock.run(), trim_memory())
            beside = [tasks.create_task(timer) for timer in timers]
            await _serve(worker, readiness, checks.passed(info), stopping)
            for task in beside:
                task.cancel()
    finally:
        readiness.leave()
        checks.close()
        await reclaim.close()
        await engine.close(drain=0.0)
        health.close()


async def _load(engine: Engine, checks: Checks, readiness: Readiness, telemetry: Telemetry) -> EngineInfo:
    """What the engine offers, warm. Logs what one elsewhere is waited for."""
    if not isinstance(engine, MayBeAway):
        return await checks.load(engine)
    monitor = DependencyMonitor({"engine": engine}, readiness, telemetry)
    looking = asyncio.create_task(monitor.run())
    try:
        return await checks.load(engine)
    finally:
        looking.cancel()
        monitor.look()


async def _serve(worker: Worker, readiness: Readiness, passed: Coroutine[Any, Any, None], stopping: Stopping) -> None:
    checking = asyncio.create_task(passed)
    stopping.begin(checking)
    await asyncio.wait([checking])
    if not checking.cancelled():
        checking.result()

        def joined() -> None:
            readiness.join()
            log.info("pulling", pool=worker.identity.pool, worker=worker.identity.name)

        await worker.run(on_joined=joined)
    await stopping.over()
    log.info("stopped")
