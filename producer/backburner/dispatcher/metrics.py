"""The dispatcher's metrics. One object owns them all; the parts report to it what happened and never name a metric."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from backburner.dispatcher.sharing.backlog import Backlog
from backburner.dispatcher.sharing.scheduler import Queue
from backburner.process.clock_keeper import clock_offset_gauge
from backburner_schemas.names import PRIORITIES, Lane


class Metrics:
    """Counters and gauges, all named `backburner_…`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Make the metrics in that registry."""
        self._registry = registry
        self._sent = Counter(
            "backburner_dispatch_sent_requests",
            "Requests of stored jobs that this dispatcher has sent, as the broker acknowledged them.",
            ["pool", "lane"],
            registry=registry,
        )
        self._ended = Counter(
            "backburner_dispatch_jobs",
            "Stored jobs that this dispatcher is through with: sent whole, refused for their input, ended before they "
            "were sent whole, or lost to another dispatcher.",
            ["outcome"],
            registry=registry,
        )
        self._up = Gauge(
            "backburner_dependency_up",
            "Whether a system that the dispatcher needs answers: 1 if so, 0 while it is away.",
            ["dependency"],
            registry=registry,
        )
        self._clock_offset = clock_offset_gauge(registry)

    def sent(self, queue: Queue, requests: int) -> None:
        """The broker has so many more requests in that lane."""
        pool, lane = queue
        self._sent.labels(pool, lane).inc(requests)

    def job_over(self, outcome: str) -> None:
        """This dispatcher is through with a job."""
        self._ended.labels(outcome).inc()

    def dependency(self, name: str, *, up: bool) -> None:
        """Record whether that dependency answers."""
        self._up.labels(name).set(up)

    def clock_offset(self, seconds: float) -> None:
        """The store's clock is so far ahead of this machine's."""
        self._clock_offset.set(seconds)

    def watch(
        self,
        backlog: Backlog,
        claims: Callable[[], int],
        waiting: Callable[[], Mapping[str, int]],
        *,
        now: Callable[[], float],
    ) -> None:
        """Show what is stored and waits, when asked; `now` gives Unix seconds by the store's clock."""
        self._registry.register(_Stored(backlog, claims, waiting, now))


class _Stored(Collector):
    """What the latest survey found."""

    def __init__(
        self,
        backlog: Backlog,
        claims: Callable[[], int],
        waiting: Callable[[], Mapping[str, int]],
        now: Callable[[], float],
    ) -> None:
        self._now = now
        self._backlog = backlog
        self._claims = claims
        self._waiting = waiting

    def collect(self) -> Iterable[Metric]:
        """The gauges."""
        survey, now = self._backlog.survey, self._now()
        lanes = [(pool, Lane(lane)) for pool in survey.workers for lane in PRIORITIES]
        pending, queued, since = survey.pending(), survey.on_the_queue(), survey.queued_since()
        yield _gauge(
            "backburner_dispatch_pending_requests",
            "Requests of stored jobs without a record, sent or not: the same from every dispatcher.",
            {lane: pending.get(lane, 0) for lane in {*lanes, *pending}},
        )
        yield GaugeMetricFamily(
            "backburner_dispatch_pending_with_room_requests",
            "Those of them in lanes of live pools that are below their bound: what more dispatchers could help with.",
            value=survey.pending_with_room(),
        )
        yield _gauge(
            "backburner_dispatch_queued_requests",
            "Requests of stored jobs that lie on the queue, or with a worker.",
            {lane: queued.get(lane, 0) for lane in {*lanes, *queued}},
        )
        yield _gauge(
            "backburner_dispatch_queued_age_seconds",
            "Age of the oldest stored job that has requests on the queue; 0 where none has.",
            {lane: now - since[lane] if lane in since else 0.0 for lane in {*lanes, *since}},
        )
        yield _gauge(
            "backburner_dispatch_ready_workers",
            "Live workers of the lane's pool.",
            {lane: survey.workers[lane[0]] for lane in lanes},
        )
        oldest = survey.unsent_since()
        yield GaugeMetricFamily(
            "backburner_dispatch_oldest_request_age_seconds",
            "Age of the oldest stored job that is not sent whole; 0 if all are.",
            value=now - oldest if oldest is not None else 0.0,
        )
        yield GaugeMetricFamily(
            "backburner_dispatch_claims", "Stored jobs that this dispatcher owns.", value=self._claims()
        )
        waiting = GaugeMetricFamily(
            "backburner_dispatch_waiting_jobs",
            "Stored jobs that wait, by the reason, as far as this dispatcher knows it.",
            labels=["reason"],
        )
        for reason, jobs in self._waiting().items():
            waiting.add_metric([reason], jobs)
        yield waiting


def _gauge(name: str, text: str, values: Mapping[Queue, float]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, text, labels=["pool", "lane"])
    for (pool, lane), value in values.items():
        gauge.add_metric([pool, lane], value)
    return gauge
