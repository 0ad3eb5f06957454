"""From an empty cluster to the first result by NOTES.txt's own commands, and everybody who asks after that.

OpenAI's stock package and a raw producer in pods, `helm test`, S3 alone; nothing is ready before it is warm; and what
is left after an uninstall.
"""

import re
import time
from pathlib import Path

import openai_environment
import pytest
from harness import pod
from harness.cluster import GPU_LABEL

_PROGRAMS = Path(__file__).parent / "programs"
_GROUP = "chat"
_COMMAND = re.compile(r"^  ((?:kubectl|export|curl|ID=|helm) ?.*)$", re.MULTILINE)
_NOTES_SECONDS = 240.0
_LOADING_SECONDS = "3600"


@pytest.fixture(scope="module")
def first(deploy):
    with deploy("first") as made:
        yield made


def _notes_commands(notes):
    """The commands that NOTES.txt shows, as they stand there; what `helm test` is for comes later."""
    return [command for command in _COMMAND.findall(notes) if not command.startswith("helm test")]


def test_from_an_empty_cluster_to_the_first_result_by_the_commands_that_the_notes_show(first, figures):
    began = time.monotonic()
    first.install(first.values({_GROUP: first.group(replicas=2)}), wait=False)
    commands = _notes_commands(first.cluster.helm("get", "notes", first.release, "-n", first.name))
    assert any("/async/chat/completions" in command for command in commands)
    printed = first.cluster.run(
        "bash", "-euo", "pipefail", "-c", "trap 'kill $(jobs -p)' EXIT\n" + "\n".join(commands), seconds=_NOTES_SECONDS
    ).stdout
    assert '"chat.completion"' in printed, printed
    assert "fake-" in printed, printed
    figures.measure("from `helm install` to the first result", f"{time.monotonic() - began:.0f} s")
    figures.holds(f"the first result comes by NOTES.txt's own {len(commands)} commands")


def test_helm_test_passes(first, figures):
    # Without the --logs of the notes: nodes that share a machine remove each other's logs.
    printed = first.cluster.helm("test", first.release, "-n", first.name)
    assert "Succeeded" in printed
    figures.holds("`helm test`: a batch through the gateway is answered")


def test_workers_run_where_gpus_are_and_the_rest_is_hardened(first, figures):
    label, value = next(iter(GPU_LABEL.items()))
    pods = first.pods()
    for one in pods:
        spec = one["spec"]
        (container, *_) = spec["containers"]
        context = {**spec["securityContext"], **container["securityContext"]}
        assert context["runAsNonRoot"]
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not context["allowPrivilegeEscalation"]
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    if first.cluster.is_own:
        assert all(one["spec"]["nodeSelector"][label] == value for one in first.pods("worker"))
        assert {one["spec"]["nodeName"] for one in first.pods("worker")} == {"node-1", "node-2"}
    figures.holds(f"{len(pods)} pods run in a namespace that enforces the restricted standard, workers one a zone")


def test_the_stock_openai_package_in_a_pod_gets_its_batch_answered(first, figures):
    if not first.cluster.is_own:
        figures.leave_out("the stock openai package in a pod: its files are mounted from this machine")
        pytest.skip("not on somebody's cluster")
    python = openai_environment.ensure()
    (packages,) = (python.parents[1] / "lib").glob("python3*/site-packages")
    key = first.kubectl("get", "secret", f"{first.fullname}-admin-key", "-o", "jsonpath={.data.api-key}")
    # A neighbour's namespace: files of the node are nothing that the deployment's own lets in.
    first.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "neighbour"}})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "data": {"api-key": key}}
    first.cluster.apply(secret, namespace="neighbour")
    try:
        answered = pod.run(
            first.cluster,
            "neighbour",
            _PROGRAMS / "stock_openai.py",
            image=first.images.name("gateway"),
            env=[
                {"name": "OPENAI_BASE_URL", "value": f"http://{first.fullname}-gateway.{first.name}.svc/v1"},
                {"name": "OPENAI_API_KEY", "valueFrom": {"secretKeyRef": {"name": "key", "key": "api-key"}}},
                {"name": "PYTHONPATH", "value": "/stock"},
            ],
            mounts={"/stock": {"hostPath": {"path": str(packages)}}},
        )
    finally:
        first.cluster.kubectl("delete", "namespace", "neighbour", "--wait=false")
    assert sorted(answered) == sorted(f"s{number}" for number in range(20))
    figures.holds("the stock `openai` package in a pod of another namespace: upload, batch, results")


def test_plain_lines_of_a_raw_producer_in_a_pod_are_answered_and_read_by_s3_alone(first, figures):
    topic = f"{first.name}.fake.normal"
    secret = {"secretKeyRef": {"name": "kafka-producer", "key": ""}}
    sent = pod.run(
        first.cluster,
        first.name,
        _PROGRAMS / "raw_producer.py",
        topic,
        "50",
        image=first.images.name("gateway"),
        env=[
            {"name": "KAFKA_SERVERS", "value": first.broker.bootstrap},
            {"name": "KAFKA_CA", "value": "/authorities/kafka.crt"},
            {"name": "KAFKA_USER", "valueFrom": {"secretKeyRef": {**secret["secretKeyRef"], "key": "username"}}},
            {"name": "KAFKA_PASSWORD", "valueFrom": {"secretKeyRef": {**secret["secretKeyRef"], "key": "password"}}},
        ],
        mounts={"/authorities": {"configMap": {"name": "authorities"}}},
    )
    assert len(sent) == 50
    jobs = f"{first.name}/tenants/default/jobs/stream-{topic}-"

    def results():
        found = first.clients.program("read_results", first.store.bucket, jobs, first.store.endpoint)
        return found if len(found) == 50 else None

    found = first.cluster.until(results, "the answers to 50 plain lines in the store", every=1)
    assert set(found) == {f"raw{number}" for number in range(50)}
    assert all(text.startswith("fake-") for text, _ in found.values())
    figures.holds("50 plain lines of a raw Kafka producer in a pod: each answered once, read from outside by S3 alone")


def test_nothing_is_ready_before_it_is_warm(first, figures):
    """A group whose model loads for an hour: alive, not ready, no member, and gone within its grace when told to go."""
    slow = first.group(env={"BACKBURNER_FAKE_LOAD_SECONDS": _LOADING_SECONDS})
    values = first.values({_GROUP: first.group(replicas=2), "slow": slow})
    first.install(values, wait=False)

    def running():
        return next((one for one in first.pods(group="slow") if one["status"].get("phase") == "Running"), None)

    one = first.cluster.until(running, "a worker that loads")
    name = one["metadata"]["name"]
    page = f"/api/v1/namespaces/{first.name}/pods/{name}:8080/proxy"
    first.cluster.until(
        lambda: first.cluster.run("kubectl", "get", "--raw", f"{page}/livez", check=False).returncode == 0,
        "a worker that is alive",
    )
    # The kubelet has asked it, too, and was told that it is not ready: what it is by now, it has been found to be.
    asked = ("events", "-n", first.name, "--field-selector", f"involvedObject.name={name},reason=Unhealthy")
    first.cluster.until(
        lambda: any("statuscode: 503" in event["message"] for event in first.cluster.items(*asked)),
        "a probe that finds the worker not ready",
    )
    conditions = {found["type"]: found["status"] for found in running()["status"]["conditions"]}
    assert conditions["Ready"] == "False"
    members = first.clients.program("members", f"{first.name}.fake", part="admin")
    workers = [found["metadata"]["name"] for found in first.pods("worker")]
    pulling = {worker for worker in workers if any(member.startswith(f"{worker}-") for member in members)}
    assert pulling == {found["metadata"]["name"] for found in first.pods(group=_GROUP)}
    first.install(first.values({_GROUP: first.group(replicas=2)}), wait=False)
    first.cluster.until(lambda: not first.pods(group="slow"), "the end of a worker that is told to go while it loads")
    figures.holds("a worker that loads is alive, not ready and in no consumer group; told to go, it goes")


def test_an_uninstall_leaves_the_admin_key_the_topics_and_every_result(first, figures):
    before = first.clients.program("read_results", first.store.bucket, f"{first.name}/", first.store.endpoint)
    first.cluster.helm("uninstall", first.release, "-n", first.name, "--wait")
    owned = (
        "deployments,statefulsets,services,serviceaccounts,configmaps,secrets,jobs,poddisruptionbudgets,"
        "networkpolicies,roles,rolebindings"
    )
    left = first.cluster.items(owned, "-n", first.name, "-l", f"app.kubernetes.io/instance={first.release}")
    names = {f"{one['kind']}/{one['metadata']['name']}" for one in left}
    secrets = {one["metadata"]["name"] for one in first.cluster.items("secrets", "-n", first.name)}
    assert names <= {f"Secret/{first.fullname}-admin-key"}
    assert f"{first.fullname}-admin-key" in secrets
    assert first.clients.program("read_results", first.store.bucket, f"{first.name}/", first.store.endpoint) == before
    figures.holds("an uninstall leaves the admin key's Secret, the topics and every result, and nothing else")
