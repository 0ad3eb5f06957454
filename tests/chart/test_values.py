"""What the chart refuses: every constraint of its schema, every rule that joins values, every refusal of a template."""

import copy
import json
import re
from concurrent.futures import ThreadPoolExecutor

import chart_tools
import jsonschema
import pytest
import yaml
from chart.renders import CHART, case_files, case_name, template

SMALLEST = next(file for file in case_files() if case_name(file) == "smallest")
RULES = json.loads((CHART / "schema-rules.json").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
GROUP = "workers.groups.chat"
OIDC = {"issuer": "https://id.example.com", "audience": ["batch"]}
EDGE = {"kind": "envoy-gateway", "jwksUri": "https://id.example.com/jwks", "apiKeys": False}


def merged(values, over):
    result = dict(values)
    for key, value in over.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


def nested(path, value):
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


@pytest.fixture(scope="module")
def smallest():
    """All values of the smallest installation, the chart's defaults included."""
    return merged(yaml.safe_load((CHART / "values.yaml").read_text()), yaml.safe_load(SMALLEST.read_text()))


def valid(schema, values):
    return jsonschema.Draft7Validator(schema).is_valid(values)


# --- the schema: every constraint -----------------------------------------------------------------------------------


def constraints(schema, path=()):
    """Each path in the values with a value that one constraint there refuses."""
    properties = schema.get("properties", {})
    if schema.get("additionalProperties") is False:
        yield (*path, "noSuchValue"), 1, "an unknown key"
    for word, value in offences(schema):
        yield path, value, word
    for key, inner in properties.items():
        yield from constraints(inner, (*path, key))
    if isinstance(extra := schema.get("additionalProperties"), dict) and path == ("workers", "groups"):
        yield from constraints(extra, (*path, "chat"))


BEYOND = {
    "enum": ("what is not in the list", lambda _: "no-such-choice"),
    "const": ("anything", lambda _: {}),
    "minimum": ("less than the least", lambda least: least - 1),
    "maximum": ("more than the most", lambda most: most + 1),
    "minLength": ("a text that is too short", lambda least: "a" * (least - 1)),
    "maxLength": ("a text that is too long", lambda most: "a" * (most + 1)),
    "minItems": ("an empty list", lambda _: []),
    "minProperties": ("an empty map", lambda _: {}),
    "pattern": (
        "a text of another form",
        lambda form: next(text for text in ("no such form!", "\n", "~~~") if not re.search(form, text)),
    ),
}


def offences(schema):
    """What each constraint refuses, in words, and a value of that kind."""
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types:
        wrong = next(value for value in ([], {}, True, "x") if not valid({"type": types}, value))
        yield f"a type other than {' or '.join(types)}", wrong
    for constraint, (word, beyond) in BEYOND.items():
        if schema.get(constraint) is not None and (constraint, schema[constraint]) != ("minLength", 0):
            yield word, beyond(schema[constraint])
    if isinstance(schema.get("items"), dict) and "array" in types:
        for word, value in offences(schema["items"]):
            yield f"an item: {word}", [value]


def test_every_constraint_of_the_schema_refuses(smallest, count):
    assert valid(SCHEMA, smallest)
    number = 0
    for path, value, word in constraints(SCHEMA):
        values = copy.deepcopy(smallest)
        place = values
        for key in path[:-1]:
            place = place.setdefault(key, {})
        if not path:
            continue
        place[path[-1]] = value
        assert not valid(SCHEMA, values), f"{'.'.join(path)} takes {word}: {value!r}"
        number += 1
    assert number > 500
    count(number, "values that the schema refuses, one for each of its constraints")


def values_in(one):
    """The values that an example of Argo CD or Flux hands to Helm, at any depth."""
    if isinstance(one, list):
        for each in one:
            yield from values_in(each)
    elif isinstance(one, dict):
        for key, inner in one.items():
            if key in {"valuesObject", "values"} and isinstance(inner, dict):
                yield inner
            else:
                yield from values_in(inner)


@pytest.mark.parametrize("name", ["argocd/application.yaml", "flux/release.yaml"])
def test_examples_of_gitops_give_values_that_the_chart_takes(count, name):
    objects = yaml.safe_load_all((CHART.parent / name).read_text())
    (values,) = values_in(list(objects))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert list(jsonschema.Draft7Validator(SCHEMA).iter_errors(merged(defaults, values))) == []
    count(1, "examples of GitOps, their values by the schema")


# --- the schema: rules that join values -----------------------------------------------------------------------------

JOINED = {
    "an issuer without an audience": {"gateway": {"oidc": {"issuer": "https://id.example.com"}}},
    "an Ingress without a host": {"gateway": {"ingress": {"enabled": True}}},
    "a check at the edge without an issuer": {
        "gateway": {"edge": EDGE, "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}}
    },
    "Istio with API keys": {"gateway": {"edge": {"kind": "istio", "apiKeys": True}, "oidc": OIDC}},
    "Envoy Gateway without a route": {"gateway": {"edge": EDGE, "oidc": OIDC}},
    "a gateway scaled by a Prometheus that is nowhere": {
        "gateway": {"autoscaling": {"kind": "keda", "keda": {"source": "prometheus"}}}
    },
    "a dispatcher scaled by a Prometheus that is nowhere": {
        "dispatcher": {"autoscaling": {"kind": "keda", "keda": {"source": "prometheus"}}}
    },
    "a large model from a claim": nested(f"{GROUP}.model", {"cache": {"kind": "pvc"}, "sizeGiB": 101}),
    "a model that is fetched and in the image": nested(f"{GROUP}.model.cache", {"kind": "image"}),
    "a prefetch of nothing": nested(
        GROUP, {"model": {"name": "m", "path": "/m", "source": None, "prefetch": {"enabled": True}}}
    ),
    "servers that are nowhere": nested(f"{GROUP}.engine", {"kind": "openai-http"}),
    "no group": {"workers": {"groups": {"chat": None}}},
    "an autoscaler on workers": {"workers": {"autoscaling": {"enabled": True}}},
    "an autoscaler on a group": nested(f"{GROUP}.autoscaling", {"kind": "hpa", "maxReplicas": 3}),
    "no nodes of its own": nested(f"{GROUP}.nodeSelector", None),
    "no taint of its own": nested(f"{GROUP}.tolerations", None),
    "an empty list of taints": nested(f"{GROUP}.tolerations", []),
    "an unknown value": {"gateway": {"replica": 3}},
    "an unknown value of a group": nested(f"{GROUP}.gpus", 8),
    "an engine that there is not": nested(f"{GROUP}.engine.kind", "tgi"),
    "fewer than no workers": nested(f"{GROUP}.replicas", -1),
    "root": {"securityContext": {"runAsUser": 0}},
    "a queue of another kind": {"queue": {"url": "amqp://broker"}},
    "a store of another kind": {"store": {"url": "file:///data"}},
    "a digest that is none": {"gateway": {"image": {"digest": "sha256:abc"}}},
    "a checksum that is none": nested(f"{GROUP}.model.checksum", "abc"),
    "an empty node selector": nested(f"{GROUP}", {"nodeSelector": {"pool": None}}),
    "no queue": {"queue": {"url": ""}},
    "no store": {"store": {"url": ""}},
    "no registry": {"image": {"registry": ""}},
    "labels of the chart's own": {"commonLabels": {"app.kubernetes.io/name": "other"}},
    "a group's name that no object can have": {"workers": {"groups": {"Chat_1": {}}}},
}


def apply(smallest, over):
    """As Helm lays a values file over others: a null takes away."""
    result = merged(smallest, over)

    def take_away(place, said):
        for key, value in said.items():
            if value is None:
                place.pop(key, None)
            elif isinstance(value, dict) and isinstance(place.get(key), dict):
                take_away(place[key], value)

    result = copy.deepcopy(result)
    take_away(result, over)
    return result


@pytest.mark.parametrize("what", JOINED)
def test_what_cannot_work_is_refused_by_the_schema(smallest, count, what):
    assert not valid(SCHEMA, apply(smallest, JOINED[what]))
    count(1, "combinations that the schema refuses")


def rules(schema, path=()):
    """The place of each rule that joins values."""
    for index, _ in enumerate(schema.get("allOf", [])):
        yield (*path, "allOf", index)
    for word in ("properties",):
        for key, inner in schema.get(word, {}).items():
            yield from rules(inner, (*path, word, key))
    if isinstance(extra := schema.get("additionalProperties"), dict):
        yield from rules(extra, (*path, "additionalProperties"))


@pytest.mark.parametrize(
    "path", list(rules(RULES)), ids=lambda path: "-".join(map(str, path)).replace("properties-", "")
)
def test_every_rule_that_joins_values_has_a_case_that_it_alone_refuses(smallest, count, path):
    schema = copy.deepcopy(SCHEMA)
    place, full = schema, SCHEMA
    for key in path[:-1]:
        place, full = place[key], full[key]
    place[path[-1]] = {}
    loosened = [what for what, over in JOINED.items() if valid(schema, apply(smallest, over))]
    assert loosened, f"no case of JOINED needs this rule: {json.dumps(full[path[-1]])}"
    count(1, "rules that join values, each with a case that nothing else refuses")


# --- templates ------------------------------------------------------------------------------------------------------

SASL = {"securityProtocol": "SASL_SSL", "existingSecret": {"name": "k"}}
REFUSED = [
    ({"workers": {"autoscaling": {}}}, "workers.autoscaling: workers have no autoscaler"),
    (nested("workers.defaults.autoscaling", {}), "workers.autoscaling: workers have no autoscaler"),
    (nested(f"{GROUP}.autoscaling", {}), f"{GROUP}.autoscaling: workers have no autoscaler"),
    ({"workers": {"groups": {"chat": None}}}, "workers.groups: there is none"),
    ({"workers": {"mode": "external"}}, "workers.mode: external installs no groups"),
    ({"dispatcher": {"spoolSize": "10Gi"}}, "dispatcher.spoolSize: 10Gi is over dispatcher.resources.limits"),
    ({"dispatcher": {"spoolSize": "8 GB"}}, "8 GB is no size that is known here"),
    ({"queue": {"url": "sqs://eu-west-1", "prefix": "a.b"}}, "a queue's name on SQS has no dots"),
    (
        {"queue": {"url": "sqs://r"}, "kafka": {"topics": {"retentionSeconds": 1209601}}},
        "SQS keeps a message for 1209600",
    ),
    (nested(f"{GROUP}.model.name", ""), f"{GROUP}.model.name: say the name"),
    (nested(f"{GROUP}.nodeSelector", None), f"{GROUP}.nodeSelector: name the nodes"),
    (nested(f"{GROUP}.tolerations", []), f"{GROUP}.tolerations: taint the pool"),
    (nested(f"{GROUP}.model.sizeGiB", 0), f"{GROUP}.model.sizeGiB: the volume for a fetched model"),
    (nested(f"{GROUP}.model.cache.kind", "image"), f"{GROUP}.model: it lies in an image, and has a source too"),
    (
        nested(f"{GROUP}.model", {"cache": {"kind": "pvc"}, "sizeGiB": 101}),
        f"{GROUP}.model.cache: 101 GiB from a claim take a worker many minutes",
    ),
    (nested(f"{GROUP}.model.prefetch.enabled", True), f"{GROUP}.model.prefetch: it warms the nodes' own folders"),
    (nested(f"{GROUP}.engine.kind", "openai-http"), f"{GROUP}.engine.urls: name the servers"),
    (
        nested(GROUP, {"leaderWorkerSet": {"size": 2}, "engine": {"kind": "fake"}}),
        f"{GROUP}.leaderWorkerSet.size: vLLM alone splits",
    ),
    (nested(f"{GROUP}.engine.args", ["--tensor-parallel-size", "2"]), f"{GROUP}.engine.args: --tensor-parallel-size"),
    ({"gateway": {"ingress": {"enabled": True}}}, "gateway.ingress.hosts: an Ingress without a host"),
    ({"gateway": {"httpRoute": {"enabled": True, "tls": {"enabled": True}}}}, "gateway.httpRoute.tls: a Gateway needs"),
    ({"gateway": {"httpRoute": {"enabled": True}}}, "gateway.httpRoute.parentRefs: an HTTPRoute without a Gateway"),
    ({"gateway": {"edge": {"kind": "istio"}}}, "gateway.edge.kind: the edge checks tokens of gateway.oidc.issuer"),
    ({"gateway": {"edge": {"kind": "istio"}, "oidc": OIDC}}, "gateway.edge.apiKeys: Istio refuses"),
    ({"gateway": {"edge": EDGE, "oidc": OIDC}}, "gateway.edge.kind: a SecurityPolicy guards an HTTPRoute"),
    (
        {
            "gateway": {
                "edge": EDGE | {"jwksUri": ""},
                "oidc": OIDC,
                "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]},
            }
        },
        "gateway.edge.jwksUri: Envoy Gateway does not look it up",
    ),
    ({"gateway": {"oidc": {"issuer": "https://id.example.com"}}}, "gateway.oidc.audience: an issuer needs"),
    (
        {"gateway": {"quotas": {"toml": "a = 1", "existingConfigMap": "q"}}},
        "gateway.quotas: toml and existingConfigMap",
    ),
    ({"fullnameOverride": "a" * 40, "workers": {"groups": {"chatchatchat": {}}}}, "a set of pods may have 52"),
    ({"kafka": {"existingSecret": {"name": "k"}}}, "the Secret k has a user; set SASL_SSL"),
    ({"workers": {"kafka": {"existingSecret": {"name": "w"}}}}, "the Secret w has a user; set SASL_SSL"),
    ({"kafka": {"caFrom": {"configMap": "c"}}}, "kafka.securityProtocol: PLAINTEXT is without TLS"),
    (
        {"kafka": {"securityProtocol": "SASL_SSL", "mechanism": "OAUTHBEARER"}},
        "kafka.oauth: OAUTHBEARER takes tokens from one place",
    ),
    ({"kafka": {"oauth": {"audience": "kafka"}}}, "kafka.oauth: tokens are for OAUTHBEARER"),
    (
        {"store": {"url": "az://c/folder", "existingSecret": {"name": "s"}}},
        "store.existingSecret: s has a key of S3, and the store is az://c/folder",
    ),
    ({"freezeGraceSeconds": 130}, "freezeGraceSeconds: workers refuse to start unless it is more than the 130 seconds"),
    ({"fullnameOverride": "42"}, "a Service's name has small letters"),
    (
        {"bootstrap": {"serviceAccount": {"create": False}}},
        "bootstrap.serviceAccount.name: the right to make Secrets would be given",
    ),
    (
        {"workers": {"serviceAccount": {"create": False}, "groups": {"chat": {"reclaimNotices": ["node"]}}}},
        "workers.serviceAccount.name: the right to read nodes would be given",
    ),
    (
        nested(f"{GROUP}.model", {"source": "", "path": "/models/m", "cache": {"kind": "pvc"}}),
        f"{GROUP}.model.source: a claim of each worker's own starts empty",
    ),
    (nested(f"{GROUP}.model.path", "/srv/m"), f"{GROUP}.model.path: the model's volume is mounted at /models"),
    (nested(f"{GROUP}.model.source", ""), "has neither a source nor a path"),
    ({"gateway": {"autoscaling": {"kind": "hpa", "minReplicas": 20}}}, "minReplicas is above maxReplicas"),
    (
        {"gateway": {"autoscaling": {"kind": "keda", "keda": {"source": "prometheus"}}}},
        "keda.prometheus.serverAddress: the source is prometheus",
    ),
    (
        {"assumeApis": False, "monitoring": {"podMonitor": {"enabled": True}}},
        "needs monitoring.coreos.com/v1, which this cluster does not have",
    ),
    ({"kafka": {"securityProtocol": "SASL_SSL"}}, "kafka.existingSecret.name: the securityProtocol has SASL"),
    ({"store": {"caFrom": {"configMap": "a", "secret": "b"}}}, "caFrom names a configMap and a secret"),
    (
        {"externalSecrets": {"secrets": {"s": {"data": {"key": "k"}}}}},
        "externalSecrets.store.name: name the store",
    ),
    (
        {"bootstrap": {"aliases": {"chat": "no-such-model"}}},
        "bootstrap.aliases.chat: no-such-model is the model of no group",
    ),
]


@pytest.fixture(scope="module")
def told(tool, tmp_path_factory):
    """What Helm said to each case, by the text that is expected."""
    tool(chart_tools.helm, 4)
    folder = tmp_path_factory.mktemp("refused")
    group = yaml.safe_load(SMALLEST.read_text())["workers"]["groups"]["chat"]

    def ask(number):
        over, _ = REFUSED[number]
        values = apply(yaml.safe_load(SMALLEST.read_text()) | {"assumeApis": True}, over)
        if "chatchatchat" in values["workers"].get("groups", {}):
            values["workers"]["groups"]["chatchatchat"] = group
        file = folder / f"{number}.yaml"
        file.write_text(yaml.safe_dump(values))
        # The schema comes first and would refuse most of it; templates see what it cannot.
        answer = template(4, "--values", str(file), "--skip-schema-validation", check=False)
        return " ".join(answer.stderr.split()) if answer.returncode else ""

    with ThreadPoolExecutor(2) as pool:
        return dict(zip([said for _, said in REFUSED], pool.map(ask, range(len(REFUSED))), strict=True))


@pytest.mark.parametrize("said", [said for _, said in REFUSED])
def test_what_a_template_refuses_is_told_with_the_remedy(told, count, said):
    assert said in told[said]
    count(1, "refusals of templates, each with its message")


def test_every_refusal_of_a_template_has_a_case(told):
    texts = [file.read_text() for file in (CHART / "templates").rglob("*") if file.is_file()]
    refusal = re.compile(r'(?:fail|required) (?:\(printf )?"((?:[^"\\]|\\.)*)"')
    said = [message for text in texts for message in refusal.findall(text)]
    assert len(said) > 20

    def has_case(message):
        # The message with anything where its arguments go.
        parts = re.split(r"%[sdv]", message)
        form = re.compile(".*".join(re.escape(" ".join(part.split())) for part in parts))
        return any(form.search(text) for text in told.values())

    assert [message for message in said if not has_case(message)] == []


@pytest.mark.parametrize("major", [3, 4])
def test_both_helms_refuse_an_autoscaler_on_workers_with_the_reason(tool, count, tmp_path, major):
    tool(chart_tools.helm, major)
    (tmp_path / "over.yaml").write_text(yaml.safe_dump(JOINED["an autoscaler on a group"]))
    told = template(major, "--values", str(SMALLEST), "--values", str(tmp_path / "over.yaml"), check=False)
    assert told.returncode != 0
    assert "workers have no autoscaler" in told.stderr
    count(1, "refusals that both Helms were asked for")
