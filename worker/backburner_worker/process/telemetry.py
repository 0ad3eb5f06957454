"""The worker's metrics. One object owns them all; the parts report to it what happened and never name a metric."""

from collections import Counter as Counting
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from backburner_schemas.names import Lane
from backburner_worker.admission.admission import Admission
from backburner_worker.process.fast_metrics import Spread, Tally
from backburner_worker.sources.base import KeepsMarks, MarkFigures, Source

_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)


class Telemetry:
    """Counters, gauges and histograms, all named `backburner_…`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Make the metrics in that registry, which `/metrics` shows beside vLLM's own."""
        self._pulled = Counter("backburner_pulled", "Deliveries pulled.", ["lane"], registry=registry)
        self._settled = Counter(
            "backburner_settled", "Deliveries settled, by what became of them.", ["outcome", "code"], registry=registry
        )
        tokens = Tally("backburner_tokens", "Tokens of answered requests.", "kind", registry)
        self._tokens = tokens.counts
        self._tokens.update(prompt=0, completion=0)
        self._queue = Spread("backburner_queue_seconds", "From the producer to the engine.", _SECONDS, registry)
        self._engine = Spread("backburner_engine_seconds", "In the engine.", _SECONDS, registry)
        self._cache_looks = Counter(
            "backburner_result_cache_looks",
            "Looks into the result cache, by what came of it.",
            ["found"],
            registry=registry,
        )
        self._segments = Counter("backburner_segments", "Segments written.", registry=registry)
        self._segment_bytes = Counter("backburner_segment_bytes", "Bytes in segments written.", registry=registry)
        self._segment_seconds = Histogram(
            "backburner_segment_seconds", "Writing a segment, outages included.", buckets=_SECONDS, registry=registry
        )
        self._redelivered = Counter(
            "backburner_deliveries_redelivered", "Deliveries that the queue had given before.", registry=registry
        )
        self._retried = Counter("backburner_retries", "Requests put back, by why.", ["code"], registry=registry)
        self._duplicates = Counter(
            "backburner_results_duplicate",
            "Records beyond the first of their request, counted when a job is frozen.",
            registry=registry,
        )
        self._uncommitted = Gauge(
            "backburner_uncommitted", "Deliveries whose end the queue does not have yet.", registry=registry
        )
        self._dependency_up = Gauge(
            "backburner_dependency_up",
            "Whether a system that the worker needs answers: 1 if so, 0 while it is away.",
            ["dependency"],
            registry=registry,
        )
        self._marks_kept = Gauge(
            "backburner_marks_kept", "Whether the broker keeps commit metadata.", registry=registry
        )
        self._marks_fill = Gauge(
            "backburner_marks_fill", "The fullest partition's share of its commit metadata.", registry=registry
        )
        self._marks_stopped = Gauge(
            "backburner_marks_stopped", "Partitions not read on, their commit metadata being full.", registry=registry
        )
        self._ready = Gauge("backburner_ready", "Whether the worker is warm and takes in work.", registry=registry)
        self._held = Gauge("backburner_held", "Deliveries held, by stage.", ["stage"], registry=registry)
        self._admitted = Gauge(
            "backburner_admitted",
            "What is in the engine: sequences, and KV tokens expected.",
            ["of"],
            registry=registry,
        )
        self._admission_limit = Gauge(
            "backburner_admission_limit", "What may be in the engine now; 0 tokens for any.", ["of"], registry=registry
        )
        self._engine_sequences = Gauge(
            "backburner_engine_sequences", "What the engine tells, by state.", ["state"], registry=registry
        )
        self._engine_kv_used = Gauge(
            "backburner_engine_kv_used", "Share of the KV cache, as the engine tells.", registry=registry
        )
        self._engine_preempted = Gauge(
            "backburner_engine_preempted", "Sequences thrown out so far for want of KV cache.", registry=registry
        )
        self._lag = Gauge(
            "backburner_lag", "Messages not settled, of this worker's share.", ["lane"], registry=registry
        )

    def pulled(self, lanes: Iterable[Lane]) -> None:
        """Deliveries came, one from each of these lanes."""
        for lane, count in Counting(lanes).items():
            self._pulled.labels(lane).inc(count)

    def redelivered(self, count: int) -> None:
        """That many of the deliveries that came had been given before."""
        self._redelivered.inc(count)

    def retried(self, code: str) -> None:
        """A request was put back after that error."""
        self._retried.labels(code).inc()

    def duplicates(self, count: int) -> None:
        """A job was frozen that has so many records too many."""
        self._duplicates.inc(count)

    def watch_uncommitted(self, count: Callable[[], int]) -> None:
        """Show that count at each scrape."""
        self._uncommitted.set_function(count)

    def dependency(self, name: str, *, up: bool) -> None:
        """Whether that dependency, `store`, `queue` or `retries`, answers. For the dependency monitor alone."""
        self._dependency_up.labels(name).set(up)

    def marks(self, figures: MarkFigures) -> None:
        """The state of the marks on the broker."""
        if figures.kept is not None:
            self._marks_kept.set(figures.kept)
        self._marks_fill.set(figures.fill)
        self._marks_stopped.set(figures.stopped)

    def queue(self, source: Source) -> None:
        """The state of the queue now."""
        self.lag(source.lag())
        if isinstance(source, KeepsMarks):
            self.marks(source.marks())

    def settled(self, outcome: str, code: str = "", count: int = 1) -> None:
        """So many deliveries ended that way."""
        self._settled.labels(outcome, code).inc(count)

    def answered(self, queue_s: float | None, engine_s: float, prompt_tokens: int, completion_tokens: int) -> None:
        """The engine answered a request."""
        if queue_s is not None:
            self._queue.observe(queue_s)
        self._engine.observe(engine_s)
        self._tokens["prompt"] += prompt_tokens
        self._tokens["completion"] += completion_tokens

    def cache_looked(self, found: str) -> None:
        """A request looked for its answer in the result cache: `hit`, `miss` or `error`."""
        self._cache_looks.labels(found).inc()

    def segment_written(self, size: int, seconds: float) -> None:
        """A segment became durable."""
        self._segments.inc()
        self._segment_bytes.inc(size)
        self._segment_seconds.observe(seconds)

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """Show at each scrape whether the worker is ready."""
        self._ready.set_function(ready)

    def watch_held(self, stage: str, count: Callable[[], int]) -> None:
        """Show that count at each scrape."""
        self._held.labels(stage).set_function(count)

    def watch_admission(self, admission: Admission) -> None:
        """Show at each scrape what is in the engine, what may be, and what the engine reported last."""
        self._admitted.labels("sequences").set_function(lambda: admission.sequences)
        self._admitted.labels("tokens").set_function(lambda: admission.tokens)
        self._admission_limit.labels("sequences").set_function(lambda: admission.sequence_limit)
        self._admission_limit.labels("tokens").set_function(lambda: admission.token_limit)
        self._engine_sequences.labels("running").set_function(lambda: admission.load.running)
        self._engine_sequences.labels("waiting").set_function(lambda: admission.load.waiting)
        self._engine_kv_used.set_function(lambda: admission.load.kv_used)
        self._engine_preempted.set_function(lambda: admission.load.preempted)

    def lag(self, lag: Mapping[Lane, int]) -> None:
        """What of this worker's share is not settled."""
        for lane, count in lag.items():
            self._lag.labels(lane).set(count)
