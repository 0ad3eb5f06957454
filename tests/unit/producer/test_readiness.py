"""Readiness, and how outages come into it: told once when a system goes away, and once when it is back."""

import asyncio
import logging

import obstore
import pytest
from clock import Clock
from obstore.exceptions import GenericError
from obstore.store import MemoryStore
from prometheus_client import CollectorRegistry
from waiting import until

from backburner.process.dependency_monitor import DependencyMonitor
from backburner.process.dependency_probe import DependencyProbe
from backburner.process.readiness import Readiness
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_worker.telemetry.telemetry import Telemetry


class Dependency:
    reason: str | None = None
    looks = 0

    def unavailable_reason(self) -> str | None:
        self.looks += 1
        return self.reason


@pytest.fixture
def clock():
    return Clock()


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


async def test_a_store_that_is_back_is_found_without_anybody_who_asks_it(readiness, monkeypatch, clock):
    storage = Storage(MemoryStore(), clock=clock)
    monitor = DependencyMonitor({"store": storage}, readiness, Telemetry(CollectorRegistry()))
    readiness.join()
    with monkeypatch.context() as patch:
        for name in ("put_async", "head_async"):
            patch.setattr(obstore, name, _refusing)
        for asking in (storage.put("a", b""), storage.modified("a")):
            with pytest.raises(StoreError):
                await asking
        clock.now += 60
        monitor.look()
        assert not readiness.ready
        with pytest.raises(StoreError):
            await storage.ask(keys.PROBE)
    probing = asyncio.create_task(DependencyProbe(storage, lambda: storage.ask(keys.PROBE), pause=0.01).run())
    await until(lambda: storage.unavailable_reason() is None)
    monitor.look()
    assert readiness.ready
    probing.cancel()


async def _refusing(*_, **__):
    raise GenericError("connection refused")


async def test_a_store_that_is_there_is_not_asked_and_one_that_hangs_is_asked_again(store, monkeypatch):
    monkeypatch.setattr("backburner.process.dependency_probe._ASK_SECONDS", 0.01)
    asked = []

    async def ask():
        asked.append(store.reason)
        if len(asked) == 3:
            store.reason = None
        await asyncio.Event().wait()

    probing = asyncio.create_task(DependencyProbe(store, ask, pause=0.001).run())
    store.reason = "no answer"
    await until(lambda: len(asked) == 3)
    looked = store.looks
    await until(lambda: store.looks > looked + 3)
    assert len(asked) == 3
    probing.cancel()
