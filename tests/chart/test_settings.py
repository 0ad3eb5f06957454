"""The variables of each rendered container, read by the settings of the part that runs in it; probes, asked of it."""

import inspect
import re
import urllib.error
import urllib.request

import pytest
from chart.renders import case_files, case_name
from chart.workloads import workloads
from prometheus_client import CollectorRegistry

from backburner.dispatcher.settings import DispatcherSettings
from backburner.gateway.api import routes
from backburner.gateway.settings import GatewaySettings
from backburner.process.health import Health
from backburner.process.readiness import Readiness
from backburner.publishers import check_queue
from backburner.settings import Settings
from backburner_schemas.errors import SettingsError
from backburner_schemas.setting_names import PREFIX
from backburner_worker.settings import WorkerSettings

SETTINGS = {
    "gateway": GatewaySettings,
    "dispatcher": DispatcherSettings,
    "worker": WorkerSettings,
    "fetch-model": WorkerSettings,
    "bootstrap": Settings,
}
"""By the container's name."""
HARMLESS = {"BACKBURNER_HTTP_PORT"}
"""What the bootstrap is given like all others, and does not read."""
FIELDS = {
    "metadata.name": "bb-backburner-worker-chat-0",
    "metadata.namespace": "batch",
    "spec.nodeName": "node-1",
    "status.podIP": "10.0.0.1",
    "metadata.labels['leaderworkerset.sigs.k8s.io/worker-index']": "0",
}
FILES = pytest.mark.parametrize("file", case_files(), ids=case_name)


def containers(render):
    for one in workloads(render.objects):
        for container in one.containers:
            yield one, container


def environment(container):
    """The variables as the kubelet would make them."""
    made = {}
    for variable in container.get("env", []):
        source = variable.get("valueFrom")
        if source is None:
            text = variable.get("value", "")
            made[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda found: made.get(found[1], found[0]), text)
        elif "fieldRef" in source:
            made[variable["name"]] = FIELDS[source["fieldRef"]["fieldPath"]]
        else:
            made[variable["name"]] = "from-a-secret"
    return made


@FILES
def test_every_part_takes_the_variables_that_it_is_given(renders, count, monkeypatch, file):
    for one, container in containers(renders[case_name(file)]):
        if container["name"] == "follower":
            continue  # It runs vLLM alone, and reads none of our settings.
        kind = SETTINGS.get(container["name"])
        if kind is None:
            unread = [name for name in environment(container) if name.startswith(PREFIX)]
            assert not unread, f"{one.name}: what reads the settings of {container['name']}?"
            continue
        with monkeypatch.context() as patch:
            made = environment(container)
            for name, value in made.items():
                patch.setenv(name, value)
            try:
                settings = kind.load()
                if container["name"] != "fetch-model":
                    check_queue(settings)
            except SettingsError as error:
                pytest.fail(f"{one.name}, {container['name']}: {error}")
            unread = {
                name
                for name, value in made.items()
                if name.startswith(PREFIX)
                and value
                and name.removeprefix(PREFIX).lower() not in settings.model_fields_set
            }
            assert unread <= HARMLESS, f"{one.name}: {container['name']} is given what it does not read"
        count(1, "containers whose settings were built from their variables")


@FILES
def test_all_parts_agree_on_the_grace_for_late_results(renders, file):
    graces = {
        environment(container).get("BACKBURNER_FREEZE_GRACE_SECONDS")
        for _, container in containers(renders[case_name(file)])
        if container["name"] in {"gateway", "dispatcher", "worker"}
    }
    assert len(graces) <= 1


@FILES
def test_ports_are_those_that_the_parts_listen_on(renders, monkeypatch, file):
    for one, container in containers(renders[case_name(file)]):
        if container["name"] not in {"gateway", "dispatcher", "worker"}:
            continue
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        with monkeypatch.context() as patch:
            for name, value in environment(container).items():
                patch.setenv(name, value)
            settings = SETTINGS[container["name"]].load()
        wanted = {"health": settings.http_port}
        if container["name"] == "gateway":
            wanted["http"] = settings.gateway_listen_port
        assert ports == wanted, one.name


@pytest.fixture(scope="module")
def health():
    serving = Health(CollectorRegistry(), Readiness(), "127.0.0.1", 0)
    yield serving
    serving.close()


@FILES
def test_probes_and_monitors_ask_paths_that_the_parts_serve(renders, count, health, file):
    served = {route.path for route in routes().routes}
    asked = set()
    for one, container in containers(renders[case_name(file)]):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if get := container.get(probe, {}).get("httpGet"):
                asked.add((get["port"], get["path"], one.name))
    for one in renders[case_name(file)].objects:
        if one["kind"] == "PodMonitor":
            asked |= {
                (each["port"], each.get("path", "/metrics"), one["metadata"]["name"])
                for each in one["spec"]["podMetricsEndpoints"]
            }
    for port, path, who in asked:
        if port == "http":
            assert path in served, who
            continue
        try:
            status = urllib.request.urlopen(f"http://127.0.0.1:{health.port}{path}").status
        except urllib.error.HTTPError as error:
            status = error.code
        assert status in {200, 503}, f"{who} asks {path}, which nothing answers"
    count(len(asked), "probes and monitors, their paths asked of the real server")


def test_a_path_that_nothing_serves_would_be_seen(health):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{health.port}/healthz")


def test_commands_are_those_that_the_programs_take(renders):
    from backburner_worker import __main__ as worker

    source = inspect.getsource(worker.main)
    for render in renders.values():
        for one, container in containers(render):
            if container["name"] == "fetch-model":
                assert container["args"] == ["fetch-model"], one.name
                assert '["fetch-model"]' in source
