"""Readiness, and how outages come into it: told once when a system goes away, and once when it is back."""

import logging

import pytest
from prometheus_client import CollectorRegistry

from backburner_worker.process.outages import Outages
from backburner_worker.process.readiness import Readiness
from backburner_worker.process.telemetry import Telemetry


class Systems:
    store: str | None = None
    queue: str | None = None


@pytest.fixture
def readiness():
    return Readiness()


@pytest.fixture
def systems():
    return Systems()


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def outages(readiness, systems, registry):
    asked = {"store": lambda: systems.store, "queue": lambda: systems.queue}
    return Outages(asked, readiness, Telemetry(registry))


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


def test_while_a_system_is_away_it_is_not_ready_and_says_which(readiness, systems, outages):
    readiness.join()
    systems.store = "writes have not been answered for 6 s"
    outages.look()
    assert (readiness.ready, readiness.line) == (False, "not ready: store: writes have not been answered for 6 s")
    systems.queue = "no broker"
    outages.look()
    assert readiness.line.endswith("; queue: no broker")
    systems.store = None
    outages.look()
    assert (readiness.ready, readiness.line) == (False, "not ready: queue: no broker")
    systems.queue = None
    outages.look()
    assert readiness.ready


def test_an_outage_is_logged_at_its_beginning_and_its_end_alone(systems, outages, caplog):
    with caplog.at_level(logging.WARNING):
        for systems.store in (None, "no answer for 6 s", "no answer for 7 s", "no answer for 8 s", None, None):
            outages.look()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "away" in said[0]
    assert "no answer for 6 s" in said[0]
    assert "answers again" in said[1]


def test_the_metric_tells_what_is_away(systems, outages, registry):
    outages.look()
    assert registry.get_sample_value("backburner_away", {"system": "store"}) == 0
    systems.store = "no answer"
    outages.look()
    assert registry.get_sample_value("backburner_away", {"system": "store"}) == 1
    assert registry.get_sample_value("backburner_away", {"system": "queue"}) == 0
