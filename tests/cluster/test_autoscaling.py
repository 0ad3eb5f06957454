"""Gateways and dispatchers that come and go with their load, and workers that never do."""

import base64
import contextlib
import json
import sys
import time
from pathlib import Path

import pytest
from harness.process import stopped

_PROGRAMS = Path(__file__).parent / "programs"
_GROUP = "chat"
_REPLICAS = 2
_MOST = 3
_JOBS = tuple(f"scaled-{number}" for number in range(6))
_JOB_REQUESTS = 400
_REQUESTS = _JOB_REQUESTS * len(_JOBS)
_HELD = 8
_LATE = 4
_SCALE_SECONDS = 120.0
_DRAIN_SECONDS = 25
# An operator's windows are minutes; these let a test see both ways.
_AT_ONCE = {
    "scaleUp": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 1}]},
    "scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 1}]},
}


def _scaled(kind, **more):
    return {"kind": kind, "minReplicas": 1, "maxReplicas": _MOST, "behavior": _AT_ONCE, **more}


def _keda(threshold):
    return _scaled("keda", keda={"pollingIntervalSeconds": 1, "threshold": threshold})


@pytest.fixture(scope="module")
def scaled(deploy):
    with deploy("scaled") as made:
        yield made


def _values(made, **parts):
    # Some 60 answers a second, all workers together, and jobs for three dispatchers: two for each at a time.
    pace = {"BACKBURNER_FAKE_LATENCY_SECONDS": "0.25", "BACKBURNER_CONCURRENCY": "8"}
    group = made.group(replicas=_REPLICAS, env=pace)
    values = made.values({_GROUP: group}, **parts)
    values["gateway"]["drainSeconds"] = _DRAIN_SECONDS
    values["dispatcher"]["jobs"] = 2
    return values


@contextlib.contextmanager
def _program(made, name, *words):
    """Runs a program of the tests against the gateway; yields what tells it to finish and gives what it printed."""
    service = made.cluster.get("service", f"{made.fullname}-gateway", "-n", made.name)["spec"]
    address = f"{service['clusterIP']}:{service['ports'][0]['port']}"
    secret = made.cluster.get("secret", f"{made.fullname}-admin-key", "-n", made.name)["data"]["api-key"]
    folder = made.images.folder
    finish, log = folder / f"{name}-{time.monotonic_ns()}.finish", folder / f"{name}-{time.monotonic_ns()}.log"
    env = {**made.clients.settings(), "OPENAI_API_KEY": base64.b64decode(secret).decode()}
    running = made.cluster.start(sys.executable, _PROGRAMS / f"{name}.py", address, *words, finish, log=log, env=env)
    with stopped(running):

        def finished():
            finish.touch()
            running.wait(_SCALE_SECONDS)
            return json.loads(log.read_text().splitlines()[-1])

        made.cluster.until(lambda: "started" in log.read_text(), f"the start of {name}")
        yield finished


def _replicas(made, component):
    """Pods of a part that are there, those on their way out aside."""
    return sum("deletionTimestamp" not in pod["metadata"] for pod in made.pods(component))


def _ready(made, component):
    status = made.cluster.get("deployment", f"{made.fullname}-{component}", "-n", made.name)["status"]
    return status.get("readyReplicas", 0)


def _until_replicas(made, component, count):
    started = time.monotonic()
    what = f"{count} of {component}"
    made.cluster.until(lambda: _replicas(made, component) == count, what, seconds=_SCALE_SECONDS, every=0.5)
    return time.monotonic() - started


def _workers(made):
    """The workers' set: its replicas and how often anybody changed it."""
    found = made.cluster.get("statefulset", f"{made.fullname}-worker-{_GROUP}", "-n", made.name)
    return found["spec"]["replicas"], found["metadata"]["generation"]


def _targets(made):
    scalers = made.cluster.items("hpa", "-n", made.name)
    return {(one["spec"]["scaleTargetRef"]["kind"], one["spec"]["scaleTargetRef"]["name"]) for one in scalers}


@pytest.fixture(scope="module")
def by_their_own_metrics(scaled, keda):
    scaled.install(
        _values(scaled, gateway={"autoscaling": _keda(2)}, dispatcher={"autoscaling": _keda(_REQUESTS // 4)})
    )
    return scaled


def test_keda_takes_gateways_out_and_in_and_no_upload_is_lost(by_their_own_metrics, figures):
    made = by_their_own_metrics
    before = _workers(made)
    _until_replicas(made, "gateway", 1)
    with _program(made, "held_uploads", str(_HELD)) as first:
        out = _until_replicas(made, "gateway", _MOST)
        made.cluster.until(lambda: _ready(made, "gateway") == _MOST, "all gateways ready")
        # The late ones are spread over all gateways, so over those too that go again.
        with _program(made, "held_uploads", str(_LATE)) as late:
            ended = first()
            into = _until_replicas(made, "gateway", 2)
            last = late()
    assert (ended, last) == ({"same": _HELD, "failed": []}, {"same": _LATE, "failed": []})
    _until_replicas(made, "gateway", 1)
    assert _workers(made) == before
    figures.holds(f"KEDA: gateways from 1 to {_MOST} and back by requests in flight, all {_HELD + _LATE} uploads whole")
    figures.measure("KEDA: gateways out, and the first one in again", f"{out:.0f} s, {into:.0f} s")


def test_keda_takes_dispatchers_out_and_in_and_no_request_is_lost(by_their_own_metrics, figures):
    made = by_their_own_metrics
    before = _workers(made)
    _until_replicas(made, "dispatcher", 1)
    asked = [f"{job}={_JOB_REQUESTS}" for job in _JOBS]
    made.clients.program("submit", "--stored", *asked)
    out = _until_replicas(made, "dispatcher", _MOST)
    # Jobs are under way while they go again, for what has an answer waits no more.
    into = _until_replicas(made, "dispatcher", 1)
    for job in _JOBS:
        made.clients.backburner("watch", job, seconds=_SCALE_SECONDS)
    verdict = made.clients.program("judge", "fake", "30", *asked, part="admin")
    assert not verdict["breaches"], verdict
    assert _workers(made) == before
    assert _targets(made) == {("Deployment", f"{made.fullname}-{part}") for part in ("gateway", "dispatcher")}
    figures.holds(f"KEDA: dispatchers from 1 to {_MOST} and back by what waits, each of {_REQUESTS} requests once")
    figures.holds(f"KEDA: the workers' {_REPLICAS} replicas were never touched")
    figures.measure("KEDA: dispatchers out, and in again with the job", f"{out:.0f} s, {into:.0f} s")


def test_cpu_takes_gateways_out_and_in(by_their_own_metrics, metrics_server, full, figures):
    full("autoscaling by CPU")
    made = by_their_own_metrics
    before = _workers(made)
    requests = {"requests": {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "32Mi"}}
    gateway = {"autoscaling": _scaled("hpa", cpuPercent=60), "resources": requests}
    made.install(_values(made, gateway=gateway))
    _until_replicas(made, "gateway", 1)
    with _program(made, "busy_calls", "6") as busy:
        out = _until_replicas(made, "gateway", _MOST)
        answered = busy()
    into = _until_replicas(made, "gateway", 1)
    assert answered.keys() == {"200"}
    assert _workers(made) == before
    assert _targets(made) == {("Deployment", f"{made.fullname}-gateway")}
    figures.holds(f"HPA: gateways from 1 to {_MOST} and back by CPU, and each of {answered['200']} calls was answered")
    figures.measure("HPA: gateways out, and in again", f"{out:.0f} s, {into:.0f} s")
