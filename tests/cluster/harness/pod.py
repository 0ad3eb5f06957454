"""A program of the tests in a pod of its own, as a user's is: what it prints, or why it failed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.cluster import Cluster

_END_SECONDS = 180.0
_FOLDER = "/programs"


def run(
    cluster: Cluster,
    namespace: str,
    program: Path,
    *words: str,
    image: str,
    env: Sequence[Mapping[str, Any]] = (),
    mounts: Mapping[str, Mapping[str, Any]] | None = None,
) -> Any:
    """What the program prints, from JSON, run by the image's own Python; `mounts` are volumes by their path."""
    name = program.stem.replace("_", "-")
    volumes = {_FOLDER: {"configMap": {"name": name}}, **(mounts or {})}
    config = {"kind": "ConfigMap", "metadata": {"name": name}, "data": {program.name: program.read_text()}}
    container = {
        "name": "program",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        # What it prints goes where the pod's status shows it: nodes that share a machine remove each other's logs.
        "command": ["sh", "-c", 'python3 "$@" >/dev/termination-log', "program", f"{_FOLDER}/{program.name}", *words],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "env": list(env),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": f"v{number}", "mountPath": path, "readOnly": True} for number, path in enumerate(volumes)
        ],
    }
    spec = {
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": f"v{number}", **volume} for number, volume in enumerate(volumes.values())],
    }
    pod = {"kind": "Pod", "metadata": {"name": name}, "spec": spec}
    cluster.apply({"apiVersion": "v1", **config}, {"apiVersion": "v1", **pod}, namespace=namespace)

    def ended() -> str | None:
        phase = cluster.get("pod", name, "-n", namespace)["status"].get("phase")
        return phase if phase in {"Succeeded", "Failed"} else None

    phase = cluster.until(ended, f"an end of the pod {name}", seconds=_END_SECONDS)
    ended_with = cluster.get("pod", name, "-n", namespace)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert phase == "Succeeded", f"{name} failed: {ended_with}"
    cluster.kubectl("delete", f"pod/{name}", f"configmap/{name}", "-n", namespace, "--wait=false")
    return json.loads(ended_with["message"])
