"""A model that lies on its node before a worker needs it there, by the command that docs/kubernetes.md shows."""

import hashlib
import os

from harness import pages

_IMAGE_USER = 10001
_GROUP = "warm"
_COMMAND_SECONDS = 240


def test_a_job_puts_the_model_onto_the_node_and_the_worker_takes_it_from_there(own_cluster, deploy, figures, tmp_path):
    weights, sums = tmp_path / "model.safetensors", tmp_path / "SHA256SUMS"
    weights.write_bytes(bytes(range(256)) * 4096)
    sums.write_text(f"{hashlib.sha256(weights.read_bytes()).hexdigest()}  {weights.name}\n")
    on_the_node = tmp_path / "models"
    on_the_node.mkdir()
    # As a node's start-up script does it.
    for folder in (tmp_path, on_the_node):
        folder.chmod(0o755)
    on_the_node.chmod(0o775)
    os.chown(on_the_node, _IMAGE_USER, _IMAGE_USER)
    with deploy("warm", restricted=False) as made:
        at = made.clients
        at.program("upload", "models", _GROUP, at.store.endpoint, str(weights), str(sums))
        model = {
            "source": f"s3://models/{_GROUP}",
            "checksum": hashlib.sha256(sums.read_bytes()).hexdigest(),
            "sizeGiB": 1,
            "cache": {"kind": "hostPath", "hostPath": str(on_the_node)},
            "prefetch": {"enabled": True, "nodes": 1},
        }
        made.install(made.values({_GROUP: made.group(model=model)}), wait=False)
        command = pages.commands("kubernetes.md", "Models, and warm workers")
        own_cluster.run("bash", "-euc", command, env={"NAMESPACE": made.name}, seconds=_COMMAND_SECONDS)
        (fetched,) = on_the_node.rglob(weights.name)
        assert fetched.read_bytes() == weights.read_bytes()
        made.kubectl("rollout", "status", f"statefulset/{made.fullname}-worker-{_GROUP}", "--timeout=120s", seconds=150)
    figures.holds("a Job puts a model onto a node, with its checksum, and a worker takes it from there")
