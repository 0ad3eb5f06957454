"""The API server's own judgement of all that the chart makes: each values file, slices of GPUs, claims of devices.

Nothing runs here but the scheduler. Custom resources are judged by their real definitions; whose controllers never ran
with the chart, docs/kubernetes.md lists.
"""

import json

import pytest
import yaml
from harness.cluster import ROOT, CommandFailed
from harness.deployment import CHART
from harness.rendered import CI_FILES, rendered

_NAMESPACE = "judged"
_RELEASE = "bb"
_HOST_PATHS = {"everything", "sqs-workload-identity", "three-groups"}
"""Values with folders of the node or its IPC, which the strictest of Kubernetes' standards does not admit."""
_PROGRAMS = (ROOT / "helm" / "argocd", ROOT / "helm" / "flux")
_OFF = {"gateway": {"enabled": False}, "dispatcher": {"enabled": False}, "bootstrap": {"enabled": False}}
_NEEDS_MINOR = {"gang": 37}
"""Kubernetes' minor release that a values file needs, where the cluster's may be older."""
_PLACED_SECONDS = 60.0
_SLICES = 7
_SLICE = "nvidia.com/mig-1g.10gb"


def _name(file):
    return file.name.removesuffix("-values.yaml")


@pytest.fixture(scope="module")
def namespace(cluster, custom_resources, keda):
    """A namespace in which the API server warns of whatever its strictest standard would not admit."""
    labels = {"pod-security.kubernetes.io/warn": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE, "labels": labels}})
    yield _NAMESPACE
    cluster.kubectl("delete", "namespace", _NAMESPACE, "--wait=true", check=False)


@pytest.fixture(scope="module")
def minor(cluster):
    return int(json.loads(cluster.kubectl("version", "-o", "json"))["serverVersion"]["minor"])


def _judge(cluster, objects):
    """What the API server says to a try: nothing, or its warnings. Raises `CommandFailed` with why it refuses."""
    tried = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    words = ("kubectl", "apply", "-n", _NAMESPACE, "--dry-run=server", "-f", "-")
    return cluster.run(*words, stdin=tried).stderr


@pytest.mark.parametrize("file", CI_FILES, ids=_name)
def test_each_values_file_is_accepted(file, cluster, namespace, minor, figures):
    needed = _NEEDS_MINOR.get(_name(file), 0)
    if minor < needed:
        figures.leave_out(f"ci/{file.name}: needs Kubernetes 1.{needed}, and this is 1.{minor}; `make chart` judges it")
        pytest.skip(f"needs Kubernetes 1.{needed}")
    objects = rendered(cluster, namespace, file)
    warned = _judge(cluster, objects)
    assert bool(warned) == (_name(file) in _HOST_PATHS), warned
    figures.holds(f"the API server accepts all {len(objects)} objects of ci/{file.name}")


@pytest.mark.parametrize("folder", _PROGRAMS, ids=lambda folder: folder.name)
def test_the_examples_of_gitops_are_accepted(folder, cluster, namespace, figures):
    objects = [one for file in sorted(folder.rglob("*.yaml")) for one in yaml.safe_load_all(file.read_text()) if one]
    assert objects
    # They name a namespace of their own, which is there only once they run.
    for one in objects:
        one["metadata"]["namespace"] = namespace
    _judge(cluster, objects)
    figures.holds(f"the API server accepts the {len(objects)} objects of helm/{folder.name}")


def test_an_unknown_field_would_be_found(cluster, namespace):
    objects = rendered(cluster, namespace, CI_FILES[0])
    deployment = next(one for one in objects if one["kind"] == "Deployment")
    deployment["spec"]["template"]["spec"]["nodeSelectors"] = {}
    with pytest.raises(CommandFailed, match=r'unknown field "[a-z.]*nodeSelectors"'):
        _judge(cluster, objects)


@pytest.fixture
def simulated(cluster, own_cluster):
    """Makes simulated nodes of a pool, which are gone after the test."""

    def make(pool, count, taint):
        cluster.script("simulate", str(count), "0", pool, taint)

    yield make
    cluster.kubectl("delete", "node", "-l", "simulated=true", "--wait=false", check=False)


@pytest.fixture
def install(cluster, namespace, tmp_path):
    """Installs a values file's workers alone, with changes; uninstalled after the test."""

    def made(name, changes):
        file = tmp_path / "changes.yaml"
        file.write_text(yaml.safe_dump({**_OFF, **changes}))
        given = next(one for one in CI_FILES if _name(one) == name)
        cluster.helm("install", _RELEASE, CHART, "-n", namespace, "-f", given, "-f", file)

    yield made
    cluster.helm("uninstall", _RELEASE, "-n", namespace, "--ignore-not-found", "--wait")


def _nodes_of_pods(cluster, namespace):
    return [pod["spec"].get("nodeName") for pod in cluster.items("pods", "-n", namespace)]


def test_workers_take_slices_of_gpus(cluster, namespace, simulated, install, figures):
    simulated("gpu-mig", 2, "nvidia.com/gpu=present:NoSchedule")
    install("mig", {"workers": {"groups": {"amd": {"replicas": 0}}}})
    cluster.until(lambda: len(_nodes_of_pods(cluster, namespace)) == 2 * _SLICES, "the workers")
    # Without a slice there is nowhere to go.
    assert set(_nodes_of_pods(cluster, namespace)) == {None}
    offered = {"status": {"capacity": {_SLICE: str(_SLICES)}, "allocatable": {_SLICE: str(_SLICES)}}}
    for number in (1, 2):
        cluster.kubectl("patch", "node", f"gpu-mig-{number}", "--subresource=status", "-p", json.dumps(offered))
    placed = sorted(_SLICES * ["gpu-mig-1"] + _SLICES * ["gpu-mig-2"])
    cluster.until(
        lambda: sorted(map(str, _nodes_of_pods(cluster, namespace))) == placed,
        "seven workers on each node",
        seconds=_PLACED_SECONDS,
    )
    figures.holds(
        f"MIG: {2 * _SLICES} workers take the slices of two simulated nodes, and none before these are offered"
    )


def _device(name, gibibytes, root):
    return {
        "name": name,
        "attributes": {"resource.kubernetes.io/pcieRoot": {"string": root}},
        "capacity": {"memory": {"value": f"{gibibytes}Gi"}},
    }


def test_workers_claim_devices_that_belong_together(cluster, namespace, simulated, install, figures):
    simulated("gpu", 2, "nvidia.com/gpu=present:NoSchedule")
    driver = "gpu.nvidia.com"
    devices = [
        _device("small-0", 40, "root-a"),
        _device("large-0", 80, "root-a"),
        _device("large-1", 80, "root-b"),
        _device("large-2", 80, "root-b"),
    ]
    selector = {"cel": {"expression": f"device.driver == '{driver}'"}}
    dra = {"apiVersion": "resource.k8s.io/v1"}
    slices = [
        {
            **dra,
            "kind": "ResourceSlice",
            "metadata": {"name": f"simulated-gpu-{number}"},
            "spec": {
                "driver": driver,
                "nodeName": f"gpu-{number}",
                "pool": {"name": f"gpu-{number}", "generation": 1, "resourceSliceCount": 1},
                "devices": devices,
            },
        }
        for number in (1, 2)
    ]
    device_class = {**dra, "kind": "DeviceClass", "metadata": {"name": driver}, "spec": {"selectors": [selector]}}
    try:
        cluster.apply(device_class, *slices)
        install(
            "dra", {"workers": {"groups": {"chat": {"model": {"cache": {"imageReference": ""}, "path": "/model"}}}}}
        )
        cluster.until(
            lambda: sorted(map(str, _nodes_of_pods(cluster, namespace))) == ["gpu-1", "gpu-2"],
            "a worker on each node",
            seconds=_PLACED_SECONDS,
        )
        claims = cluster.items("resourceclaims", "-n", namespace)
        taken = [
            sorted(one["device"] for one in claim["status"]["allocation"]["devices"]["results"]) for claim in claims
        ]
        # Two of 80 GiB below one root: there is but one such pair on each node.
        assert taken == 2 * [["large-1", "large-2"]]
    finally:
        cluster.kubectl("delete", "resourceslice", *(one["metadata"]["name"] for one in slices), check=False)
        cluster.kubectl("delete", "deviceclass", driver, check=False)
    figures.holds("DRA: two workers claim the pairs of 80 GiB below one PCIe root on simulated nodes, and no others")
