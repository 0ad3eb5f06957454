"""What a queue's logs lost, as a worker's metrics show it."""

from prometheus_client import CollectorRegistry

from backburner_worker.sources.base import LogLosses
from backburner_worker.telemetry.telemetry import Telemetry


def test_losses_are_counted_by_queue_from_the_sums_that_a_source_reports():
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    telemetry.log_losses(LogLosses({}, {}))
    telemetry.log_losses(LogLosses({"a": 5}, {"a": 1}))
    telemetry.log_losses(LogLosses({"a": 5, "b": 2}, {"a": 3}))

    def shown(name: str, queue: str) -> float | None:
        return registry.get_sample_value(f"backburner_queue_{name}_total", {"queue": queue})

    assert (shown("records_lost", "a"), shown("records_lost", "b")) == (5, 2)
    assert (shown("logs_restarted", "a"), shown("logs_restarted", "b")) == (3, None)
