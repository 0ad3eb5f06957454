"""What has to hold between the objects of a render, and no schema can say. A rule yields what it finds wrong."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain

from backburner_schemas.setting_names import PREFIX, SETTING_NAMES
from chart.renders import NAMESPACE
from chart.workloads import Object, Workload, selects, workloads

RULES: list[Callable[["Rendered"], Iterator[str]]] = []
"""Every rule, in the order in which they stand here."""

_CLUSTER_WIDE = {"PriorityClass", "ClusterRole", "ClusterRoleBinding", "Namespace"}
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_GRACE_SECONDS = 30
"""What a pod's grace period has beyond its drain, at least."""
_NAME_LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/instance")


class Rendered:
    """The objects of a render, and what rules ask of them again and again."""

    def __init__(self, objects: list[Object], values: str = "") -> None:
        """`values` is the text of the values file: what it names is there without being rendered."""
        self.objects = objects
        self.values = values
        self.workloads = list(workloads(objects))

    def of(self, *kinds: str) -> list[Object]:
        """The objects of these kinds."""
        return [one for one in self.objects if one["kind"] in kinds]

    def has(self, kind: str, name: str) -> bool:
        """Whether there is such an object, or the values name one that somebody else makes."""
        made = any(one["metadata"]["name"] == name for one in self.of(kind))
        if kind == "Secret":
            # Those that external-secrets makes, and the one that the bootstrap is told to make.
            made = made or any(one["metadata"]["name"] == name for one in self.of("ExternalSecret"))
            made = made or any(name in container.get("args", []) for _, container in _containers(self))
        return made or re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", self.values) is not None

    def chosen(self, selector: Object | None) -> list[Workload]:
        """The workloads whose pods that selector chooses."""
        return [one for one in self.workloads if selects(selector, one.labels)]


def findings(rendered: Rendered) -> list[str]:
    """Everything that is wrong, as `rule: what`."""
    return [f"{rule.__name__}: {what}" for rule in RULES for what in rule(rendered)]


def _rule(rule: Callable[[Rendered], Iterator[str]]) -> Callable[[Rendered], Iterator[str]]:
    RULES.append(rule)
    return rule


def _name(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


def _containers(rendered: Rendered) -> Iterator[tuple[Workload, Object]]:
    for one in rendered.workloads:
        for container in one.containers:
            yield one, container


# --- objects --------------------------------------------------------------------------------------------------------


@_rule
def objects_are_there_once(rendered: Rendered) -> Iterator[str]:
    """Two of one kind and name would overwrite each other."""
    counts = Counter((one["apiVersion"].split("/")[0], _name(one)) for one in rendered.objects)
    yield from (f"{name} is rendered {count} times" for (_, name), count in counts.items() if count > 1)


@_rule
def objects_are_in_the_namespace_of_the_release(rendered: Rendered) -> Iterator[str]:
    """Without a namespace, `helm template | kubectl apply` puts them somewhere else."""
    for one in rendered.objects:
        said = one["metadata"].get("namespace")
        if one["kind"] in _CLUSTER_WIDE:
            if said is not None:
                yield f"{_name(one)} belongs to no namespace and names {said}"
        elif said != NAMESPACE:
            yield f"{_name(one)} is in the namespace {said}"


@_rule
def objects_carry_the_labels_of_the_release(rendered: Rendered) -> Iterator[str]:
    """By which operators find them."""
    for one in rendered.objects:
        missing = [label for label in _NAME_LABELS if label not in (one["metadata"].get("labels") or {})]
        if missing:
            yield f"{_name(one)} has no label {', '.join(missing)}"


@_rule
def names_fit(rendered: Rendered) -> Iterator[str]:
    """Names that a label or DNS has to hold."""
    for one in rendered.objects:
        name = one["metadata"]["name"]
        longest = {"StatefulSet": 52, "Service": 63, "Job": 63, "LeaderWorkerSet": 52}.get(one["kind"], 253)
        if len(name) > longest or not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name):
            yield f"{_name(one)} is no name that Kubernetes takes"


# --- selectors ------------------------------------------------------------------------------------------------------


@_rule
def selectors_choose_their_own_pods(rendered: Rendered) -> Iterator[str]:
    """A controller's own pods and nobody else's."""
    for one in rendered.workloads:
        selector = one.owner["spec"].get("selector")
        if one.kind in {"Deployment", "StatefulSet", "DaemonSet"}:
            if not selects(selector, one.labels):
                yield f"{one.name} does not select its own pods"
            others = [other.name for other in rendered.chosen(selector) if other.owner is not one.owner]
            if others:
                yield f"{one.name} selects the pods of {', '.join(others)} too"


@_rule
def selectors_choose_something(rendered: Rendered) -> Iterator[str]:
    """What selects nothing does nothing, without a word."""
    for one in rendered.of("Service"):
        selector = {"matchLabels": one["spec"].get("selector")}
        if not rendered.chosen(selector):
            yield f"{_name(one)} selects no pod"
        elif len({chosen.component for chosen in rendered.chosen(selector)}) > 1:
            yield f"{_name(one)} selects pods of several parts"
    for one in rendered.of("PodDisruptionBudget"):
        chosen = {_name(found.owner) for found in rendered.chosen(one["spec"]["selector"])}
        if len(chosen) != 1:
            yield f"{_name(one)} selects {len(chosen)} workloads"
    for one in rendered.of("NetworkPolicy"):
        if not rendered.chosen(one["spec"]["podSelector"]):
            yield f"{_name(one)} selects no pod"
    for one in rendered.of("PodMonitor"):
        if not rendered.chosen(one["spec"]["selector"]):
            yield f"{_name(one)} selects no pod"


@_rule
def spreading_and_affinity_mean_own_pods(rendered: Rendered) -> Iterator[str]:
    """A spread over other pods' labels spreads nothing."""
    for one in rendered.workloads:
        for constraint in one.spec.get("topologySpreadConstraints", []):
            if not selects(constraint.get("labelSelector"), one.labels):
                yield f"{one.name} spreads over labels that it does not have"


@_rule
def autoscalers_scale_what_is_there_and_never_workers(rendered: Rendered) -> Iterator[str]:
    """A worker holds a warm model: no autoscaler may move it."""
    for one in rendered.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = one["spec"]["scaleTargetRef"]
        kind, name = target.get("kind", "Deployment"), target["name"]
        scaled = [each for each in rendered.workloads if (each.kind, each.owner["metadata"]["name"]) == (kind, name)]
        if not scaled:
            yield f"{_name(one)} scales {kind} {name}, which is not there"
        for each in scaled:
            if each.component == "worker":
                yield f"{_name(one)} scales workers"
            if "replicas" in each.owner["spec"]:
                yield f"{_name(one)} and a number of replicas both decide about {each.name}"


@_rule
def budgets_are_for_more_than_one(rendered: Rendered) -> Iterator[str]:
    """A budget over one pod keeps its node from being drained, or means nothing."""
    least = {
        (one["spec"]["scaleTargetRef"]["name"]): one["spec"].get("minReplicas", one["spec"].get("minReplicaCount", 1))
        for one in rendered.of("HorizontalPodAutoscaler", "ScaledObject")
    }
    for one in rendered.of("PodDisruptionBudget"):
        for found in rendered.chosen(one["spec"]["selector"]):
            pods = least.get(found.owner["metadata"]["name"], found.replicas)
            if pods < 2 and found.kind != "LeaderWorkerSet":
                yield f"{_name(one)} is for {pods} pod of {found.name}"


# --- ports and probes -----------------------------------------------------------------------------------------------


@_rule
def services_and_monitors_use_ports_of_their_pods(rendered: Rendered) -> Iterator[str]:
    """By name or number."""
    used = [
        (one, port.get("targetPort", port["port"]), {"matchLabels": one["spec"].get("selector")})
        for one in rendered.of("Service")
        for port in one["spec"].get("ports", [])
    ]
    used += [
        (one, endpoint["port"], one["spec"]["selector"])
        for one in rendered.of("PodMonitor")
        for endpoint in one["spec"]["podMetricsEndpoints"]
    ]
    for one, port, selector in used:
        for found in rendered.chosen(selector):
            if port not in found.ports and port not in found.ports.values():
                yield f"{_name(one)} uses the port {port}, which {found.name} does not have"


@_rule
def routes_lead_to_ports_of_services(rendered: Rendered) -> Iterator[str]:
    """Those of an Ingress and of an HTTPRoute."""
    services = {one["metadata"]["name"]: one for one in rendered.of("Service")}
    for one, (name, port) in chain(_ingress_backends(rendered), _route_backends(rendered)):
        if name not in services:
            yield f"{_name(one)} leads to the Service {name}, which is not there"
        elif all(port not in {each.get("name"), each["port"]} for each in services[name]["spec"]["ports"]):
            yield f"{_name(one)} leads to the port {port}, which the Service {name} does not have"


def _ingress_backends(rendered: Rendered) -> Iterator[tuple[Object, tuple[str, str | int]]]:
    for one in rendered.of("Ingress"):
        for rule in one["spec"].get("rules", []):
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield one, (service["name"], service["port"].get("name") or service["port"]["number"])


def _route_backends(rendered: Rendered) -> Iterator[tuple[Object, tuple[str, str | int]]]:
    for one in rendered.of("HTTPRoute"):
        for rule in one["spec"]["rules"]:
            for backend in rule.get("backendRefs", []):
                yield one, (backend["name"], backend["port"])


@_rule
def probes_ask_ports_that_are_there(rendered: Rendered) -> Iterator[str]:
    """By name or number."""
    for one, container in _containers(rendered):
        ports = {value for port in container.get("ports", []) for value in (port["name"], port["containerPort"])}
        for probe in _PROBES:
            asked = container.get(probe, {}).get("httpGet", {}).get("port")
            if asked is not None and asked not in ports:
                yield f"{one.name}: {probe} asks the port {asked}, which its container does not have"


@_rule
def services_run_with_all_three_probes(rendered: Rendered) -> Iterator[str]:
    """And liveness never asks what depends on queue or store."""
    for one in rendered.workloads:
        if one.component not in {"gateway", "dispatcher", "worker"} or one.kind not in {
            "Deployment",
            "StatefulSet",
            "LeaderWorkerSet",
        }:
            continue
        if one.part == "workerTemplate":
            continue
        container = one.spec["containers"][0]
        missing = [probe for probe in _PROBES if probe not in container]
        if missing:
            yield f"{one.name} has no {', '.join(missing)}"
        elif container["livenessProbe"]["httpGet"]["path"] != "/livez":
            yield f"{one.name}: liveness depends on more than the process"
        elif container["readinessProbe"]["httpGet"]["path"] != "/readyz":
            yield f"{one.name} is ready before it says so"


# --- pods -----------------------------------------------------------------------------------------------------------


@_rule
def volumes_are_defined_and_used(rendered: Rendered) -> Iterator[str]:
    """Each mount has its volume, each volume its mount, and no two mounts one path."""
    for one in rendered.workloads:
        spec = one.owner["spec"]
        templates = spec.get("leaderWorkerTemplate", spec).get("volumeClaimTemplates", [])
        claims = {each["metadata"]["name"] for each in templates}
        defined = Counter(volume["name"] for volume in one.spec.get("volumes", []))
        yield from (f"{one.name} defines the volume {name} twice" for name, count in defined.items() if count > 1)
        mounted = set()
        for container in one.containers:
            paths = Counter(mount["mountPath"] for mount in container.get("volumeMounts", []))
            yield from (f"{one.name} mounts twice at {path}" for path, count in paths.items() if count > 1)
            for mount in container.get("volumeMounts", []):
                mounted.add(mount["name"])
                if mount["name"] not in defined and mount["name"] not in claims:
                    yield f"{one.name} mounts {mount['name']}, which is no volume of it"
        yield from (
            f"{one.name} has the volume {name} and mounts it nowhere" for name in sorted(defined - Counter(mounted))
        )


@_rule
def references_lead_somewhere(rendered: Rendered) -> Iterator[str]:
    """ConfigMaps, Secrets, accounts, claims and classes are rendered, or named in the values."""
    for one in rendered.workloads:
        for kind, name in _references(one.spec):
            if not rendered.has(kind, name):
                yield f"{one.name} uses the {kind} {name}, which neither chart nor values have"


_REFERENCES = {
    "configMap": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
    "configMapRef": "ConfigMap",
    "secret": "Secret",
    "secretKeyRef": "Secret",
    "secretRef": "Secret",
    "serviceAccountName": "ServiceAccount",
    "priorityClassName": "PriorityClass",
    "resourceClaimTemplateName": "ResourceClaimTemplate",
}
"""What names another object in a pod."""
_ALWAYS_THERE = {"default", "system-node-critical", "system-cluster-critical"}


def _references(value: object) -> Iterator[tuple[str, str]]:
    """Kinds and names that are named in there, at any depth."""
    if isinstance(value, list):
        yield from chain.from_iterable(map(_references, value))
    elif isinstance(value, dict):
        for key, inner in value.items():
            name = inner.get("name", inner.get("secretName")) if isinstance(inner, dict) else inner
            optional = isinstance(inner, dict) and inner.get("optional")
            if key in _REFERENCES and isinstance(name, str) and name not in _ALWAYS_THERE and not optional:
                yield _REFERENCES[key], name
            yield from _references(inner)


@_rule
def stateful_sets_have_headless_services(rendered: Rendered) -> Iterator[str]:
    """Without one their pods have no names."""
    services = {one["metadata"]["name"]: one["spec"] for one in rendered.of("Service")}
    for one in rendered.of("StatefulSet"):
        if services.get(one["spec"]["serviceName"], {}).get("clusterIP") != "None":
            yield f"{_name(one)} has no headless Service"


@_rule
def roles_are_given_to_accounts_that_are_there(rendered: Rendered) -> Iterator[str]:
    """Both ends of a binding are rendered."""
    for one in rendered.of("RoleBinding"):
        ends = [(each["kind"], each["name"]) for each in (one["roleRef"], *one["subjects"])]
        yield from (f"{_name(one)} names {kind} {name}" for kind, name in ends if not rendered.has(kind, name))


@_rule
def pods_are_locked_down(rendered: Rendered) -> Iterator[str]:
    """As Kubernetes' restricted profile asks, and a read-only root beside."""
    for one in rendered.workloads:
        context = one.spec.get("securityContext", {})
        if not context.get("runAsNonRoot") or context.get("runAsUser", 0) < 10000:
            yield f"{one.name} may run as a user of the node"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{one.name} has no seccomp profile"
        if one.spec.get("enableServiceLinks") is not False:
            yield f"{one.name} has variables of every Service, which settings do not know"
        for word in ("hostNetwork", "hostPID"):
            if one.spec.get(word):
                yield f"{one.name} has {word}"


@_rule
def containers_are_locked_down(rendered: Rendered) -> Iterator[str]:
    """No more rights, a read-only root with a /tmp, no capability."""
    for one, container in _containers(rendered):
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{one.name}: {container['name']} may get more rights"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{one.name}: {container['name']} may write to its image"
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
            yield f"{one.name}: {container['name']} has capabilities"
        # The test's pod writes nothing.
        paths = {mount["mountPath"] for mount in container.get("volumeMounts", [])}
        if "/tmp" not in paths and one.kind != "Pod":
            yield f"{one.name}: {container['name']} has no /tmp to write to"


@_rule
def tokens_are_mounted_only_where_they_are_used(rendered: Rendered) -> Iterator[str]:
    """By the bootstrap, and by workers that look at their node."""
    for one in rendered.workloads:
        variables = {each["name"]: each.get("value", "") for each in one.spec["containers"][0].get("env", [])}
        needed = one.component == "bootstrap" or "node" in variables.get(f"{PREFIX}RECLAIM_NOTICES", "").split(",")
        mounted = one.spec.get("automountServiceAccountToken", True)
        if mounted and not needed:
            yield f"{one.name} mounts a token that it does not use"


@_rule
def resources_are_said(rendered: Rendered) -> Iterator[str]:
    """Requests of CPU and memory, a limit of memory; accelerators alike in both."""
    for one, container in _containers(rendered):
        resources = container.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        missing = [word for word in ("cpu", "memory") if word not in requests]
        if missing or "memory" not in limits:
            yield f"{one.name}: {container['name']} does not say its resources"
        for name in {*requests, *limits}:
            if "/" in name and requests.get(name) != limits.get(name):
                yield f"{one.name}: {container['name']} has other requests than limits of {name}"


@_rule
def settings_are_known_and_given_once(rendered: Rendered) -> Iterator[str]:
    """Every part refuses a setting that it does not know."""
    for one, container in _containers(rendered):
        names = Counter(variable["name"] for variable in container.get("env", []))
        for name, count in names.items():
            if count > 1:
                yield f"{one.name}: {name} is given {count} times"
            if name.startswith(PREFIX) and name not in SETTING_NAMES:
                yield f"{one.name}: {name} is no setting"


@_rule
def secrets_are_never_values(rendered: Rendered) -> Iterator[str]:
    """Passwords and keys come by reference alone."""
    for one, container in _containers(rendered):
        for variable in container.get("env", []):
            if re.search(r"(PASSWORD|SECRET_ACCESS_KEY|TOKEN|API_KEY)$", variable["name"]) and variable.get("value"):
                yield f"{one.name}: {variable['name']} has its secret in the manifest"
    for one in rendered.of("Secret"):
        yield f"{_name(one)} has secrets in the manifest"


@_rule
def grace_periods_outlast_drains(rendered: Rendered) -> Iterator[str]:
    """By half a minute, and by what goes before the signal."""
    for one in rendered.workloads:
        if one.component not in {"gateway", "dispatcher", "worker"}:
            continue
        container = one.spec["containers"][0]
        variables = {each["name"]: each.get("value", "") for each in container.get("env", [])}
        drain = float(variables.get(f"{PREFIX}DRAIN_SECONDS", 0))
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        grace = one.spec.get("terminationGracePeriodSeconds", _GRACE_SECONDS)
        if grace < drain + sleep + _GRACE_SECONDS:
            yield f"{one.name} has {grace} s to end, and drains for {drain:g} s after {sleep} s"


@_rule
def workers_have_nodes_of_their_own(rendered: Rendered) -> Iterator[str]:
    """A selector and a toleration, a bound on shared memory, and no new pod beside an old one."""
    for one in rendered.workloads:
        if one.component != "worker" or one.kind == "Job":
            continue
        own = [
            each
            for each in one.spec.get("tolerations", [])
            if not each.get("key", "").startswith("node.kubernetes.io/")
        ]
        if not one.spec.get("nodeSelector") or not own:
            yield f"{one.name} may run on any node"
        volumes = {volume["name"]: volume for volume in one.spec.get("volumes", [])}
        shared = [
            mount["name"]
            for mount in one.spec["containers"][0].get("volumeMounts", [])
            if mount["mountPath"] == "/dev/shm"
        ]
        if not shared or "sizeLimit" not in volumes[shared[0]].get("emptyDir", {}):
            yield f"{one.name} has no bound on /dev/shm"
        if one.kind == "Deployment":
            yield f"{one.name} would start a new pod beside the old one, which has the accelerator"


@_rule
def only_workers_bear_the_taints_of_their_pool(rendered: Rendered) -> Iterator[str]:
    """Nothing but workers, and what fetches their models, lands on nodes with accelerators."""
    taints = {
        each["key"]
        for one in rendered.workloads
        if one.component == "worker" and _has_accelerator(one)
        for each in one.spec.get("tolerations", [])
        if not each.get("key", "").startswith("node.kubernetes.io/") and "key" in each
    }
    for one in rendered.workloads:
        if one.component not in {"worker", "prefetch"}:
            borne = {each.get("key") for each in one.spec.get("tolerations", [])}
            if None in borne or borne & taints:
                yield f"{one.name} may run on the workers' nodes"


def _has_accelerator(one: Workload) -> bool:
    resources = one.spec["containers"][0].get("resources", {})
    return "claims" in resources or any("/" in name for name in resources.get("limits", {}))


@_rule
def roles_give_what_is_needed(rendered: Rendered) -> Iterator[str]:
    """No wildcard, no listing of secrets, and reading only those that are named."""
    for one in rendered.of("Role", "ClusterRole"):
        for rule in one["rules"]:
            said = [*rule.get("apiGroups", []), *rule.get("resources", []), *rule["verbs"]]
            if "*" in said:
                yield f"{_name(one)} has a wildcard"
            if (
                "secrets" in rule.get("resources", [])
                and set(rule["verbs"]) - {"create"}
                and not rule.get("resourceNames")
            ):
                yield f"{_name(one)} may {', '.join(rule['verbs'])} every secret"
            if "secrets" in rule.get("resources", []) and {"list", "watch"} & set(rule["verbs"]):
                yield f"{_name(one)} may list secrets"


@_rule
def jobs_end_and_clean_up(rendered: Rendered) -> Iterator[str]:
    """With a bound on tries, and gone some time after."""
    for one in rendered.of("Job"):
        spec = one["spec"]
        if "backoffLimit" not in spec or spec["template"]["spec"].get("restartPolicy") not in {"Never", "OnFailure"}:
            yield f"{_name(one)} has no bound on its tries"
