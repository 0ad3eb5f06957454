"""The real vLLM on the CPU in a pod: its model fetched from the S3 server with its checksum, killed, and warm again."""

import hashlib
import json
import time

import pytest
from harness.kafka import USERS

from backburner.local.model import prepare_auto_model

_MODEL = "smollm2"
_GROUP = "real"
_WARM_SECONDS = 420
_SOURCE = f"s3://models/{_MODEL}"
_ENGINE = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "TORCHDYNAMO_DISABLE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture
def model(full, cluster, clients, images, tmp_path):
    """The model's folder in the store, with SHA256SUMS; the checksum of that."""
    full("the real vLLM in a pod")
    if not cluster.is_own:
        pytest.skip("not on somebody's cluster: it has no image of the CPU build")
    images.ensure(["worker-cpu"])
    folder = prepare_auto_model()
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (tmp_path / "SHA256SUMS").write_text(sums)
    at = clients("real")
    at.program("upload", "models", _MODEL, at.store.endpoint, *map(str, [*files, tmp_path / "SHA256SUMS"]))
    return hashlib.sha256(sums.encode()).hexdigest()


def test_a_model_is_fetched_whole_answers_and_is_warm_again_after_a_kill(model, deploy, figures):
    with deploy("real", pools=(_MODEL,)) as made:
        group = {
            "model": {"source": _SOURCE, "checksum": model, "sizeGiB": 1},
            "engine": {
                "kind": "vllm",
                "args": ["--max-model-len", "512", "--enforce-eager"],
                "image": {"repository": "backburner/worker-cpu"},
            },
            "accelerator": {"resource": ""},
            "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "6Gi"}},
            "env": {**_ENGINE, "BACKBURNER_FAKE_LATENCY_SECONDS": "", "BACKBURNER_KAFKA_SESSION_SECONDS": "6"},
        }
        parts = {part: {"replicas": 1} for part in USERS if part in {"gateway", "dispatcher"}}
        began = time.monotonic()
        made.install(made.values({_GROUP: made.group(_MODEL, **group)}, **parts), wait=False)
        name = f"{made.fullname}-worker-{_GROUP}-0"
        made.cluster.until(
            lambda: _ready(made, name), "a warm worker of the real engine", seconds=_WARM_SECONDS, every=1
        )
        figures.measure("real vLLM: from install to ready, model fetched", f"{time.monotonic() - began:.0f} s")
        assert "Paris" in _ask(made, "What is the capital of France?")
        uid = made.cluster.get("pod", name, "-n", made.name)["metadata"]["uid"]
        began = time.monotonic()
        made.kubectl("delete", "pod", name, "--force", "--grace-period=0")
        again = lambda: _ready(made, name, other_than=uid)  # noqa: E731 - the one use is the next line
        made.cluster.until(again, "it being warm again", seconds=_WARM_SECONDS, every=1)
        figures.measure("real vLLM: from a kill to ready again", f"{time.monotonic() - began:.0f} s")
        assert "Paris" in _ask(made, "Which city is the capital of France?")
    figures.holds("the real vLLM in a pod: fetched with its checksum, answers, killed, warm again, answers")


def _ready(made, name, *, other_than=""):
    found = [one for one in made.pods(group=_GROUP) if one["metadata"]["name"] == name]
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for one in found
        if one["metadata"]["uid"] != other_than
        for condition in one["status"].get("conditions", ())
    )


def _ask(made, question):
    body = {"model": _MODEL, "messages": [{"role": "user", "content": question}], "max_tokens": 24, "temperature": 0}
    return made.clients.program("ask", json.dumps(body), seconds=200)
