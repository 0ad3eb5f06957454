"""Values that are legitimate and that no file of `ci/` has: long and odd names, labels said twice, others' volumes."""

import re

import chart_tools
import pytest
from chart.definitions import errors_in
from chart.lint import Rendered, findings
from chart.renders import CHART, REMOVED, run_helm, smallest_with
from chart.workloads import workloads

from backburner.gateway.auth.bearer import credential_of

LABEL = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")
POOL = {"nodeSelector": {"pool": "gpu"}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}


def group(**over):
    return {"model": {"name": "org/Model-8B", "source": "s3://models/m", "sizeGiB": 16}, **POOL, **over}


def labels_in(value):
    """Every map of labels or of a selector's labels, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("labels", "matchLabels") and isinstance(inner, dict):
                yield inner
            yield from labels_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from labels_in(inner)


def one(objects, kind, name=""):
    (found,) = (each for each in objects if each["kind"] == kind and name in each["metadata"]["name"])
    return found


def container(objects, component):
    found = next(each for each in workloads(objects) if each.component == component)
    return found.spec["containers"][0]


@pytest.mark.parametrize("name", ["on", "no", "y", "null", "true"])
def test_a_groups_name_that_yaml_takes_for_something_else_is_a_text(render_with, name):
    objects = render_with({"workers": {"groups": {"chat": REMOVED, name: group(model={"name": "123", "path": "/m"})}}})
    labels = [map_ for each in objects for map_ in labels_in(each)]
    assert [map_ for map_ in labels if not all(isinstance(value, str) for value in map_.values())] == []
    assert one(objects, "StatefulSet")["spec"]["selector"]["matchLabels"]["backburner.dev/group"] == name


@pytest.mark.parametrize("namespace", ["20261128", "0e8", "true"])
def test_a_namespace_and_a_release_that_look_like_numbers_are_texts(render_with, namespace):
    objects = render_with({"fullnameOverride": "pr-42", "extraObjects": []}, release="42", namespace=namespace)
    assert {each["metadata"].get("namespace", namespace) for each in objects} == {namespace}
    assert {each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in objects} == {"42"}


@pytest.mark.parametrize("release", ["42", "team.search"])
def test_a_release_that_no_service_can_be_named_after_is_refused_with_the_remedy(render_with, release):
    assert "fullnameOverride" in render_with({}, release=release, check=False)
    assert render_with({"fullnameOverride": "bb"}, release=release)


def test_the_longest_names_fit(render_with):
    # 40 + 8 + 4 = 52 characters, which a StatefulSet's name may have.
    prefetched = group(model={"name": "org/" + "M" * 251, "source": "s3://m/m", "sizeGiB": 1})
    prefetched["model"] |= {"cache": {"kind": "hostPath"}, "prefetch": {"enabled": True}}
    values = {"fullnameOverride": "f" * 40, "workers": {"groups": {"chat": prefetched, "tall": prefetched}}}
    objects = render_with(values, release="r" * 53)
    assert findings(Rendered(objects)) == []
    assert {len(each["metadata"]["name"]) for each in objects if len(each["metadata"]["name"]) > 63} == set()
    labels = [map_ for each in objects for map_ in labels_in(each)]
    assert [map_ for map_ in labels if not all(LABEL.match(value) for value in map_.values())] == []


def test_a_set_of_pods_has_room_for_what_its_controller_appends(render_with):
    # The controller makes a StatefulSet NAME-999 for each set, whose pods' label has eleven characters more.
    sets = group(leaderWorkerSet={"size": 2})
    values = {"assumeApis": True, "fullnameOverride": "f" * 40, "workers": {"groups": {"chat": REMOVED, "tall": sets}}}
    assert "may have 48" in render_with(values, check=False)
    assert render_with(values | {"fullnameOverride": "f" * 36})


def test_labels_that_are_said_twice_stand_once(render_with):
    labels = {"team": "search", "release": "prometheus"}
    values = {
        "assumeApis": True,
        "commonLabels": labels,
        "gateway": {"podLabels": {"team": "chat"}, "podAnnotations": {"kubectl.kubernetes.io/default-container": "x"}},
        "dispatcher": {"podAnnotations": {"kubectl.kubernetes.io/default-container": "x"}},
        "monitoring": {name: {"enabled": True, "labels": labels} for name in ("podMonitor", "rules", "dashboard")},
        "workers": {"groups": {"chat": {"podLabels": {"team": "chat"}}}},
    }
    values["workers"]["groups"]["chat"]["podAnnotations"] = {"kubectl.kubernetes.io/default-container": "x"}
    objects = render_with(values)
    assert one(objects, "Deployment", "gateway")["spec"]["template"]["metadata"]["labels"]["team"] == "chat"
    assert one(objects, "PodMonitor")["metadata"]["labels"]["release"] == "prometheus"


_TEXTS = {"name", "key", "parameter", "secretKey", "secretName", "claimName", "serviceAccountName", "schedulerName"}


def texts_in(value):
    """Whatever stands where Kubernetes takes nothing but a text, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _TEXTS or key.endswith("ClassName"):
                yield key, inner
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)


def test_names_that_yaml_takes_for_something_else_are_texts(render_with):
    part = {"priorityClassName": "100", "serviceAccount": {"create": False, "name": "123"}}
    cache = {"kind": "pvc", "pvc": {"existingClaim": "7"}}
    chat = {"priorityClassName": "9", "runtimeClassName": "8", "schedulerName": "6", "model": {"cache": cache}}
    keda = {"source": "prometheus", "prometheus": {"serverAddress": "http://p", "authSecret": "3", "authKeys": ["on"]}}
    values = {
        "assumeApis": True,
        "image": {"pullSecrets": ["42"]},
        "store": {"existingSecret": {"name": "123", "accessKeyKey": "on"}},
        "externalSecrets": {"store": {"name": "4"}, "secrets": {"123": {"on": "k"}}},
        "priorityClass": {"create": True, "name": "10"},
        "gateway": part | {"ingress": {"enabled": True, "hosts": ["a.b"], "className": "2", "tlsSecret": "1"}},
        "dispatcher": part | {"autoscaling": {"kind": "keda", "keda": keda}},
        "bootstrap": {"serviceAccount": part["serviceAccount"]},
        "tests": {"keySecret": "5"},
        "workers": {"serviceAccount": part["serviceAccount"], "groups": {"chat": chat}},
    }
    assert [found for found in texts_in(render_with(values)) if not isinstance(found[1], str)] == []


@pytest.mark.parametrize("toml", ["  # ours\n[tenants.a]\nweight = 2\n", "\n\ta = 1", "a = 1"])
def test_quotas_arrive_as_they_were_written(render_with, toml):
    assert one(render_with({"gateway": {"quotas": {"toml": toml}}}), "ConfigMap", "quotas")["data"] == {
        "quotas.toml": toml
    }


@pytest.mark.parametrize(
    "args", [["-tp", "4"], ["-tp=4"], ["--tensor-parallel-size=4"], ["--tensor_parallel_size=4"]], ids="-".join
)
def test_a_split_that_the_number_of_gpus_does_not_follow_is_refused(render_with, args):
    assert "engine.tensorParallel" in render_with(
        {"workers": {"groups": {"chat": {"engine": {"args": args}}}}}, check=False
    )


@pytest.mark.parametrize(
    ("size", "least"), [("8Gi", 7 << 30), ("1500M", 1_300_000_000), (2_000_000_000, 1_700_000_000)]
)
def test_a_dispatcher_keeps_less_on_its_disk_than_that_may_hold(render_with, size, least):
    values = {"dispatcher": {"spoolSize": str(size)}}
    told = variables(container(render_with(values), "dispatcher"))["BACKBURNER_DISPATCH_SPOOL_BYTES"]
    assert least < int(told) < least * 1.1


def test_a_drain_that_env_makes_longer_has_its_grace(render_with):
    longer = {"env": {"BACKBURNER_DRAIN_SECONDS": 299.5}}
    objects = render_with({"gateway": longer, "dispatcher": longer, "workers": {"groups": {"chat": longer}}})
    graces = {each.component: each.spec.get("terminationGracePeriodSeconds") for each in workloads(objects)}
    leave = 300 + 30
    assert graces["worker"] == graces["dispatcher"] == leave
    assert graces["gateway"] > leave
    assert variables(container(objects, "gateway"))["BACKBURNER_FREEZE_GRACE_SECONDS"] == str(10 + 60 + 300 + 50)


def test_a_longer_drain_is_known_to_followers_and_to_load_balancers(render_with):
    values = {"assumeApis": True, "env": {"BACKBURNER_DRAIN_SECONDS": "300"}}
    values["workers"] = {"groups": {"chat": {"leaderWorkerSet": {"size": 2}}}}
    gke, alb = (
        render_with(values | {"gateway": {"ingress": {"enabled": True, "hosts": ["a.b"], "controller": controller}}})
        for controller in ("gke", "alb")
    )
    follower = one(gke, "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]["workerTemplate"]
    assert follower["spec"]["terminationGracePeriodSeconds"] == 330
    assert one(gke, "BackendConfig")["spec"]["connectionDraining"] == {"drainingTimeoutSec": 300}
    assert "deregistration_delay.timeout_seconds=300" in one(alb, "Ingress")["metadata"]["annotations"].values()


def test_a_drain_from_elsewhere_keeps_the_grace_of_the_values(render_with):
    source = {"valueFrom": {"configMapKeyRef": {"name": "c", "key": "drain"}}}
    objects = render_with({"env": {"BACKBURNER_DRAIN_SECONDS": source}})
    assert one(objects, "Deployment", "dispatcher")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 60


def test_envoys_route_takes_the_keys_that_the_gateway_takes(renders):
    routes = [each for each in renders["envoy-gateway"].objects if each["kind"] == "HTTPRoute"]
    (form,) = (
        header["value"]
        for each in routes
        for rule in each["spec"]["rules"]
        for match in rule["matches"]
        for header in match.get("headers", [])
    )
    for said in ("Bearer bb-k", "bearer bb-k", "BEARER   bb-k"):
        assert credential_of(said) == "bb-k"
        assert re.fullmatch(form, said)
    assert not re.fullmatch(form, "Bearer ey.token")


def test_a_variable_that_is_null_is_taken_out(render_with):
    objects = render_with({"env": {"NCCL_DEBUG": None}, "workers": {"groups": {"chat": {"env": {"NCCL_DEBUG": None}}}}})
    assert "NCCL_DEBUG" not in {each["name"] for each in container(objects, "worker")["env"]}


def test_a_mesh_and_azure_find_their_labels_on_the_bootstrap(render_with):
    own = {"podLabels": {"azure.workload.identity/use": "true"}, "podAnnotations": {"sidecar.istio.io/inject": "false"}}
    template = one(render_with({"bootstrap": own}), "Job", "bootstrap")["spec"]["template"]["metadata"]
    assert template["labels"]["azure.workload.identity/use"] == "true"
    assert template["annotations"]["sidecar.istio.io/inject"] == "false"


def test_a_claim_of_a_workers_own_has_room_for_the_next_model(render_with):
    # The next one is fetched before the old one goes, into the same folder: a claim's size cannot be changed.
    model = {"cache": {"kind": "pvc"}, "sizeGiB": 16}
    before, after = (
        render_with({"workers": {"groups": {"chat": {"model": model | {"source": f"s3://models/{version}"}}}}})
        for version in ("one", "two")
    )
    claims = [one(each, "StatefulSet")["spec"]["volumeClaimTemplates"] for each in (before, after)]
    assert claims[0] == claims[1]
    assert claims[0][0]["spec"]["resources"]["requests"]["storage"] == "36Gi"
    assert len({variables(container(each, "worker"))["BACKBURNER_MODEL"] for each in (before, after)}) == 1


def variables(one):
    return {each["name"]: each.get("value") for each in one["env"]}


@pytest.mark.parametrize("cache", [{"kind": "hostPath"}, {"kind": "pvc", "pvc": {"existingClaim": "shared"}}])
def test_a_model_that_others_put_on_the_volume_is_mounted(render_with, cache):
    model = {"source": "", "path": "/models/llama", "cache": cache}
    objects = render_with({"workers": {"groups": {"chat": {"model": model}}}})
    assert findings(Rendered(objects, "claimName: shared")) == []
    mounts = {each["mountPath"]: each for each in container(objects, "worker")["volumeMounts"]}
    assert mounts["/models"]["readOnly"] is True
    assert "initContainers" not in one(objects, "StatefulSet")["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    "off",
    [
        {"gateway": {"enabled": False}},
        {"dispatcher": {"enabled": False}},
        {"bootstrap": {"enabled": False}},
        {"gateway": {"replicas": 0}, "dispatcher": {"replicas": 0}, "workers": {"groups": {"chat": {"replicas": 0}}}},
    ],
    ids="-".join,
)
def test_what_is_left_without_a_part_fits_together(render_with, off):
    assert findings(Rendered(render_with(off))) == []


def test_a_set_of_pods_has_claims_that_its_definition_takes(render_with, definitions):
    sets = {"leaderWorkerSet": {"size": 2}, "model": {"cache": {"kind": "pvc"}}}
    objects = render_with({"assumeApis": True, "workers": {"groups": {"chat": sets}}})
    assert findings(Rendered(objects)) == []
    made = one(objects, "LeaderWorkerSet")
    assert errors_in(made, definitions) == []
    assert len(made["spec"]["leaderWorkerTemplate"]["volumeClaimTemplates"]) == 1


def test_a_gang_has_the_priority_of_its_pods(render_with):
    values = {"assumeApis": True, "priorityClass": {"create": True}}
    values["workers"] = {"groups": {"chat": {"gang": {"enabled": True}}}}
    objects = render_with(values)
    (made,) = (each["metadata"]["name"] for each in objects if each["kind"] == "PriorityClass")
    assert one(objects, "PodGroup")["spec"]["priorityClassName"] == made
    assert one(objects, "StatefulSet")["spec"]["template"]["spec"]["priorityClassName"] == made


@pytest.fixture
def notes(tool):
    """`notes(values)` is what Helm says at the end."""
    tool(chart_tools.helm, 4)

    def said(over):
        place = ("install", "bb", str(CHART), "--namespace", "batch", "--dry-run=client", "--values", "-")
        return run_helm(4, *place, stdin=smallest_with(over)).stdout.partition("NOTES:")[2]

    return said


def test_a_bootstrap_that_failed_is_run_again_as_the_notes_say(notes):
    remedy = "delete the Job and run the same helm upgrade again"
    assert remedy in " ".join(notes({}).split())
    assert remedy not in " ".join(notes({"bootstrap": {"enabled": False}}).split())


def test_no_key_is_promised_that_nobody_makes(render_with, notes):
    without = {"bootstrap": {"enabled": False}}
    assert "get secret bb-backburner-admin-key" in notes({})
    assert "admin-key" not in notes(without)
    assert "helm test" not in notes(without)
    assert "Pod" not in {each["kind"] for each in render_with(without)}
    assert "get secret mine" in notes(without | {"tests": {"keySecret": "mine"}})


def test_helms_test_runs_where_the_gateways_image_does(render_with):
    where = {"nodeSelector": {"pool": "cpu"}, "tolerations": [{"key": "system", "operator": "Exists"}]}
    spec = one(render_with({"gateway": where}), "Pod")["spec"]
    assert {name: spec.get(name) for name in where} == where


ISTIO = {
    "assumeApis": True,
    "gateway": {
        "edge": {"kind": "istio", "apiKeys": False},
        "oidc": {"issuer": "https://id.example.com", "audience": ["batch"]},
    },
}


def test_no_test_calls_with_a_key_that_istio_refuses(render_with, notes):
    assert "Pod" not in {each["kind"] for each in render_with(ISTIO)}
    said = notes(ISTIO)
    assert "helm test" not in said
    assert "Istio takes tokens of https://id.example.com there" in said


@pytest.mark.parametrize(
    "over",
    [
        {"tests": {"keySecret": "token"}},
        # Istio guards the Gateway then, and the test calls the pods behind it.
        {"gateway": {"httpRoute": {"enabled": True, "tls": {"enabled": True, "gatewayClassName": "istio"}}}},
    ],
    ids="-".join,
)
def test_a_test_whose_key_istio_lets_through_is_there(render_with, over):
    route = over.get("gateway", {}).get("httpRoute", {})
    if route:
        route["tls"]["certificateSecret"] = "certificate"
    values = ISTIO | {"gateway": ISTIO["gateway"] | over.get("gateway", {}), "tests": over.get("tests", {})}
    assert one(render_with(values), "Pod")


def test_workers_elsewhere_are_told_what_the_parts_here_have(notes):
    kafka = {"securityProtocol": "SASL_PLAINTEXT", "existingSecret": {"name": "k"}, "idempotence": False}
    said = notes(
        {
            "tenant": "acme",
            "kafka": kafka | {"topics": {"retentionSeconds": 86400}},
            "store": {"region": "eu-west-1"},
            "workers": {"mode": "external", "groups": REMOVED},
        }
    )
    for line in (
        "BACKBURNER_TENANT=acme",
        "BACKBURNER_TOPIC_RETENTION_SECONDS=86400",
        "BACKBURNER_KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT",
        "BACKBURNER_KAFKA_SECURITY_MECHANISM=SCRAM-SHA-512",
        "BACKBURNER_KAFKA_IDEMPOTENCE=false",
        "AWS_REGION=eu-west-1",
        "BACKBURNER_FREEZE_GRACE_SECONDS=180",
        "WARNING: Kafka is spoken to without TLS, its users' passwords included",
    ):
        assert line in said
