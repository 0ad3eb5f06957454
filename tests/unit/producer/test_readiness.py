"""Readiness, and how outages come into it: told once when a system goes away, and once when it is back."""

import logging

import pytest
from prometheus_client import CollectorRegistry

from backburner.process.dependency_monitor import DependencyMonitor
from backburner.process.readiness import Readiness
from backburner_worker.telemetry.telemetry import Telemetry


class Dependency:
    reason: str | None = None

    def unavailable_reason(self) -> str | None:
        return self.reason


@pytest.fixture
def readiness():
    return Readiness()


@pytest.fixture
def store():
    return Dependency()


@pytest.fixture
def queue():
    return Dependency()


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def monitor(store, queue, readiness, registry):
    return DependencyMonitor({"store": store, "queue": queue}, readiness, Telemetry(registry))


def test_a_worker_that_has_not_joined_is_not_ready(readiness):
    assert not readiness.ready
    assert readiness.line.startswith("not ready")
    readiness.join()
    assert (readiness.ready, readiness.line) == (True, "ready")
    readiness.leave()
    assert not readiness.ready
    # A signal can come while the worker joins.
    readiness.join()
    assert not readiness.ready


def test_while_a_system_is_away_it_is_not_ready_and_says_which(readiness, store, queue, monitor):
    readiness.join()
    store.reason = "writes have not been answered for 6 s"
    monitor.look()
    assert (readiness.ready, readiness.line) == (False, "not ready: store: writes have not been answered for 6 s")
    queue.reason = "no broker"
    monitor.look()
    assert readiness.line.endswith("; queue: no broker")
    store.reason = None
    monitor.look()
    assert (readiness.ready, readiness.line) == (False, "not ready: queue: no broker")
    queue.reason = None
    monitor.look()
    assert readiness.ready


def test_an_outage_is_logged_at_its_beginning_and_its_end_alone(store, monitor, caplog):
    with caplog.at_level(logging.WARNING):
        for store.reason in (None, "no answer for 6 s", "no answer for 7 s", "no answer for 8 s", None, None):
            monitor.look()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "dependency unavailable; work waits" in said[0]
    assert "no answer for 6 s" in said[0]
    assert "dependency available again" in said[1]


def test_the_gauge_is_1_for_what_answers_and_0_for_what_is_away(store, monitor, registry):
    def up(dependency):
        return registry.get_sample_value("backburner_dependency_up", {"dependency": dependency})

    monitor.look()
    assert (up("store"), up("queue")) == (1, 1)
    store.reason = "no answer"
    monitor.look()
    assert (up("store"), up("queue")) == (0, 1)
    store.reason = None
    monitor.look()
    assert (up("store"), up("queue")) == (1, 1)
