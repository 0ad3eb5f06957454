"""Metrics that are counted as plain numbers look as the metrics library's own do."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from backburner_worker.telemetry.fast_metrics import FastCounter, FastHistogram, ReportedCounter

BOUNDS = (0.01, 0.5, 1, 2.5, 60)


def shown(registry: CollectorRegistry) -> list[str]:
    # When a metric was made is of no use to anybody, and these do not tell it.
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.floats(0, 1e3) | st.sampled_from(BOUNDS)))
def test_a_fast_histogram_is_shown_as_a_histogram_is(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(auto_describe=True), CollectorRegistry(auto_describe=True)
    fast = FastHistogram("seconds", "In the engine.", BOUNDS, ours)
    histogram = Histogram("seconds", "In the engine.", buckets=BOUNDS, registry=theirs)
    for value in values:
        fast.observe(value)
        histogram.observe(value)
    assert shown(ours) == shown(theirs)


def test_a_fast_counter_is_shown_as_a_counter_is() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    fast = FastCounter("tokens", "Tokens.", "kind", ours)
    counter = Counter("tokens", "Tokens.", ["kind"], registry=theirs)
    fast.counts.update(prompt=3, completion=0)
    counter.labels("prompt").inc(3)
    counter.labels("completion").inc(0)
    assert shown(ours) == shown(theirs)


def test_a_count_reported_by_something_else_is_shown_as_a_counter_is() -> None:
    ours, theirs = CollectorRegistry(auto_describe=True), CollectorRegistry(auto_describe=True)
    reported = ReportedCounter("preemptions", "Sequences preempted.", ours)
    counter = Counter("preemptions", "Sequences preempted.", registry=theirs)
    assert shown(ours) == shown(theirs)
    reported.read = lambda: 3
    counter.inc(3)
    assert shown(ours) == shown(theirs)
