"""Hundreds of workers on tens of GPU nodes, as far as the scheduler knows: who lands where, how few are away at once.

The nodes are simulated: scheduler, controllers and disruption budgets are Kubernetes' own, and no container runs.
"""

import contextlib
import time
from collections import Counter

import pytest
from harness.watch import watching

_TAINT = "nvidia.com/gpu=present:NoSchedule"
_POOLS = {"split": (24, 8, _TAINT), "small": (21, 8, _TAINT), "cpu": (6, 0, "-")}
"""Nodes, GPUs of each, and taint, by name of the pool."""
_SIMULATED = {"simulated": "true"}
_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
_WHOLE, _HALF, _SINGLE = 12, 6, 144
_AWAY = 3
"""Workers of whole nodes that a rollout may have away at once."""
_SETTLE_SECONDS = 180.0
_PHASES = r'{range .items[*]}{.metadata.labels.app\.kubernetes\.io/component} {.status.phase}{"\n"}{end}'


def _group(pool, replicas, tensor_parallel, **more):
    return {
        "model": {"name": f"org/{pool}-{tensor_parallel}", "path": "/models/model", "cache": {"kind": "image"}},
        "engine": {"kind": "vllm", "tensorParallel": tensor_parallel},
        "replicas": replicas,
        "accelerator": {"resource": "nvidia.com/gpu"},
        "nodeSelector": {"pool": pool},
        "tolerations": [_TOLERATION],
        "resources": {"requests": {}, "limits": {"cpu": 8, "memory": "64Gi"}},
        **more,
    }


@pytest.fixture(scope="module")
def pools(cluster, figures):
    if not cluster.is_own:
        figures.leave_out("GPU nodes: nodes are simulated on the tests' own cluster alone")
        pytest.skip("not on somebody's cluster")
    try:
        for pool, (count, gpus, taint) in _POOLS.items():
            cluster.script("simulate", str(count), str(gpus), pool, taint)
        yield
    finally:
        cluster.kubectl("delete", "node", "-l", "simulated=true", "--wait=false", check=False)


@pytest.fixture(scope="module")
def values(pools, deploy):
    """The deployment, not installed yet, and its values. Any simulated node will do for gateway and dispatcher: what
    keeps them off the GPU nodes is the taint alone.
    """
    with deploy("fleet") as made:
        groups = {
            "whole": _group("split", _WHOLE, 8, rollout={"maxUnavailable": _AWAY, "minReadySeconds": 0}),
            "half": _group("split", _HALF, 4),
            "single": _group(
                "small",
                _SINGLE,
                1,
                topology={"whenUnsatisfiable": "DoNotSchedule"},
            ),
        }
        off = {"nodeSelector": _SIMULATED, "replicas": 6}
        values = made.values(groups, bootstrap={"enabled": False}, gateway=off, dispatcher=off)
        yield made, values


@pytest.fixture(scope="module")
def fleet(values, figures, cluster):
    made, given = values
    made.install(given, wait=False)
    _settled(made)
    figures.measure("simulated GPU nodes and workers on them", f"{_nodes_with_gpus()}, {_WHOLE + _HALF + _SINGLE}")
    return made


def _nodes_with_gpus():
    return sum(count for count, gpus, _ in _POOLS.values() if gpus)


def _settled(made):
    """All workers and whoever belongs to them run, and none waits."""
    wanted = {"worker": _WHOLE + _HALF + _SINGLE, "gateway": 6, "dispatcher": 6}

    def all_run():
        listed = made.kubectl("get", "pods", "-o", f"jsonpath={_PHASES}")
        found = Counter(line.split()[0] for line in listed.splitlines() if line.endswith(" Running"))
        return found == wanted

    made.cluster.until(all_run, f"{wanted} running", seconds=_SETTLE_SECONDS, every=1.0)


def _placed(made):
    """Component, group, node, pool and zone of each pod."""
    nodes = {node["metadata"]["name"]: node["metadata"]["labels"] for node in made.cluster.items("nodes")}
    for pod in made.pods():
        labels, node = pod["metadata"]["labels"], pod["spec"].get("nodeName")
        yield (
            labels["app.kubernetes.io/component"],
            labels.get("backburner.dev/group"),
            node,
            nodes[node].get("pool"),
            nodes[node]["topology.kubernetes.io/zone"],
        )


def _misplaced(placed):
    """Whatever is on a GPU node and no worker, and each worker that is elsewhere."""
    return [one for one in placed if (one[0] == "worker") != bool(_POOLS[one[3]][1])]


def test_workers_land_on_gpu_nodes_and_nothing_else_does(fleet, figures):
    placed = [*_placed(fleet)]
    assert len(placed) == _WHOLE + _HALF + _SINGLE + 12
    assert _misplaced(placed) == []
    figures.holds(
        f"GPU nodes: {_WHOLE + _HALF + _SINGLE} workers on {_nodes_with_gpus()} of them, and nothing else there"
    )


def test_each_group_keeps_to_its_own_pool(fleet):
    assert {(group, pool) for component, group, _, pool, _ in _placed(fleet) if component == "worker"} == {
        ("whole", "split"),
        ("half", "split"),
        ("single", "small"),
    }


def test_a_split_model_has_its_node_to_itself(fleet, figures):
    on = Counter(node for _, group, node, _, _ in _placed(fleet) if group in {"whole", "half"})
    assert set(on.values()) == {1}
    assert len(on) == _WHOLE + _HALF
    figures.holds("GPU nodes: a model over 8 or 4 GPUs has its node to itself, also where two would fit")


def test_a_group_is_spread_over_zones(fleet, figures):
    skews = {}
    for wanted in ("whole", "half", "single"):
        zones = Counter(zone for _, group, _, _, zone in _placed(fleet) if group == wanted)
        assert len(zones) == 3
        skews[wanted] = max(zones.values()) - min(zones.values())
    assert max(skews.values()) <= 1, skews
    figures.holds("GPU nodes: each group is spread over three zones, none with more than one worker over another")


@contextlib.contextmanager
def _watched(made, group, count):
    """Watches a group, all of which is ready when the block begins."""
    log = made.images.folder / f"fleet-{time.monotonic_ns()}.log"
    with watching(made.cluster, made.name, log) as watch:
        made.cluster.until(lambda: watch.fewest_ready(group, count), f"{count} ready workers", every=1.0)
        yield watch


def test_a_rollout_keeps_within_its_limit(fleet, values, figures):
    _, given = values
    given["workers"]["groups"]["whole"]["engine"]["args"] = ["--max-model-len", "4096"]
    name = f"{fleet.fullname}-worker-whole"
    with _watched(fleet, "whole", _WHOLE) as watch:
        fleet.install(given, wait=False)
        fleet.kubectl("rollout", "status", f"statefulset/{name}", "--timeout=180s", seconds=200)
        fewest = watch.fewest_ready("whole", _WHOLE)
    # A cluster without the gate for it drops the field, and has one away at a time.
    strategy = fleet.cluster.get("statefulset", name, "-n", fleet.name)["spec"]["updateStrategy"]["rollingUpdate"]
    limit = strategy.get("maxUnavailable", 1)
    assert limit in {1, _AWAY}
    assert _WHOLE - limit <= fewest < _WHOLE
    arguments = {
        next(one["value"] for one in pod["spec"]["containers"][0]["env"] if one["name"] == "BACKBURNER_ENGINE_ARGS")
        for pod in fleet.pods(group="whole")
    }
    assert arguments == {"--tensor-parallel-size 8 --max-model-len 4096"}
    figures.holds(f"GPU nodes: a rollout of {_WHOLE} workers had {_WHOLE - fewest} away at once, of {limit} allowed")


def test_disruption_budgets_hold_while_a_node_is_drained(fleet, figures):
    node = next(node for _, group, node, _, _ in _placed(fleet) if group == "single")
    there = sum(one[2] == node for one in _placed(fleet))
    with _watched(fleet, "single", _SINGLE) as watch:
        try:
            fleet.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s", seconds=150)
            _settled(fleet)
        finally:
            fleet.kubectl("uncordon", node)
        fewest = watch.fewest_ready("single", _SINGLE)
    assert fewest == _SINGLE - 1
    assert not any(one[2] == node for one in _placed(fleet))
    figures.holds(f"GPU nodes: a drained node gave its {there} workers up one at a time")


def test_a_gateway_with_the_pools_toleration_would_be_found_there(fleet, values):
    # What the other tests judge by, on a deployment that is wrong.
    _, given = values
    wrong = {**given, "gateway": {**given["gateway"], "tolerations": [_TOLERATION], "nodeSelector": {"pool": "small"}}}
    fleet.install(wrong, wait=False)
    try:
        fleet.kubectl("rollout", "status", f"deployment/{fleet.fullname}-gateway", "--timeout=90s")
        found = _misplaced(_placed(fleet))
        assert {one[0] for one in found} == {"gateway"}
    finally:
        fleet.install(given, wait=False)
