"""A deployment of Backburner on the cluster: a namespace with Secrets, a prefix on the broker, a root in the store.

It knows where everything is; Helm installs it, and its `clients` reach queue and store from this machine.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from harness.clients import Clients
from harness.cluster import GPU_LABEL, ROOT, Cluster
from harness.images import Images
from harness.kafka import USERS, Kafka, OutsideKafka
from harness.object_store import ObjectStore

CHART = ROOT / "helm" / "backburner"
_RELEASE = "bb"
_DELETE_SECONDS = 180.0

# Short times, so that ends come soon; the grace still covers cancel poll, segment age and drain, as it must.
QUICK = {
    "BACKBURNER_CANCEL_POLL_SECONDS": "0.5",
    "BACKBURNER_SWEEP_SECONDS": "2",
    "BACKBURNER_SEGMENT_MIN_AGE_SECONDS": "0.5",
    "BACKBURNER_SEGMENT_MAX_AGE_SECONDS": "2",
    "BACKBURNER_RETRY_BASE_SECONDS": "0.2",
    "BACKBURNER_RETRY_MAX_SECONDS": "1",
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment: its places, and what is done to it."""

    cluster: Cluster
    clients: Clients
    images: Images

    @property
    def name(self) -> str:
        """Its namespace, its prefix on the broker, and its root in the store."""
        return self.clients.name

    @property
    def broker(self) -> Kafka | OutsideKafka:
        """Its queue."""
        return self.clients.broker

    @property
    def store(self) -> ObjectStore:
        """Its object store."""
        return self.clients.store

    # --- the release --------------------------------------------------------------------------------------------

    @property
    def release(self) -> str:
        """The Helm release."""
        return _RELEASE

    @property
    def fullname(self) -> str:
        """First part of the chart's objects' names."""
        return f"{_RELEASE}-backburner"

    def values(self, groups: Mapping[str, Mapping[str, Any]], **more: Any) -> dict[str, Any]:
        """Values of the chart for these groups of workers, whose engine is the fake one unless they say otherwise."""
        kafka = self.broker.values()
        # The chart refuses a user that nobody signs in as.
        signs_in = kafka["securityProtocol"].startswith("SASL_")
        users = {part: {"kafka": {"existingSecret": {"name": f"kafka-{part}"}}} for part in USERS}
        parts: dict[str, Any] = users if signs_in else {part: {} for part in USERS}
        small = {"resources": {"requests": {"cpu": "20m", "memory": "128Mi", "ephemeral-storage": "32Mi"}}}
        base: dict[str, Any] = {
            "image": {"registry": self.images.registry, "tag": self.images.tag, "pullPolicy": "IfNotPresent"},
            "queue": {"url": self.broker.queue_url, "prefix": self.name},
            "kafka": kafka,
            "store": {
                "url": f"s3://{self.store.bucket}/{self.name}",
                "endpoint": self.store.endpoint,
                "region": self.store.region,
                "existingSecret": {"name": "store"},
                **self.store.authority_values(),
            },
            "env": QUICK,
            "gateway": {**parts["gateway"], **small, "replicas": 2, "drainSeconds": 10, "leaveSeconds": 2},
            "dispatcher": {
                **parts["dispatcher"],
                **small,
                "replicas": 2,
                "drainSeconds": 10,
                "env": {"BACKBURNER_DISPATCH_CLAIM_SECONDS": "5"},
            },
            "bootstrap": {**parts["bootstrap"]},
            "workers": {**parts["worker"], "defaults": {"drainSeconds": 10}, "groups": dict(groups)},
        }
        return merged(base, more)

    def group(self, model: str = "fake", /, **more: Any) -> dict[str, Any]:
        """A group of workers with the fake engine, on the nodes that stand for GPU nodes."""
        base: dict[str, Any] = {
            "model": {"name": model},
            "engine": {"kind": "fake"},
            "replicas": 1,
            "nodeSelector": GPU_LABEL if self.cluster.is_own else {"kubernetes.io/os": "linux"},
            "accelerator": {} if self.cluster.is_own else {"resource": ""},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "resources": {
                "requests": {"cpu": "20m", "memory": "128Mi"},
                "limits": {"cpu": "1", "memory": "512Mi"},
            },
            "env": {"BACKBURNER_FAKE_LATENCY_SECONDS": "0.05", "BACKBURNER_KAFKA_SESSION_SECONDS": "6"},
        }
        return merged(base, more)

    def install(self, values: Mapping[str, Any], *options: str, wait: bool = True) -> str:
        """`helm upgrade --install` with these values; what helm prints. With `wait`, until all is ready."""
        file = self._file("values.yaml", yaml.safe_dump(dict(values)))
        waiting = ("--wait", "--timeout", "180s") if wait else ()
        return self.cluster.helm(
            "upgrade", "--install", _RELEASE, CHART, "-n", self.name, "-f", file, *waiting, *options, seconds=240
        )

    def kubectl(self, *words: str, **options: Any) -> str:
        """kubectl in its namespace."""
        return self.cluster.kubectl("-n", self.name, *words, **options)

    def pods(self, component: str | None = None, group: str | None = None) -> list[dict[str, Any]]:
        """Its pods, by component or group of workers."""
        labels = [f"app.kubernetes.io/instance={_RELEASE}"]
        labels += [f"app.kubernetes.io/component={component}"] if component else []
        labels += [f"backburner.dev/group={group}"] if group else []
        return self.cluster.items("pods", "-n", self.name, "-l", ",".join(labels))

    def metric(self, pod: str, series: str) -> float:
        """What a pod of its own tells of a series, named with its labels as the page of metrics has it."""
        page = f"/api/v1/namespaces/{self.name}/pods/{pod}:8080/proxy/metrics"
        for line in self.cluster.kubectl("get", "--raw", page).splitlines():
            if line.startswith(f"{series} "):
                return float(line.removeprefix(series))
        raise AssertionError(f"{pod} tells no {series}")

    # --- making and ending --------------------------------------------------------------------------------------

    def prepare(self, *, restricted: bool) -> None:
        """Make the namespace with the Secrets that the values name."""
        secrets = {f"kafka-{part}": self.broker.secret(part) for part in USERS}
        secrets["store"] = {"access-key": self.store.access_key, "secret-key": self.store.secret_key}
        given = {"kafka.crt": self.broker.authority, "store.crt": self.store.authority}
        authorities = {name: file.read_text() for name, file in given.items() if file is not None}
        labels = {"pod-security.kubernetes.io/enforce": "restricted"} if restricted else {}
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": labels}})
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "authorities"}, "data": authorities},
            *(
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": _encoded(data)}
                for name, data in secrets.items()
            ),
            namespace=self.name,
        )

    def _file(self, name: str, text: str) -> Path:
        file = self.images.folder / f"{self.name}-{name}"
        file.write_text(text, encoding="utf-8")
        return file


@contextmanager
def deployment(
    clients: Clients, images: Images, *, pools: Sequence[str] = ("fake",), restricted: bool = True
) -> Iterator[Deployment]:
    """A deployment's namespace and rights; nothing is installed in it yet, and nothing is left of it in the cluster.

    A `restricted` namespace takes no pod that is less hardened than the strictest of Kubernetes' own standards.
    """
    made = Deployment(clients.cluster, clients, images)
    clients.broker.grant(clients.name, *pools)
    made.prepare(restricted=restricted)
    try:
        yield made
    finally:
        delete = ("delete", "namespace", clients.name, "--wait=true")
        clients.cluster.kubectl(*delete, seconds=_DELETE_SECONDS, check=False)


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`more` over `base`, maps key by key, as Helm does it with values."""
    found = dict(base)
    for key, value in more.items():
        there = found.get(key)
        found[key] = merged(there, value) if isinstance(there, Mapping) and isinstance(value, Mapping) else value
    return found


def _encoded(data: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
