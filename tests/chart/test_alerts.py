"""Alert rules, tried by promtool; every metric that rules and dashboard name is one that the parts export."""

import json
import re
import subprocess
from pathlib import Path

import chart_tools
import pytest
import yaml
from chart.renders import CHART, ROOT
from prometheus_client import CollectorRegistry

from backburner.dispatcher.metrics import Metrics
from backburner.dispatcher.sharing.backlog import Backlog
from backburner.gateway.telemetry import GatewayTelemetry
from backburner_schemas.names import Lane
from backburner_worker.telemetry.telemetry import Telemetry

RULES = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
TESTS = Path(__file__).with_name("alerts.yaml")
METRIC = re.compile(r"\bbackburner_\w+")


def alerts():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def queries():
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


@pytest.fixture(scope="module")
def exported():
    """The names of all samples that a worker, a gateway and a dispatcher can show."""
    names = set()
    for make in (Telemetry, GatewayTelemetry, dispatcher):
        registry = CollectorRegistry()
        make(registry)
        for family in registry.collect():
            suffixes = {
                "counter": ("_total", "_created"),
                "histogram": ("_bucket", "_count", "_sum"),
            }.get(family.type, ("",))
            names |= {family.name + suffix for suffix in suffixes}
    return names


def dispatcher(registry):
    backlog = Backlog(1)
    Metrics(registry).watch(backlog, lambda: 0, dict, now=lambda: 0.0)


@pytest.fixture(scope="module")
def promtool(tool):
    return tool(chart_tools.promtool)


def test_every_alert_fires_when_it_should_and_not_before(promtool, count, tmp_path):
    tests = tmp_path / "alerts.yaml"
    tests.write_text(TESTS.read_text().replace("RULES", str(RULES)))
    said = subprocess.run([promtool, "test", "rules", str(tests)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    cases = [each for test in yaml.safe_load(TESTS.read_text())["tests"] for each in test["alert_rule_test"]]
    count(len(cases), "moments at which promtool asked which alerts fire")


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not(count):
    cases = [each for test in yaml.safe_load(TESTS.read_text())["tests"] for each in test["alert_rule_test"]]
    fires = {each["alertname"] for each in cases if each.get("exp_alerts")}
    silent = {each["alertname"] for each in cases if not each.get("exp_alerts")}
    names = {rule["alert"] for rule in alerts()}
    assert fires == names
    assert silent == names
    count(len(names), "alert rules, each with a case in which it fires and one in which it does not")


def test_rules_and_queries_are_understood(promtool, tmp_path):
    said = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    # A dashboard's queries become rules, which promtool can read.
    readable = [re.sub(r"\$__rate_interval|\$__range", "5m", one).replace("$namespace", ".*") for one in queries()]
    rules = [{"record": f"query:{number}", "expr": one} for number, one in enumerate(readable)]
    file = tmp_path / "dashboard.yaml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    said = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr


def test_every_metric_that_is_named_is_exported(exported, count):
    named = {name for rule in alerts() for name in METRIC.findall(rule["expr"])}
    named |= {name for query in queries() for name in METRIC.findall(query)}
    templates = "\n".join(file.read_text() for file in (CHART / "templates").rglob("*.*") if file.suffix != ".tpl")
    scaled = set(re.findall(r"\bbackburner_(?:gateway|dispatch)_[a-z_]+", templates))
    assert sorted((named | scaled) - exported) == []
    count(len(named | scaled), "metrics of alerts, dashboard and autoscalers, each exported by a part")


def test_a_metric_that_nothing_exports_would_be_seen(exported):
    assert "backburner_dispatch_ready_worker" not in exported
    assert "backburner_lag_messages" in exported


def test_labels_that_are_read_are_labels_of_the_metric():
    registry = CollectorRegistry()
    telemetry = Telemetry(registry)
    telemetry.settled("dead_letter", "poison")
    telemetry.lag({Lane.LOW: 1})
    telemetry.dependency("store", up=True)
    labels = {sample.name: set(sample.labels) for family in registry.collect() for sample in family.samples}
    assert labels["backburner_deliveries_settled_total"] == {"outcome", "code"}
    # By which alerts tell a new counter from a gap in scrapes.
    assert labels["backburner_deliveries_settled_created"] == {"outcome", "code"}
    assert labels["backburner_oldest_message_age_seconds"] == {"lane"}
    assert labels["backburner_dependency_up"] == {"dependency"}


def test_every_alert_has_its_paragraph():
    page = (ROOT / "docs" / "alerts.md").read_text()
    assert re.findall(r"^## (Backburner\w+)$", page, re.MULTILINE) == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}


def test_the_chart_brings_rules_and_dashboard_as_they_are(renders):
    objects = renders["everything"].objects
    (rules,) = (one for one in objects if one["kind"] == "PrometheusRule")
    found = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    for rule, rendered in zip(alerts(), found, strict=True):
        # Templates in annotations are Prometheus' own, and labels of the values' come beside the rule's.
        assert rendered["annotations"] == rule["annotations"]
        assert rendered["labels"] == {**rule["labels"], "team": "ml-platform"}
        assert rendered["expr"].split() == rule["expr"].split()
    dashboards = [
        one for one in objects if one["kind"] == "ConfigMap" and "grafana_dashboard" in one["metadata"]["labels"]
    ]
    (text,) = (text for one in dashboards for text in one["data"].values())
    assert json.loads(text) == json.loads(DASHBOARD.read_text())


def test_who_has_no_gateways_by_choice_is_not_told_of_it(render_with):
    values = {"assumeApis": True, "gateway": {"enabled": False}, "monitoring": {"rules": {"enabled": True}}}
    (rules,) = (one for one in render_with(values) if one["kind"] == "PrometheusRule")
    found = [rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert found == [rule["alert"] for rule in alerts() if rule["alert"] != "BackburnerGatewayAway"]


def test_a_dashboard_has_no_two_panels_in_one_place(count):
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert len({panel["id"] for panel in panels}) == len(panels)
    count(len(queries()), "queries of the dashboard")
