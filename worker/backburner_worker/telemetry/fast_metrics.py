"""Metrics kept as plain numbers, by one thread, and put into form when they are scraped.

The metrics library's own take a lock for each step, which for a request took longer than deciding its outcome.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class FastCounter(Collector):
    """A counter with one label."""

    def __init__(self, name: str, text: str, label: str, registry: CollectorRegistry) -> None:
        self._name, self._text, self._label = name, text, label
        self.counts: dict[str, float] = {}
        """By the label's value."""
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metric as it stands."""
        family = CounterMetricFamily(self._name, self._text, labels=[self._label])
        for value, count in [*self.counts.items()]:
            family.add_metric([value], count)
        yield family

    def describe(self) -> Iterator[Metric]:
        """What the registry takes names from."""
        return self.collect()


class ReportedCounter(Collector):
    """A counter without labels that something else counts."""

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._name, self._text = name, text
        self.read: Callable[[], float] = float
        """Returns the count so far; 0 until it is set."""
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metric as it stands."""
        yield CounterMetricFamily(self._name, self._text, value=self.read())

    def describe(self) -> Iterator[Metric]:
        """What the registry takes names from."""
        return self.collect()


class FastHistogram(Collector):
    """A histogram."""

    def __init__(self, name: str, text: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        """`buckets` are upper bounds, ascending; one without a bound comes last."""
        self._name, self._text = name, text
        self._bounds = [*map(float, buckets)]
        self._counts = [0] * (len(buckets) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, value: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[Metric]:
        """The metric as it stands."""
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        counts = accumulate([*self._counts])
        family = HistogramMetricFamily(self._name, self._text)
        family.add_metric([], [*zip(bounds, counts, strict=True)], self._sum)
        yield family

    def describe(self) -> Iterator[Metric]:
        """What the registry takes names from."""
        return self.collect()
