"""The worker's metrics. One object owns them all; the parts report to it what happened and never name a metric."""

import collections
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from backburner.process.clock_keeper import clock_offset_gauge
from backburner_schemas.names import Lane
from backburner_schemas.result import Blame
from backburner_worker.engine.base import EngineLoad
from backburner_worker.sources.base import Delivery, KeepsOffsetMetadata, LogLosses, OffsetMetadata, ReadsLogs, Source
from backburner_worker.telemetry.fast_metrics import FastCounter, FastHistogram, ReportedCounter
from backburner_worker.telemetry.oldest_messages import OldestMessages

_BUCKETS_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)


_WITHOUT_RECORD = frozenset({"dropped", "already_answered"})
"""Outcomes that say nothing of this worker: nobody would read a record, or another one has written it."""
_RETRIED = "retried"
"""The outcome of an attempt that failed here and goes on elsewhere."""


class AdmissionFigures(Protocol):
    """What is shown of the admission: what is in the engine, and what may be."""

    @property
    def sequences(self) -> int:
        """Sequences that were admitted."""
        ...

    @property
    def tokens(self) -> int:
        """KV tokens that they are expected to hold."""
        ...

    @property
    def sequence_limit(self) -> int:
        """Sequences that may be admitted now."""
        ...

    @property
    def token_limit(self) -> int:
        """KV tokens that may be admitted now; 0 for any number."""
        ...

    @property
    def load(self) -> EngineLoad:
        """What the engine reported last."""
        ...


class Telemetry:
    """Counters, gauges and histograms, all named `backburner_…`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Make the metrics in that registry, which `/metrics` shows beside vLLM's own."""
        self._pulled = Counter(
            "backburner_deliveries_pulled", "Deliveries pulled from the queue.", ["lane"], registry=registry
        )
        self._settled = Counter(
            "backburner_deliveries_settled",
            "Deliveries settled, by outcome and error code.",
            ["outcome", "code"],
            registry=registry,
        )
        self._results = Counter(
            "backburner_results",
            "Requests that ended here, by what it says of this worker's release: ok, failed, retried, refused.",
            ["pool", "group", "release", "outcome"],
            registry=registry,
        )
        self._by_blame: dict[str, Counter] = {}
        """The counters of this worker, by the last label; none until it is known whose they are."""
        tokens = FastCounter("backburner_tokens", "Tokens of answered requests.", "kind", registry)
        self._tokens = tokens.counts
        self._tokens.update(prompt=0, completion=0)
        self._queue = FastHistogram(
            "backburner_queue_seconds", "Time from the producer to the engine.", _BUCKETS_SECONDS, registry
        )
        self._engine = FastHistogram("backburner_engine_seconds", "Time in the engine.", _BUCKETS_SECONDS, registry)
        self._cache_lookups = Counter(
            "backburner_result_cache_lookups", "Lookups in the result cache, by result.", ["result"], registry=registry
        )
        self._segments = Counter("backburner_segments", "Segments written.", registry=registry)
        self._segment_bytes = Counter("backburner_segment_bytes", "Bytes in segments written.", registry=registry)
        self._segment_seconds = Histogram(
            "backburner_segment_write_seconds",
            "Time to write a segment, outages included.",
            buckets=_BUCKETS_SECONDS,
            registry=registry,
        )
        self._redelivered = Counter(
            "backburner_deliveries_redelivered",
            "Deliveries that the queue had handed out before.",
            registry=registry,
        )
        self._retried = Counter("backburner_retries", "Requests retried, by error code.", ["code"], registry=registry)
        self._duplicates = Counter(
            "backburner_results_duplicate",
            "Records beyond the first of their request, counted when a job is frozen.",
            registry=registry,
        )
        self._uncommitted = Gauge(
            "backburner_deliveries_uncommitted",
            "Deliveries that the queue has not recorded as done yet.",
            registry=registry,
        )
        self._dependency_up = Gauge(
            "backburner_dependency_up",
            "Whether a system that the worker needs answers: 1 if so, 0 while it is away.",
            ["dependency"],
            registry=registry,
        )
        self._metadata_supported = Gauge(
            "backburner_offset_metadata_supported",
            "Whether the broker stores the metadata of committed offsets.",
            registry=registry,
        )
        self._metadata_usage = Gauge(
            "backburner_offset_metadata_usage_ratio",
            "Share of the space for offset metadata in use, in the fullest partition.",
            registry=registry,
        )
        self._paused = Gauge(
            "backburner_partitions_paused",
            "Partitions paused because their offset metadata is full.",
            registry=registry,
        )
        self._clock_offset = clock_offset_gauge(registry)
        self._now: Callable[[], float] = time.time
        self._records_lost = Counter(
            "backburner_queue_records_lost",
            "Records that the queue deleted before they were read, at most.",
            ["queue"],
            registry=registry,
        )
        self._logs_restarted = Counter(
            "backburner_queue_logs_restarted",
            "Partitions found to be another log than before, as when their topic is made anew.",
            ["queue"],
            registry=registry,
        )
        self._losses = LogLosses({}, {})
        self._ready = Gauge("backburner_ready", "Whether the worker is warm and takes in work.", registry=registry)
        self._in_flight = Gauge(
            "backburner_deliveries_in_flight",
            "Deliveries that the worker holds, by stage.",
            ["stage"],
            registry=registry,
        )
        self._admitted_sequences = Gauge(
            "backburner_admitted_sequences", "Sequences admitted to the engine.", registry=registry
        )
        self._admitted_tokens = Gauge(
            "backburner_admitted_tokens", "KV tokens expected of the sequences admitted.", registry=registry
        )
        self._max_sequences = Gauge(
            "backburner_admission_limit_sequences", "Sequences that may be admitted now.", registry=registry
        )
        self._max_tokens = Gauge(
            "backburner_admission_limit_tokens", "KV tokens that may be admitted now; 0 for any.", registry=registry
        )
        self._engine_sequences = Gauge(
            "backburner_engine_sequences",
            "Sequences in the engine as the engine reports, by state.",
            ["state"],
            registry=registry,
        )
        self._engine_servers = Gauge(
            "backburner_engine_servers",
            "Servers of an engine that is elsewhere, by state.",
            ["state"],
            registry=registry,
        )
        self._engine_kv_usage = Gauge(
            "backburner_engine_kv_usage_ratio",
            "Share of the KV cache in use as the engine reports.",
            registry=registry,
        )
        self._engine_preemptions = ReportedCounter(
            "backburner_engine_preemptions", "Sequences preempted for lack of KV cache.", registry
        )
        self._reclaim_notices = Counter(
            "backburner_reclaim_notices",
            "Notices that the machine is about to be taken back, by where they came from.",
            ["source"],
            registry=registry,
        )
        self._lag = Gauge(
            "backburner_lag_messages",
            "Messages not settled yet in this worker's partitions or queues.",
            ["lane"],
            registry=registry,
        )
        self._oldest = OldestMessages()
        self._oldest_age = Gauge(
            "backburner_oldest_message_age_seconds",
            "Age of the oldest message of the latest pull, while messages are not settled; 0 while all are.",
            ["lane"],
            registry=registry,
        )
        self._deadline_ratio = Gauge(
            "backburner_oldest_message_deadline_ratio",
            "Share of the time up to its deadline that the most urgent message of the latest pull has used, while "
            "messages are not settled; 1 at the deadline.",
            ["lane"],
            registry=registry,
        )
        self._retention = Gauge(
            "backburner_queue_retention_seconds",
            "How long the queue keeps a message, as the worker was told.",
            registry=registry,
        )

    def serves(self, pool: str, group: str, release: str | None) -> None:
        """Who the worker is whose results are counted from now on."""
        self._by_blame = {
            outcome: self._results.labels(pool, group, release or "", outcome) for outcome in (*Blame, _RETRIED)
        }

    def pulled(self, deliveries: Sequence[Delivery]) -> None:
        """These deliveries were pulled."""
        for lane, count in collections.Counter(delivery.lane for delivery in deliveries).items():
            self._pulled.labels(lane).inc(count)
        self._redelivered.inc(sum(delivery.redelivered for delivery in deliveries))
        self._oldest.pulled(deliveries)

    def retried(self, code: str) -> None:
        """A request was put back onto the queue after that error."""
        self._retried.labels(code).inc()

    def duplicates(self, count: int) -> None:
        """A job was frozen that has so many surplus records."""
        self._duplicates.inc(count)

    def watch_uncommitted(self, count: Callable[[], int]) -> None:
        """Show that count at each scrape."""
        self._uncommitted.set_function(count)

    def dependency(self, name: str, *, up: bool) -> None:
        """Whether that dependency, such as `store` or `engine`, answers. For the dependency monitor alone."""
        self._dependency_up.labels(name).set(up)

    def offset_metadata(self, state: OffsetMetadata) -> None:
        """The state of the metadata that the broker stores beside offsets."""
        if state.supported is not None:
            self._metadata_supported.set(state.supported)
        self._metadata_usage.set(state.usage_ratio)
        self._paused.set(state.partitions_paused)

    def log_losses(self, losses: LogLosses) -> None:
        """What the queue's logs lost so far."""
        before, self._losses = self._losses, losses
        for counter, now, then in (
            (self._records_lost, losses.records_lost, before.records_lost),
            (self._logs_restarted, losses.logs_restarted, before.logs_restarted),
        ):
            for queue, count in now.items():
                counter.labels(queue).inc(count - then.get(queue, 0))

    def queue(self, source: Source) -> None:
        """The state of the queue now."""
        self.lag(source.lag())
        if isinstance(source, KeepsOffsetMetadata):
            self.offset_metadata(source.offset_metadata())
        if isinstance(source, ReadsLogs):
            self.log_losses(source.log_losses())

    def settled(self, outcome: str, code: str = "", count: int = 1) -> None:
        """So many deliveries ended that way."""
        self._settled.labels(outcome, code).inc(count)
        if outcome not in _WITHOUT_RECORD:
            self._count(outcome if outcome == _RETRIED else Blame.of(code or None), count)

    def _count(self, outcome: str, count: int = 1) -> None:
        if (counter := self._by_blame.get(outcome)) is not None:
            counter.inc(count)

    def answered(self, queue_s: float | None, engine_s: float, prompt_tokens: int, completion_tokens: int) -> None:
        """The engine answered a request."""
        if queue_s is not None:
            self._queue.observe(queue_s)
        self._engine.observe(engine_s)
        self._tokens["prompt"] += prompt_tokens
        self._tokens["completion"] += completion_tokens

    def cache_lookup(self, result: str) -> None:
        """A request looked for its answer in the result cache: `hit`, `miss` or `error`."""
        self._cache_lookups.labels(result).inc()

    def segment_written(self, size: int, seconds: float) -> None:
        """A segment became durable."""
        self._segments.inc()
        self._segment_bytes.inc(size)
        self._segment_seconds.observe(seconds)

    def reclaim_notice(self, source: str) -> None:
        """A notice came from there: `node`, `aws`, `gcp` or `azure`."""
        self._reclaim_notices.labels(source).inc()

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """Show at each scrape whether the worker is ready."""
        self._ready.set_function(ready)

    def watch_in_flight(self, stage: str, count: Callable[[], int]) -> None:
        """Show that count at each scrape."""
        self._in_flight.labels(stage).set_function(count)

    def watch_admission(self, admission: AdmissionFigures) -> None:
        """Show at each scrape what is in the engine, what may be, and what the engine reported last."""
        self._admitted_sequences.set_function(lambda: admission.sequences)
        self._admitted_tokens.set_function(lambda: admission.tokens)
        self._max_sequences.set_function(lambda: admission.sequence_limit)
        self._max_tokens.set_function(lambda: admission.token_limit)
        self._engine_sequences.labels("running").set_function(lambda: admission.load.running)
        self._engine_sequences.labels("waiting").set_function(lambda: admission.load.waiting)
        self._engine_kv_usage.set_function(lambda: admission.load.kv_used)
        self._engine_preemptions.read = lambda: admission.load.preempted

    def watch_servers(self, servers: Callable[[], tuple[int, int]]) -> None:
        """Show at each scrape how many servers of an engine elsewhere answer, and how many are away."""
        self._engine_servers.labels("answering").set_function(lambda: servers()[0])
        self._engine_servers.labels("away").set_function(lambda: servers()[1])

    def lag(self, lag: Mapping[Lane, int]) -> None:
        """What of this worker's share is not settled."""
        now = self._now()
        for lane, count in lag.items():
            self._lag.labels(lane).set(count)
            self._oldest_age.labels(lane).set(self._oldest.age_seconds(lane, now) if count else 0)
            self._deadline_ratio.labels(lane).set(self._oldest.deadline_ratio(lane, now) if count else 0)

    def clock_offset(self, seconds: float) -> None:
        """The store's clock is so many seconds ahead of this machine's."""
        self._clock_offset.set(seconds)

    def ages_by(self, now: Callable[[], float]) -> None:
        """Tell ages by this clock, in Unix seconds."""
        self._now = now

    def retention(self, seconds: float) -> None:
        """How long the queue keeps a message."""
        self._retention.set(seconds)
