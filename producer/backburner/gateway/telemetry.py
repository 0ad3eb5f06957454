"""The gateway's metrics. Their names are what dashboards and alerts read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from backburner.process.clock_keeper import clock_offset_gauge

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


class GatewayTelemetry:
    """Counts calls and how they went. One for each registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._in_flight = Gauge(
            "backburner_gateway_requests_in_flight", "Calls that are being served.", registry=registry
        )
        self._requests = Counter(
            "backburner_gateway_requests",
            "Calls served, by the route's template, the method and the status.",
            ["route", "method", "code"],
            registry=registry,
        )
        self._seconds = Histogram(
            "backburner_gateway_request_seconds",
            "Seconds from a call's head to the end of its answer.",
            ["route"],
            buckets=_BUCKETS,
            registry=registry,
        )
        self._served: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._limits = Counter(
            "backburner_gateway_limits_hit",
            "Calls that a limit refused, by the error's code.",
            ["code"],
            registry=registry,
        )
        self._up = Gauge(
            "backburner_dependency_up",
            "Whether what is needed answers: store, queue.",
            ["dependency"],
            registry=registry,
        )
        self._clock_offset = clock_offset_gauge(registry)
        self._ready = Gauge("backburner_gateway_ready", "Whether the gateway takes calls.", registry=registry)

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Count a call while the block lasts."""
        self._in_flight.inc()
        try:
            yield
        finally:
            self._in_flight.dec()

    def served(self, route: str, method: str, status: int, seconds: float) -> None:
        """A call was answered."""
        kind = route, method, status
        if kind not in self._served:
            # Looking a metric's child up takes longer than counting with it. There are as many as routes and statuses.
            self._served[kind] = self._requests.labels(route, method, str(status)), self._seconds.labels(route)
        count, duration = self._served[kind]
        count.inc()
        duration.observe(seconds)

    def limited(self, code: str) -> None:
        """A limit refused a call."""
        self._limits.labels(code).inc()

    def dependency(self, name: str, *, up: bool) -> None:
        """Record whether that dependency answers."""
        self._up.labels(name).set(up)

    def clock_offset(self, seconds: float) -> None:
        """The store's clock is so many seconds ahead of this machine's."""
        self._clock_offset.set(seconds)

    def watch_ready(self, ready: Callable[[], bool]) -> None:
        """Show this with the gauge of readiness."""
        self._ready.set_function(ready)
