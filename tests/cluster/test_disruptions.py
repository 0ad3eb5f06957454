"""What happens to a cluster in a year, in some minutes, while paced jobs run on three groups of workers.

Each test strikes one thing and waits it out. The last one judges all of it by the fault harness's independent checker:
what was accepted is visible, each once; what ran twice is no more than was uncommitted where something was struck; no
pod was restarted that should not have been; whoever was asked to go drained within its grace.
"""

import base64
import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import pages
from harness.cluster import Cluster
from harness.deployment import Deployment
from harness.engine_journals import EngineJournals
from harness.load import PacedLoad
from harness.process import stopped
from harness.watch import PodWatch, watching

_JOB = 5000
_LATENCY = {"a": "0.8", "b": "5", "c": "5"}
"""Seconds. Who is deleted by force still has two seconds: in group b most of what runs does not end in them."""
_CONCURRENCY = {"a": "4", "b": "24", "c": "24"}
_LOST = "node-2"
_HELD_SECONDS = 60.0
_PAGE_SECONDS = 300.0
_SIGKILL_CODE = 137
_MEMORY = "320Mi"
_HOG_COUNT = 16
_HOG = "import time; held = bytearray(24 << 20); time.sleep(120)"
"""Each smaller than a worker, together more than its limit: the kernel ends the largest."""


@dataclass(slots=True)
class Busy:
    """A deployment at work."""

    made: Deployment
    load: PacedLoad
    pods: PodWatch
    restarted: dict[str, str]
    """Pods that have to restart a container, and why."""
    replicas: dict[str, int]
    latency: dict[str, str]
    partition: dict[str, int]

    @property
    def cluster(self) -> Cluster:
        """Where it is."""
        return self.made.cluster

    def values(self):
        """The chart's values as things stand."""
        groups = {}
        for name, replicas in self.replicas.items():
            groups[name] = self.made.group(
                replicas=replicas,
                rollout={"partition": self.partition.get(name, 0), "minReadySeconds": 0},
                env={
                    "BACKBURNER_FAKE_LATENCY_SECONDS": self.latency.get(name, _LATENCY[name]),
                    "BACKBURNER_CONCURRENCY": _CONCURRENCY[name],
                },
                resources={"limits": {"cpu": "1", "memory": _MEMORY}},
            )
            journals = self.load.journals.volumes()
            groups[name]["env"] |= journals.pop("env")
            groups[name] |= journals
        return self.made.values(groups)

    def worker(self, group: str, ordinal: int = 0) -> str:
        """The name of a group's pod."""
        return f"{self.made.fullname}-worker-{group}-{ordinal}"

    def statefulset(self, group: str) -> str:
        """The group's object."""
        return f"statefulset/{self.made.fullname}-worker-{group}"

    def rolled_out(self, *objects: str) -> None:
        """All of these are as they should be."""
        for one in objects:
            self.made.kubectl("rollout", "status", one, "--timeout=180s", seconds=200)

    def pod(self, name: str):
        """The pod of that name; None while there is none."""
        return next((one for one in self.made.pods() if one["metadata"]["name"] == name), None)

    def ready(self, name: str, *, other_than: str = "") -> bool:
        """Whether that pod is ready, and not the one of that uid."""
        one = self.pod(name)
        if one is None or one["metadata"]["uid"] == other_than:
            return False
        return any(
            found["type"] == "Ready" and found["status"] == "True" for found in one["status"].get("conditions", ())
        )

    def wait_ready(self, *names: str, other_than: str = "") -> None:
        """Returns when they all are."""
        for name in names:
            self.cluster.until(
                lambda name=name: self.ready(name, other_than=other_than), f"{name} being ready", seconds=150
            )

    def uid(self, name: str) -> str:
        """The uid of the pod of that name."""
        return self.pod(name)["metadata"]["uid"]

    def workers_on(self, node: str) -> list[str]:
        """The workers that run there."""
        return [one["metadata"]["name"] for one in self.made.pods("worker") if one["spec"].get("nodeName") == node]


@pytest.fixture(scope="module")
def busy(cluster, deploy, tmp_path_factory, figures):
    if not cluster.is_own:
        figures.leave_out("disruptions: they read the engines' journals from the nodes, and cut power")
        pytest.skip("not on somebody's cluster")
    folder = tmp_path_factory.mktemp("disruptions")
    # Journals are files of the node, which the restricted standard does not let in.
    with ExitStack() as stack:
        made = stack.enter_context(deploy("busy", restricted=False))
        load = PacedLoad(made, EngineJournals(folder / "journals"))
        pods = stack.enter_context(watching(cluster, made.name, folder / "pods.log"))
        found = Busy(made, load, pods, {}, {"a": 2, "b": 2, "c": 2}, {}, {})
        made.install(found.values())
        load.submit(_JOB)
        yield found


def _ask(busy: Busy, log: Path):
    """A program that asks the gateway all the time."""
    name = f"{busy.made.fullname}-gateway"
    address = busy.made.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
    secret = busy.cluster.get("secret", f"{busy.made.fullname}-admin-key", "-n", busy.made.name)
    key = base64.b64decode(secret["data"]["api-key"]).decode()
    return busy.made.clients.start_program("ask_gateway", f"http://{address}/v1", key, log=log)


def test_a_rolling_restart_of_everything_refuses_no_call_and_drains(busy, figures, tmp_path):
    busy.load.under_way()
    gateway, dispatcher = (f"deployment/{busy.made.fullname}-{part}" for part in ("gateway", "dispatcher"))
    with stopped(_ask(busy, tmp_path / "asked")):
        busy.made.kubectl("rollout", "restart", gateway, dispatcher, busy.statefulset("a"))
        busy.rolled_out(gateway, dispatcher, busy.statefulset("a"))
    asked = json.loads((tmp_path / "asked").read_text())
    assert asked["answered"] > 0
    assert not asked["failed"]
    figures.holds(f"rolling restart of gateway, dispatcher and workers: {asked['answered']} calls, none refused")


def test_a_new_engine_argument_goes_to_a_canary_then_to_the_rest_then_back(busy, figures):
    busy.load.under_way()
    releases = lambda: {  # noqa: E731 - read three times below
        one["metadata"]["name"]: one["metadata"]["labels"]["backburner.dev/release"]
        for one in busy.made.pods(group="a")
    }
    before, others = releases(), {name: busy.uid(name) for name in (busy.worker("b"), busy.worker("c"))}
    busy.latency["a"], busy.partition["a"] = "0.7", 1
    busy.made.install(busy.values(), wait=False)
    busy.cluster.until(
        lambda: releases().get(busy.worker("a", 1)) != before[busy.worker("a", 1)], "the canary's change"
    )
    busy.wait_ready(busy.worker("a", 1))
    assert releases()[busy.worker("a", 0)] == before[busy.worker("a", 0)]
    busy.partition["a"] = 0
    busy.made.install(busy.values(), wait=False)
    busy.rolled_out(busy.statefulset("a"))
    after = releases()
    assert len(set(after.values())) == 1
    assert set(after.values()).isdisjoint(before.values())
    busy.cluster.helm("rollback", busy.made.release, "1", "-n", busy.made.name)
    busy.latency.pop("a")
    busy.rolled_out(busy.statefulset("a"))
    assert releases() == before
    assert {name: busy.uid(name) for name in others} == others
    figures.holds(
        "helm upgrade of one group: canary by partition, the rest, rollback; the other groups' pods untouched"
    )


def test_a_group_is_scaled_out_and_in_by_its_value_alone(busy, figures):
    busy.load.under_way()
    busy.replicas["b"] = 3
    busy.made.install(busy.values(), wait=False)
    busy.wait_ready(busy.worker("b", 2))
    uid = busy.uid(busy.worker("b", 2))
    busy.replicas["b"] = 2
    busy.made.install(busy.values(), wait=False)
    busy.cluster.until(lambda: busy.pod(busy.worker("b", 2)) is None, "the end of the worker that is one too many")
    life = busy.cluster.until(lambda: busy.pods.lives().get(uid), "its last event")
    assert life.exit_code == 0
    figures.holds("a group is scaled from 2 to 3 and back: the one too many drained")


def test_a_worker_that_is_deleted_by_force_is_replaced_and_its_requests_come_again(busy, figures):
    name = busy.worker("b")
    busy.load.under_way(name)
    uid = busy.uid(name)
    busy.load.striking(name)
    held, mark, began = set(busy.load.journals.begun_by(name)), busy.load.journals.mark(), time.monotonic()
    busy.made.kubectl("delete", "pod", name, "--force", "--grace-period=0")
    seconds = busy.load.redelivered(began, mark, held)
    busy.wait_ready(name, other_than=uid)
    figures.measure("from `kubectl delete --force` to redelivery", f"{seconds:.0f} s")
    figures.holds("a worker deleted by force: its requests came again")


def test_a_container_that_is_killed_is_started_again_and_the_pod_stays(busy, figures):
    busy.load.under_way()
    name = busy.worker("b", 1)
    one = busy.pod(name)
    busy.load.striking(name)
    identity = one["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    busy.cluster.kill_container(one["spec"]["nodeName"], identity)
    busy.restarted[one["metadata"]["uid"]] = "its container was killed"
    busy.cluster.until(lambda: busy.pod(name)["status"]["containerStatuses"][0]["restartCount"] == 1, "its restart")
    busy.wait_ready(name)
    assert busy.uid(name) == one["metadata"]["uid"]
    figures.holds("a killed container is started again in its pod")


def test_a_worker_over_its_memory_limit_is_started_again(busy, figures):
    busy.load.under_way()
    name = busy.worker("a", 1)
    uid = busy.uid(name)
    busy.load.striking(name)
    command = f"for one in $(seq {_HOG_COUNT}); do python3 -c '{_HOG}' & done; wait"
    busy.cluster.run("kubectl", "-n", busy.made.name, "exec", name, "--", "sh", "-c", command, check=False)
    busy.restarted[uid] = "it was over its memory limit"
    busy.cluster.until(lambda: busy.pod(name)["status"]["containerStatuses"][0]["restartCount"] >= 1, "its restart")
    busy.wait_ready(name)
    ended = busy.pod(name)["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", _SIGKILL_CODE)
    figures.holds("a worker over its memory limit is ended by the kernel and started again")


def test_a_broker_that_is_restarted_restarts_no_pod(busy, figures):
    busy.load.under_way()
    before = {one["metadata"]["uid"]: _restarts(one) for one in busy.made.pods()}
    workers = [one["metadata"]["name"] for one in busy.made.pods("worker")]
    busy.load.striking(*workers)
    busy.made.broker.stop()
    busy.made.broker.start()
    mark = busy.load.journals.mark()
    busy.cluster.until(lambda: busy.load.journals.begun_since(mark), "work after the broker is back")
    busy.wait_ready(*workers)
    assert {one["metadata"]["uid"]: _restarts(one) for one in busy.made.pods()} == before
    figures.holds("a broker restarted: no pod was, and work went on")


def test_a_kubelet_that_hangs_for_a_minute_costs_no_warm_worker(busy, figures):
    workers = {name: busy.uid(name) for name in busy.workers_on(_LOST)}
    assert workers
    busy.load.under_way(*workers)
    began = time.monotonic()
    with busy.cluster.paused("kubelet-2"):
        busy.cluster.until(lambda: not _node_is_ready(busy.cluster, _LOST), "a node that is not ready")
        mark = busy.load.journals.mark()
        busy.cluster.until(
            lambda: time.monotonic() - began > _HELD_SECONDS, "the end of the minute", seconds=90, every=1
        )
        assert busy.load.journals.begun_since(mark)
    busy.cluster.until(lambda: _node_is_ready(busy.cluster, _LOST), "the node being ready again")
    busy.wait_ready(*workers)
    assert {name: busy.uid(name) for name in workers} == workers
    figures.holds(f"a kubelet held for 60 s: its {len(workers)} workers kept their pods, and went on meanwhile")


def test_a_node_is_drained_within_the_budgets(busy, figures):
    moved = busy.workers_on(_LOST)
    busy.load.under_way(*moved)
    began = time.monotonic()
    _run_page(busy.cluster, "Drain a node", NODE=_LOST)
    figures.measure(f"`kubectl drain` of a node with {len(moved)} workers", f"{time.monotonic() - began:.0f} s")
    busy.wait_ready(*moved)
    assert not busy.workers_on(_LOST)
    figures.holds(f"a node drained: {len(moved)} workers moved, one of each group at a time")


def test_a_node_that_is_lost_gives_its_work_back_when_the_operator_says_so(busy, figures):
    """Its pods stay Terminating, as on every Kubernetes, until someone says that the node is out of service."""
    busy.load.under_way()
    # The drain has left the node empty: let some go back.
    busy.made.kubectl("rollout", "restart", busy.statefulset("c"))
    busy.rolled_out(busy.statefulset("c"))
    lost = {name: busy.uid(name) for name in busy.workers_on(_LOST)}
    assert lost
    busy.load.under_way(*lost)
    busy.load.striking(*lost)
    held = {one for name in lost for one in busy.load.journals.begun_by(name)}
    began = time.monotonic()
    busy.cluster.lose(2)
    mark = busy.load.journals.mark()
    try:
        seconds = busy.load.redelivered(began, mark, held)
        busy.cluster.until(lambda: not _node_is_ready(busy.cluster, _LOST), "a node that is not ready")
        _run_page(busy.cluster, "Lost nodes", LOST=_LOST)
        for name, uid in lost.items():
            busy.wait_ready(name, other_than=uid)
        figures.measure("from a lost node to redelivery", f"{seconds:.0f} s")
        figures.measure("from a lost node to all its workers ready elsewhere", f"{time.monotonic() - began:.0f} s")
    finally:
        busy.cluster.kubectl("delete", "node", _LOST)
        busy.cluster.bring_back(2)
    figures.holds(f"a node lost: its {len(lost)} workers' requests came again, and after the taint its workers did")


def test_all_that_was_accepted_is_visible_once_and_nothing_was_redone_that_was_safe(busy, figures):
    # What is left needs no pace any more.
    busy.latency |= dict.fromkeys(busy.replicas, "0.02")
    busy.made.install(busy.values())
    verdict = busy.load.finish()
    assert verdict["breaches"] == []
    assert verdict["accepted"] == verdict["visible"] == sum(busy.load.jobs.values())
    redone = sum(times - 1 for times in busy.load.journals.times().values())
    assert redone <= busy.load.may_be_redone
    lives = busy.pods.lives().values()
    for life in lives:
        assert not life.restarts or life.uid in busy.restarted, f"{life.name} was restarted: {life.restarts}"
    # Who was deleted by force had no grace to be judged by.
    asked = [life for life in lives if life.component == "worker" and life.drained is not None and life.grace]
    gone = [life for life in asked if life.exit_code == 0]
    assert gone
    for life in gone:
        assert life.drained < life.grace
    longest = max(life.drained.total_seconds() for life in gone)
    figures.measure(
        "workers drained", f"{len(gone)}, the longest in {longest:.0f} s of {gone[0].grace.total_seconds():.0f}"
    )
    figures.measure("requests accepted, visible, run twice", f"{verdict['accepted']}, {verdict['visible']}, {redone}")
    figures.measure("requests that may have run twice, at most", str(busy.load.may_be_redone))
    figures.holds(
        f"accepted = visible = {verdict['visible']}, each once; redone {redone} of at most {busy.load.may_be_redone}"
    )


def _run_page(cluster, heading, **variables):
    """Run the commands under that heading of docs/kubernetes.md, as they stand there."""
    words = "set -euo pipefail\n" + pages.commands("kubernetes.md", heading)
    cluster.run("bash", "-c", words, env=variables, seconds=_PAGE_SECONDS)


def _restarts(pod):
    return sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))


def _node_is_ready(cluster, node):
    conditions = cluster.get("node", node)["status"]["conditions"]
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
