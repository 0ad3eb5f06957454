"""The parts of a worker: each is built once, when it is first asked for, from the settings and the parts that it needs.

It is the map of who knows whom, and nothing runs here: read it from `pipeline` on. `app` runs what is built.
"""

import asyncio
from functools import cached_property

from backburner.publishers import open_publisher
from backburner.publishers.base import Publisher
from backburner.runtime.memory_budget import MemoryBudget
from backburner.runtime.notifier import Notifier
from backburner.storage import Storage
from backburner_schemas.names import Lane
from backburner_worker.admission.admission import Admission
from backburner_worker.admission.admitter import Admitter
from backburner_worker.admission.load_monitor import LoadMonitor
from backburner_worker.admission.trial_sizes import TrialSizes
from backburner_worker.engine.base import Engine, EngineInfo
from backburner_worker.engine.identity import adapter_identity, model_identity
from backburner_worker.generation.cache import ResultCache
from backburner_worker.generation.engine_watch import EngineWatch
from backburner_worker.generation.handler import RequestHandler
from backburner_worker.generation.model_names import ModelNames
from backburner_worker.generation.runner import RequestRunner
from backburner_worker.generation.time_limit import TimeLimit
from backburner_worker.identity import WorkerIdentity
from backburner_worker.jobs import JobCache
from backburner_worker.outcome import Signature
from backburner_worker.pipeline import Pipeline
from backburner_worker.puller import Puller
from backburner_worker.scheduling.feeder import Feeder
from backburner_worker.settings import WorkerSettings
from backburner_worker.settlement.earlier_answers import EarlierAnswers
from backburner_worker.settlement.results import Results
from backburner_worker.settlement.retries import RetryPublisher
from backburner_worker.settlement.segment_writer import SegmentWriter
from backburner_worker.settlement.settler import Settler
from backburner_worker.settlement.suspects import Suspects
from backburner_worker.sources.base import Source
from backburner_worker.sources.factory import open_source
from backburner_worker.sweep import Sweep
from backburner_worker.telemetry.telemetry import Telemetry


class Parts:
    """The parts of one worker. Ask for them in a running event loop."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        storage: Storage,
        telemetry: Telemetry,
        engine: Engine,
        info: EngineInfo,
        load_seconds: float = 0.0,
        source: Source | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        """`load_seconds`: how long the engine took until it was warm.

        `source` and `publisher` take the place of those that the settings name.
        """
        self.settings = settings
        self.storage = storage
        self.telemetry = telemetry
        self.engine = engine
        self._info = info
        self._load_seconds = load_seconds
        self._publisher = publisher
        self.identity = WorkerIdentity.create(settings, info)
        self.source = source or open_source(
            settings, settings.source_options, pool=self.identity.pool, worker=self.identity.name
        )
        self._changed = Notifier()
        """Woken by whoever makes room, for whoever waits for it."""
        self._tasks = asyncio.TaskGroup()
        """Of all that runs for single deliveries; the pipeline enters it."""

    @cached_property
    def pipeline(self) -> Pipeline:
        """The way of a delivery: pull, admit, run, settle."""
        return Pipeline(
            source=self.source,
            puller=Puller(self.source, self.feeder, self._changed, self.telemetry),
            jobs=self.jobs,
            earlier_answers=EarlierAnswers(self.storage, self.jobs),
            admitter=self.admitter,
            runner=self.runner,
            settler=self.settler,
            changed=self._changed,
            tasks=self._tasks,
            clock=self.storage.clock,
        )

    # --- admit ---

    @cached_property
    def feeder(self) -> Feeder:
        """What waits for the engine, in order."""
        settings = self.settings
        return Feeder(settings.weights, settings.prefetch, settings.prefetch_bytes)

    @cached_property
    def admission(self) -> Admission:
        """How much the engine may hold."""
        return Admission(self._info, self.settings.concurrency)

    @cached_property
    def load_monitor(self) -> LoadMonitor:
        """What steers the admission by what the engine reports."""
        return LoadMonitor(self.engine, self.admission, self._changed)

    @cached_property
    def admitter(self) -> Admitter:
        """What lets deliveries from the feeder into the engine."""
        return Admitter(
            feeder=self.feeder,
            admission=self.admission,
            jobs=self.jobs,
            settler=self.settler,
            changed=self._changed,
            clock=self.storage.clock,
            sizes=self.trial_sizes,
        )

    @cached_property
    def trial_sizes(self) -> TrialSizes:
        """How many suspects are tried at once."""
        return TrialSizes(self._load_seconds)

    # --- run ---

    @cached_property
    def runner(self) -> RequestRunner:
        """What runs a request, and says how it ends."""
        return RequestRunner(
            handler=self.handler,
            watch=EngineWatch(
                self.engine, self.settings.engine_stall_seconds, self.time_limit, lambda: self.load_monitor.queued
            ),
            source=self.source,
            jobs=self.jobs,
            admitter=self.admitter,
            suspects=self.suspects,
            rules=self.settings.retry_rules,
            clock=self.storage.clock,
            log_prompts=self.settings.log_prompts,
        )

    @cached_property
    def handler(self) -> RequestHandler:
        """What gets a request's response, from the cache or the engine."""
        settings = self.settings
        return RequestHandler(
            self.engine,
            self._info,
            self.storage,
            self.signature,
            names=self.model_names,
            limits=settings.body_limits,
            allowed=settings.extra_parameters,
            max_body_bytes=settings.max_body_bytes,
            log_prompts=settings.log_prompts,
            telemetry=self.telemetry,
            limit=self.time_limit,
            sizes=self.trial_sizes,
            stored_bodies=MemoryBudget(settings.prefetch_bytes * len(Lane)),
            cache=self.cache,
        )

    @cached_property
    def time_limit(self) -> TimeLimit:
        """How long a generation may take, by the speeds that were seen."""
        return TimeLimit()

    @cached_property
    def model_names(self) -> ModelNames:
        """What requests may call the model and its adapters."""
        info = self._info
        return ModelNames(self.storage, self.identity.pool, info.models[0], (*info.models, *info.adapters))

    @cached_property
    def cache(self) -> ResultCache | None:
        """The answers that are given again; None where none are to be kept."""
        settings = self.settings
        if not settings.result_cache_seconds:
            return None
        identity = model_identity(
            model=settings.model,
            served=self._info.models,
            version=self._info.version,
            engine_args=settings.engine_args,
            revision=settings.model_version,
        )
        known = {one.name: adapter_identity(identity, one.folder) for one in settings.lora_adapters}
        return ResultCache(
            self.storage,
            pool=self.identity.pool,
            identity=identity,
            # An adapter among the engine's own arguments has no folder that is known here.
            adapters={**dict.fromkeys(self._info.adapters), **known},
            max_age=settings.result_cache_seconds,
            telemetry=self.telemetry,
        )

    # --- settle ---

    @cached_property
    def settler(self) -> Settler:
        """What makes an ending durable, and then lets go of the delivery."""
        return Settler(
            source=self.source,
            segments=self.segments,
            results=Results(self.storage, self.segments),
            retries=self.retries,
            signature=self.signature,
            suspects=self.suspects,
            changed=self._changed,
            telemetry=self.telemetry,
            tasks=self._tasks,
            log_prompts=self.settings.log_prompts,
        )

    @cached_property
    def segments(self) -> SegmentWriter:
        """Where the records of jobs are gathered."""
        return SegmentWriter(
            self.storage,
            self.jobs,
            writer=self.identity.writer,
            limits=self.settings.segment_limits,
            job_quiet=self.sweep.soon,
            telemetry=self.telemetry,
        )

    @cached_property
    def retries(self) -> RetryPublisher:
        """The way back onto the queue."""
        return RetryPublisher(
            lambda: self._publisher or open_publisher(self.settings),
            self.storage,
            self.identity.pool,
            self.settings.queue.kind,
        )

    # --- what several of them know ---

    @cached_property
    def jobs(self) -> JobCache:
        """What is known of the jobs that are served."""
        return JobCache(self.storage, self.settings.cancel_poll_seconds)

    @cached_property
    def suspects(self) -> Suspects:
        """What may have killed an engine."""
        return Suspects(self.storage, self.identity.name)

    @cached_property
    def signature(self) -> Signature:
        """What goes into every record."""
        return self.identity.signature

    # --- beside the way of a delivery ---

    @cached_property
    def sweep(self) -> Sweep:
        """What ends the jobs that nobody else ends."""
        return Sweep(
            self.storage,
            intervals=self.settings.sweep_intervals,
            announcement=lambda: self.identity.announcement(self.storage.clock.now()),
            on_frozen=self.jobs.note_frozen,
            refresh_names=self.model_names.refresh,
            telemetry=self.telemetry,
        )
