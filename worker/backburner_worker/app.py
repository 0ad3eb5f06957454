"""The one composition root: builds every part of a worker from its settings, runs it, takes it down again."""

import asyncio
import gc
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

from prometheus_client import REGISTRY

from backburner.availability import Availability
from backburner.logs import get_logger
from backburner.publishers import check_queue, open_publisher
from backburner.publishers.base import Publisher
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.pool import WorkerAnnouncement
from backburner_worker.admission.admission import Admission
from backburner_worker.admission.admitter import Admitter
from backburner_worker.admission.load_monitor import LoadMonitor
from backburner_worker.engine.base import Engine, EngineInfo
from backburner_worker.engine.factory import create_engine
from backburner_worker.engine.identity import adapter_identity, model_identity
from backburner_worker.generation.cache import ResultCache
from backburner_worker.generation.handler import RequestHandler
from backburner_worker.generation.runner import RequestRunner
from backburner_worker.jobs import JobCache
from backburner_worker.outcome import Signature
from backburner_worker.pipeline import Pipeline
from backburner_worker.policy import RetryRules
from backburner_worker.process.dependency_monitor import DependencyMonitor
from backburner_worker.process.health import Health
from backburner_worker.process.notifier import Notifier
from backburner_worker.process.readiness import Readiness
from backburner_worker.process.signals import on_stop_signal
from backburner_worker.process.startup_checks import Checks, pool_of
from backburner_worker.process.telemetry import Telemetry
from backburner_worker.requests.limits import BodyLimits
from backburner_worker.requests.parameters import check_allowed_extra
from backburner_worker.scheduling.feeder import Feeder
from backburner_worker.settings import WorkerSettings, split
from backburner_worker.settlement.results import Results
from backburner_worker.settlement.retries import RetryPublisher
from backburner_worker.settlement.segment_writer import SegmentWriter
from backburner_worker.settlement.segments import SegmentLimits
from backburner_worker.settlement.settler import Settler
from backburner_worker.settlement.suspects import Suspects
from backburner_worker.sources.base import Source
from backburner_worker.sources.factory import open_source
from backburner_worker.sources.pulling import Puller
from backburner_worker.sweep import Sweep

_GC_THRESHOLD_OBJECTS = 50_000

log = get_logger(__name__)


class Worker:
    """A warm engine joined to a queue and a store. One engine can serve several, one after the other."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        storage: Storage,
        telemetry: Telemetry,
        engine: Engine,
        info: EngineInfo,
        source: Source | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        self.pool = pool_of(settings, info.models[0])
        self.writer = keys.new_ulid()
        self.name = settings.worker_id or f"{socket.gethostname()}-{self.writer[-8:]}"
        self.group = settings.group or self.pool
        self._settings = settings
        self._storage = storage
        self._info = info
        self._started_at = time.time()
        self._jobs = JobCache(storage, settings.marker_seconds)
        self._sweep = Sweep(
            storage,
            seconds=settings.sweep_seconds,
            grace=settings.freeze_grace_seconds,
            marker_life=settings.topic_retention_seconds,
            announcement=self._announcement,
            on_frozen=self._jobs.note_frozen,
            telemetry=telemetry,
        )
        segments = SegmentWriter(
            storage,
            self._jobs,
            writer=self.writer,
            limits=SegmentLimits(
                max_bytes=settings.segment_max_bytes,
                max_records=settings.segment_max_records,
                min_age=settings.segment_min_age_seconds,
                max_age=settings.segment_max_age_seconds,
            ),
            job_quiet=self._sweep.soon,
            telemetry=telemetry,
        )
        source = source or open_source(settings, self.pool, self.name)
        changed, tasks = Notifier(), asyncio.TaskGroup()
        suspects = Suspects(storage, self.name)
        signature = Signature(pool=self.pool, worker=self.name, group=self.group, version=info.version)
        self._cache = _cache(settings, storage, self.pool, info, telemetry)
        retries = RetryPublisher(lambda: publisher or open_publisher(settings), storage, self.pool, settings.queue.kind)
        settler = Settler(
            source=source,
            segments=segments,
            results=Results(storage, segments),
            retries=retries,
            signature=signature,
            suspects=suspects,
            changed=changed,
            telemetry=telemetry,
            tasks=tasks,
        )
        feeder = Feeder(settings.weights, settings.window, settings.window_bytes)
        admission = Admission(info, settings.concurrency)
        self._load_monitor = LoadMonitor(engine, admission, changed)
        admitter = Admitter(feeder=feeder, admission=admission, jobs=self._jobs, settler=settler, changed=changed)
        handler = RequestHandler(
            engine,
            info,
            storage,
            signature,
            limits=body_limits(settings),
            allowed=split(settings.parameters_allowed),
            max_body_bytes=settings.max_body_bytes,
            log_prompts=settings.log_prompts,
            telemetry=telemetry,
            cache=self._cache,
        )
        runner = RequestRunner(
            engine=engine,
            handler=handler,
            source=source,
            jobs=self._jobs,
            admitter=admitter,
            suspects=suspects,
            rules=RetryRules(settings.max_attempts, settings.retry_base_seconds, settings.retry_max_seconds),
        )
        telemetry.watch_admission(admission)
        telemetry.watch_held("waiting", lambda: len(feeder))
        telemetry.watch_held("engine", lambda: admission.in_flight)
        telemetry.watch_held("suspects", lambda: feeder.suspects + runner.suspects)
        self.pipeline = Pipeline(
            source=source,
            puller=Puller(source, feeder, changed, telemetry),
            jobs=self._jobs,
            admitter=admitter,
            runner=runner,
            settler=settler,
            changed=changed,
            tasks=tasks,
        )
        self.dependencies: dict[str, Availability] = {"store": storage, "queue": source, "retries": retries}
        """What the worker needs around it, by the names that metrics and logs have for it."""

    async def run(self, *, on_joined: Callable[[], None] = lambda: None) -> None:
        """Pull and answer until the pipeline is stopped, then drain."""
        async with asyncio.TaskGroup() as tasks:
            parts = (self._sweep.run(), self._sweep.finalize_named(), self._load_monitor.run())
            beside = [tasks.create_task(part) for part in parts]
            try:
                await self.pipeline.run(drain=self._settings.drain_seconds, on_joined=on_joined)
            finally:
                for task in beside:
                    task.cancel()
                await self._sweep.close()
                if self._cache is not None:
                    await self._cache.close()

    def _announcement(self) -> WorkerAnnouncement:
        return WorkerAnnouncement(
            worker=self.name,
            pool=self.pool,
            models=self._info.models,
            adapters=self._info.adapters,
            group=self.group,
            version=self._info.version,
            started_at=self._started_at,
            seen_at=time.time(),
        )


async def run_worker(settings: WorkerSettings) -> None:
    """Be a worker until a signal says stop. Raises what makes that impossible, `SettingsError` or `EngineLost` say."""
    storage = Storage.open(settings)
    check_queue(settings)  # Before the model loads.
    check_allowed_extra(split(settings.parameters_allowed))
    telemetry = Telemetry(REGISTRY)
    readiness = Readiness()
    telemetry.watch_ready(lambda: readiness.ready)
    health = Health(REGISTRY, readiness, settings.http_host, settings.http_port)
    log.info("listening", host=settings.http_host, port=health.port)
    engine = engine_of(settings)
    checks = Checks(settings, storage)
    try:
        # A load makes objects by the million, and hardly any of them goes away: a fifth of its time went on looking.
        gc.disable()
        info = await checks.load(engine)
        freeze_gc()
        log.info("the model is warm", models=info.models, engine=info.version, kv_tokens=info.kv_tokens)
        async with asyncio.TaskGroup() as tasks:
            worker = Worker(settings, storage=storage, telemetry=telemetry, engine=engine, info=info)
            monitor = DependencyMonitor(worker.dependencies, readiness, telemetry)
            beside = [tasks.create_task(health.beat()), tasks.create_task(monitor.run())]
            await _serve(worker, readiness, checks.passed(info))
            for task in beside:
                task.cancel()
    finally:
        readiness.leave()
        checks.close()
        await engine.close(drain=0.0)
        health.close()


def engine_of(settings: WorkerSettings) -> Engine:
    """The engine that the settings name, not started yet. Raises `SettingsError`."""
    return create_engine(
        settings.engine,
        model=settings.model,
        engine_args=settings.engine_args,
        served_name=settings.served_name,
        fake_latency=settings.fake_latency_seconds,
        fake_process=settings.fake_process,
        fake_journal=settings.fake_journal,
        fake_pace=settings.fake_pace,
        media_domains=split(settings.media_domains_allowed),
        adapters=settings.lora_adapters,
        cache_dir=settings.compile_cache_dir,
    )


async def _serve(worker: Worker, readiness: Readiness, passed: Coroutine[Any, Any, None]) -> None:
    checking = asyncio.create_task(passed)

    def stop() -> None:
        checking.cancel()
        readiness.leave()
        worker.pipeline.stop()

    # After the engine, which brings signal handlers of its own.
    on_stop_signal(stop)
    await asyncio.wait([checking])
    if checking.cancelled():
        return
    checking.result()

    def joined() -> None:
        readiness.join()
        log.info("pulling", pool=worker.pool, worker=worker.name)

    await worker.run(on_joined=joined)
    log.info("stopped")


def freeze_gc() -> None:
    """Nothing of what is loaded by now goes away again, so the collector need not look at it, not even once."""
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD_OBJECTS)
    gc.enable()


def _cache(
    settings: WorkerSettings, storage: Storage, pool: str, info: EngineInfo, telemetry: Telemetry
) -> ResultCache | None:
    if not settings.result_cache_seconds:
        return None
    identity = model_identity(
        model=settings.model,
        served=info.models,
        version=info.version,
        engine_args=settings.engine_args,
        revision=settings.model_version,
    )
    known = {one.name: adapter_identity(identity, one.folder) for one in settings.lora_adapters}
    return ResultCache(
        storage,
        pool=pool,
        identity=identity,
        # An adapter among the engine's own arguments has no folder that is known here.
        adapters={**dict.fromkeys(info.adapters), **known},
        max_age=settings.result_cache_seconds,
        telemetry=telemetry,
    )


def body_limits(settings: WorkerSettings) -> BodyLimits:
    """The caps on one body that the settings ask for."""
    return BodyLimits(media_domains=split(settings.media_domains_allowed))
