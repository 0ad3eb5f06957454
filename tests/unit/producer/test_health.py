"""Health over HTTP: ready only when told, alive while the loop turns, metrics beside."""

import asyncio
import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry

from backburner.process.health import Health
from backburner.process.readiness import Readiness
from backburner_schemas.codec import Origin, Unaddressed
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import SettingsError, Undeliverable
from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery
from backburner_worker.telemetry.telemetry import Telemetry


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def readiness():
    return Readiness()


@pytest.fixture
def health(registry, readiness):
    running = Health(registry, readiness, "127.0.0.1", 0)
    yield running
    running.close()


def ask(health, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{health.port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_is_ready_only_while_the_worker_has_joined_and_nothing_is_away(health, readiness):
    assert ask(health, "/readyz")[0] == 503
    readiness.join()
    assert ask(health, "/readyz") == (200, "ready\n")
    readiness.note("store", "no answer for 6 s")
    assert ask(health, "/readyz") == (503, "not ready: store: no answer for 6 s\n")
    readiness.note("store", None)
    assert ask(health, "/readyz")[0] == 200
    readiness.leave()
    assert ask(health, "/readyz")[0] == 503


def test_it_is_alive_while_the_model_loads(health):
    assert ask(health, "/livez") == (200, "alive\n")


async def test_it_is_not_alive_when_the_loop_is_stuck(health, monkeypatch):
    monkeypatch.setattr("backburner.process.health._STUCK_SECONDS", -1.0)
    beat = asyncio.create_task(health.beat())
    await asyncio.sleep(0)
    status, text = await asyncio.to_thread(ask, health, "/livez")
    beat.cancel()
    assert status == 503
    assert "stuck" in text


def test_metrics_are_those_of_the_registry(health, registry):
    telemetry = Telemetry(registry)
    delivery = Delivery(Unaddressed(Undeliverable()), b"", Origin("q", "0-1", 0.0), Lane.HIGH, DeliveryFacts(), None)
    telemetry.pulled([delivery, delivery])
    telemetry.settled("error", "expired")
    telemetry.lag({Lane.LOW: 7})
    _, text = ask(health, "/metrics")
    assert 'backburner_deliveries_pulled_total{lane="high"} 2.0' in text
    assert 'backburner_deliveries_settled_total{code="expired",outcome="error"} 1.0' in text
    assert 'backburner_lag_messages{lane="low"} 7.0' in text


def test_another_path_is_told_what_there_is(health):
    status, text = ask(health, "/")
    assert status == 404
    assert "/readyz" in text


def test_a_port_that_is_taken_is_told_with_the_setting(health, registry):
    with pytest.raises(SettingsError, match="BACKBURNER_HTTP_PORT"):
        Health(registry, Readiness(), "127.0.0.1", health.port)


def call(health, text):
    caller = socket.create_connection(("127.0.0.1", health.port), timeout=5)
    caller.sendall(text)
    return caller


@pytest.mark.parametrize("text", [b"G", b"GET /metrics HTTP/1.1\r\nA: b\r\n"])
def test_callers_that_send_no_whole_head_keep_no_probe_from_its_answer(health, text):
    callers = [call(health, text) for _ in range(40)]
    assert ask(health, "/livez") == (200, "alive\n")
    # One gave way to the probe.
    assert [caller.recv(1) for caller in callers[:9]] == [b""] * 9
    callers[-1].sendall(b"ET /livez HTTP/1.0\r\n\r\n" if text == b"G" else b"\r\n")
    assert callers[-1].recv(8) == b"HTTP/1.0"
    for caller in callers:
        caller.close()


def test_a_connection_ends_in_time_whatever_its_caller_sends(health, monkeypatch):
    monkeypatch.setattr("backburner.process.health._CONNECTION_SECONDS", 0.0)
    with call(health, b"G") as caller:
        assert caller.recv(1) == b""


def test_closing_ends_the_connections(registry):
    health = Health(registry, Readiness(), "127.0.0.1", 0)
    with call(health, b"G") as caller:
        ask(health, "/livez")
        health.close()
        assert caller.recv(1) == b""
