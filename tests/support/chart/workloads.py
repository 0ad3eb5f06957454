"""The pods that rendered objects make, whichever kind makes them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
_TEMPLATED = {"Deployment", "StatefulSet", "Job", "DaemonSet"}


@dataclass(frozen=True)
class Workload:
    """A pod template, and the object that it stands in."""

    owner: Object
    template: Object
    part: str = ""
    """Which of its owner's templates it is, where there are several."""

    @property
    def kind(self) -> str:
        """Its owner's kind."""
        return str(self.owner["kind"])

    @property
    def name(self) -> str:
        """Kind and name of its owner."""
        return " ".join(filter(None, [self.kind, self.owner["metadata"]["name"], self.part]))

    @property
    def labels(self) -> dict[str, str]:
        """Its pods' labels."""
        return self.template.get("metadata", {}).get("labels") or {}

    @property
    def component(self) -> str:
        """The part of Backburner that it runs."""
        return self.labels.get("app.kubernetes.io/component", "")

    @property
    def spec(self) -> Object:
        """Its pods' specification."""
        spec: Object = self.template["spec"]
        return spec

    @property
    def containers(self) -> list[Object]:
        """All its containers, those of the start included."""
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Its containers' ports, by name."""
        return {port["name"]: port["containerPort"] for one in self.spec["containers"] for port in one.get("ports", [])}

    @property
    def replicas(self) -> int:
        """How many pods are asked for; 1 where an autoscaler decides or nothing is said."""
        return int(self.owner["spec"].get("replicas", 1))


def workloads(objects: Iterable[Object]) -> Iterator[Workload]:
    """Every pod template of the objects."""
    for one in objects:
        spec = one.get("spec", {})
        match one["kind"]:
            case "Pod":
                yield Workload(one, {"metadata": one["metadata"], "spec": spec})
            case "CronJob":
                yield Workload(one, spec["jobTemplate"]["spec"]["template"])
            case "LeaderWorkerSet":
                for part in ("leaderTemplate", "workerTemplate"):
                    if part in spec["leaderWorkerTemplate"]:
                        yield Workload(one, spec["leaderWorkerTemplate"][part], part)
            case kind if kind in _TEMPLATED:
                yield Workload(one, spec["template"])
            case _:
                pass


def selects(selector: Object | None, labels: dict[str, str]) -> bool:
    """Whether a label selector, as policies and budgets have it, chooses what has these labels."""
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for term in selector.get("matchExpressions") or []:
        value, wanted = labels.get(term["key"]), term.get("values", [])
        holds = {
            "In": value in wanted,
            "NotIn": value not in wanted,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[term["operator"]]
        if not holds:
            return False
    return True
