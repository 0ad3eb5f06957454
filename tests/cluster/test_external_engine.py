"""Servers elsewhere as a pool's engine: vLLM's own API server and a stand-in, as pods, one of which is deleted."""

import json
import time
from pathlib import Path

import pytest
from chart.network import Peer, allowed

from backburner.local.model import prepare_auto_model

_PROGRAM = Path(__file__).parents[1] / "support" / "openai_server.py"
_MODEL = "smollm2"
_GROUP = "elsewhere"
_PORT = 8000
_SSH_PORT = 22
_DURING, _AFTER = 800, 40
"""Requests of the job in whose middle a server is deleted, and of the one after it is back."""
_SERVERS = "backburner_engine_servers"
_ANSWERED = "backburner_engine_seconds_count"
_WARM_SECONDS = 300
_ARGS = (
    "--max-model-len 512 --max-num-seqs 8 --max-num-batched-tokens 512 --enforce-eager --dtype bfloat16 "
    "--kv-cache-memory-bytes 67108864"
)
_VLLM = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture
def made(full, cluster, deploy, images):
    """A deployment in whose namespace the two servers start, behind a headless Service."""
    full("vLLM's API server in a pod as an external engine")
    if not cluster.is_own:
        pytest.skip("not on somebody's cluster: it has no image of the CPU build")
    images.ensure(["worker-cpu"])
    # The model is a folder of the node, which the restricted standard does not let in.
    with deploy("elsewhere", pools=(_MODEL,), restricted=False) as found:
        vllm = ["-m", "vllm.entrypoints.openai.api_server", "--model", "/model", "--served-model-name", _MODEL]
        vllm += ["--host", "0.0.0.0", "--port", str(_PORT), *_ARGS.split()]
        # As docs/external-engines.md tells operators: the job's requests have no limit of their own.
        vllm += ["--override-generation-config", '{"max_new_tokens": 16}']
        stand_in = [f"/program/{_PROGRAM.name}", "--host", "0.0.0.0", "--port", str(_PORT)]
        stand_in += ["--model", _MODEL, "--latency", "1"]
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "models"},
                "spec": {"clusterIP": "None", "selector": {"app": "models"}, "ports": [{"port": _PORT}]},
            },
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "program"},
                "data": {_PROGRAM.name: _PROGRAM.read_text()},
            },
            _server(found, "vllm", vllm, _VLLM, {"/model": {"hostPath": {"path": str(prepare_auto_model())}}}),
            _server(found, "stand-in", stand_in, {}, {"/program": {"configMap": {"name": "program"}}}),
            namespace=found.name,
        )
        yield found


def _server(made, name, words, env, folders):
    """The StatefulSet of one server; its pod has a name in DNS while it is ready."""
    volumes = {"/tmp": {"emptyDir": {}}, "/dev/shm": {"emptyDir": {"medium": "Memory"}}, **folders}
    container = {
        "name": "server",
        "image": made.images.name("worker-cpu"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", *words],
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "ports": [{"containerPort": _PORT}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": _PORT}, "periodSeconds": 1, "timeoutSeconds": 5},
        "securityContext": {"readOnlyRootFilesystem": True},
        "volumeMounts": [{"name": f"v{number}", "mountPath": path} for number, path in enumerate(volumes)],
    }
    spec = {
        "enableServiceLinks": False,
        "containers": [container],
        "volumes": [{"name": f"v{number}", **volume} for number, volume in enumerate(volumes.values())],
    }
    labels = {"app": "models", "server": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "serviceName": "models",
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def test_one_of_two_servers_is_deleted_and_comes_back_and_every_request_is_answered_once(made, figures):
    group = made.group(
        _MODEL,
        engine={
            "kind": "openai-http",
            "urls": [f"http://{name}-0.models:{_PORT}" for name in ("vllm", "stand-in")],
            "image": {"repository": "backburner/worker-cpu"},
        },
        accelerator={"resource": ""},
        env={"BACKBURNER_FAKE_LATENCY_SECONDS": "", "BACKBURNER_CONCURRENCY": "8"},
    )
    made.install(made.values({_GROUP: group}, gateway={"replicas": 1}, dispatcher={"replicas": 1}))
    worker = f"{made.fullname}-worker-{_GROUP}-0"

    def answering(count):
        return lambda: made.metric(worker, f'{_SERVERS}{{state="answering"}}') == count

    made.cluster.until(answering(2), "both servers answering", seconds=_WARM_SECONDS, every=1)
    _assert_that_policies_let_it_reach_the_servers_alone(made)

    made.clients.program("submit", f"during={_DURING}={_MODEL}")
    made.cluster.until(lambda: made.metric(worker, _ANSWERED) > _DURING / 10, "the first answers")
    began = time.monotonic()
    made.kubectl("delete", "pod", "vllm-0", "--force", "--grace-period=0")
    made.cluster.until(answering(1), "a server that is missed")
    figures.measure("external engine: from a server's end to its being missed", f"{time.monotonic() - began:.0f} s")
    seen = made.metric(worker, _ANSWERED)
    made.cluster.until(lambda: made.metric(worker, _ANSWERED) > seen, "answers of the server that is left")
    made.cluster.until(answering(2), "both servers answering again", seconds=_WARM_SECONDS, every=1)
    figures.measure("external engine: until it answered again, vLLM loaded", f"{time.monotonic() - began:.0f} s")
    made.clients.program("submit", f"after={_AFTER}={_MODEL}")

    jobs = {"during": _DURING, "after": _AFTER}
    words = [f"{name}={count}={_MODEL}" for name, count in jobs.items()]
    verdict = made.clients.program("judge", _MODEL, "300", *words, "--any-engine", part="admin", seconds=600)
    assert verdict["breaches"] == []
    assert verdict["failed"] == 0
    assert verdict["accepted"] == verdict["visible"] == verdict["answered"] == sum(jobs.values())
    by = {name: _answered_by(made, name) for name in jobs}
    assert all(set(several) == {"vllm", "stand-in"} for several in by.values())
    (pod,) = made.pods("worker")
    assert [one["restartCount"] for one in pod["status"]["containerStatuses"]] == [0]
    figures.measure(
        "external engine: answers of vLLM's API server",
        ", ".join(f"{several.count('vllm')} of {len(several)} {name}" for name, several in by.items()),
    )
    figures.holds(
        f"two servers elsewhere, vLLM's own one of them, which is deleted and comes back: {verdict['answered']} "
        "requests answered, each once, none failed"
    )


def _answered_by(made, job):
    """Which server gave each answer: the stand-in's texts say what they are."""
    records = map(json.loads, made.clients.backburner("results", job).splitlines())
    texts = [record["response"]["body"]["choices"][0]["message"]["content"] for record in records]
    return ["stand-in" if text.startswith("fake-") else "vllm" for text in texts]


def _assert_that_policies_let_it_reach_the_servers_alone(made):
    """Nothing enforces policies here: the evaluator judges those of the API server for the pods as they are."""
    policies = made.cluster.items("networkpolicies", "-n", made.name)
    (worker,) = (_peer(one) for one in made.pods("worker"))
    servers = [_peer(one) for one in made.cluster.items("pods", "-n", made.name, "-l", "app=models")]
    assert len(servers) == 2
    for server in servers:
        assert allowed(policies, worker, server, _PORT)
        assert not allowed(policies, worker, server, _SSH_PORT)


def _peer(pod):
    return Peer(pod["metadata"]["labels"], pod["metadata"]["namespace"], pod["status"]["podIP"])
