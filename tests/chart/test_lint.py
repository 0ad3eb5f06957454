"""What has to hold between the objects of each render, and mistakes that each rule has to find."""

import copy

import pytest
from chart import lint
from chart.renders import case_files, case_name
from chart.workloads import workloads

NAMES = [case_name(file) for file in case_files()]


@pytest.mark.parametrize("name", NAMES)
def test_the_objects_of_a_render_fit_each_other(renders, count, name):
    render = renders[name]
    found = lint.findings(lint.Rendered(render.objects, render.values))
    count(len(render.objects), "objects by the semantic lint")
    assert found == []


def test_every_rule_is_counted(count):
    count(len(lint.RULES), "rules of the semantic lint")
    assert len({rule.__name__ for rule in lint.RULES}) == len(lint.RULES)


# --- mistakes -------------------------------------------------------------------------------------------------------


def pick(objects, kind, part=""):
    return next(one for one in objects if one["kind"] == kind and part in one["metadata"]["name"])


def pod(objects, component):
    return next(one for one in workloads(objects) if one.component == component)


def container(objects, component):
    return pod(objects, component).spec["containers"][0]


def set_path(value, *path):
    *inner, last, new = path
    for key in inner:
        value = value[key]
    if new is None:
        del value[last]
    else:
        value[last] = new


MISTAKES = {
    "objects_are_there_once": lambda objects: objects.append(copy.deepcopy(pick(objects, "Service"))),
    "objects_are_in_the_namespace_of_the_release": lambda objects: set_path(
        objects[0], "metadata", "namespace", "default"
    ),
    "objects_carry_the_labels_of_the_release": lambda objects: set_path(objects[0], "metadata", "labels", {}),
    "names_fit": lambda objects: set_path(pick(objects, "StatefulSet"), "metadata", "name", "a" * 53),
    "selectors_choose_their_own_pods": lambda objects: set_path(
        pick(objects, "Deployment"), "spec", "selector", "matchLabels", {"app": "other"}
    ),
    "selectors_choose_something": lambda objects: set_path(
        pick(objects, "Service"), "spec", "selector", {"app": "other"}
    ),
    "spreading_and_affinity_mean_own_pods": lambda objects: set_path(
        pod(objects, "gateway").spec, "topologySpreadConstraints", 0, "labelSelector", {"matchLabels": {"app": "other"}}
    ),
    "autoscalers_scale_what_is_there_and_never_workers": lambda objects: objects.append(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a"},
            "spec": {
                "scaleTargetRef": {"kind": "StatefulSet", "name": pick(objects, "StatefulSet")["metadata"]["name"]}
            },
        }
    ),
    "budgets_are_for_more_than_one": lambda objects: set_path(
        pick(objects, "Deployment", "gateway"), "spec", "replicas", 1
    ),
    "services_and_monitors_use_ports_of_their_pods": lambda objects: set_path(
        pick(objects, "Service", "gateway"), "spec", "ports", 0, "targetPort", "web"
    ),
    "routes_lead_to_ports_of_services": lambda objects: objects.append(
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "a"},
            "spec": {"rules": [{"backendRefs": [{"name": "nothing", "port": 80}]}]},
        }
    ),
    "probes_ask_ports_that_are_there": lambda objects: set_path(
        container(objects, "gateway"), "livenessProbe", "httpGet", "port", "healthz"
    ),
    "services_run_with_all_three_probes": lambda objects: set_path(
        container(objects, "worker"), "livenessProbe", "httpGet", "path", "/readyz"
    ),
    "volumes_are_defined_and_used": lambda objects: set_path(
        container(objects, "worker"), "volumeMounts", 0, "name", "temp"
    ),
    "references_lead_somewhere": lambda objects: set_path(pod(objects, "gateway").spec, "serviceAccountName", "nobody"),
    "stateful_sets_have_headless_services": lambda objects: set_path(
        pick(objects, "StatefulSet"), "spec", "serviceName", "other"
    ),
    "roles_are_given_to_accounts_that_are_there": lambda objects: set_path(
        pick(objects, "RoleBinding"), "subjects", 0, "name", "nobody"
    ),
    "pods_are_locked_down": lambda objects: set_path(pod(objects, "worker").spec, "securityContext", "runAsUser", 0),
    "containers_are_locked_down": lambda objects: set_path(
        container(objects, "worker"), "securityContext", "readOnlyRootFilesystem", False
    ),
    "tokens_are_mounted_only_where_they_are_used": lambda objects: set_path(
        pod(objects, "gateway").spec, "automountServiceAccountToken", True
    ),
    "resources_are_said": lambda objects: set_path(container(objects, "worker"), "resources", {}),
    "settings_are_known_and_given_once": lambda objects: container(objects, "worker")["env"].append(
        {"name": "BACKBURNER_STOREURL", "value": "s3://b"}
    ),
    "secrets_are_never_values": lambda objects: container(objects, "worker")["env"].append(
        {"name": "AWS_SECRET_ACCESS_KEY", "value": "k"}
    ),
    "grace_periods_outlast_drains": lambda objects: set_path(
        pod(objects, "worker").spec, "terminationGracePeriodSeconds", 60
    ),
    "workers_have_nodes_of_their_own": lambda objects: set_path(pod(objects, "worker").spec, "nodeSelector", None),
    "only_workers_bear_the_taints_of_their_pool": lambda objects: set_path(
        pod(objects, "gateway").spec, "tolerations", pod(objects, "worker").spec["tolerations"]
    ),
    "roles_give_what_is_needed": lambda objects: set_path(pick(objects, "Role"), "rules", 0, "verbs", ["*"]),
    "jobs_end_and_clean_up": lambda objects: set_path(pick(objects, "Job"), "spec", "backoffLimit", None),
}


@pytest.mark.parametrize("rule", lint.RULES, ids=lambda rule: rule.__name__)
def test_a_rule_finds_its_mistake(renders, count, rule):
    render = renders["smallest"]
    objects = copy.deepcopy(render.objects)
    MISTAKES[rule.__name__](objects)
    assert list(rule(lint.Rendered(objects, render.values)))
    count(1, "mistakes that were made on purpose, each found by its rule")
