"""What became of a namespace's pods, as the API server told it while a block ran."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from harness.cluster import Cluster
from harness.process import stopped


@dataclass(slots=True)
class PodLife:
    """One pod, from its first event to its last."""

    name: str
    uid: str
    component: str
    restarts: dict[int, int] = field(default_factory=dict)
    """Exit code of the container that ended, by the number of the restart."""
    reasons: set[str] = field(default_factory=set)
    """Why containers ended, such as OOMKilled."""
    exit_code: int | None = None
    """Of the last container, once the pod was asked to go."""
    drained: timedelta | None = None
    """From being asked to go to the container's end."""
    asked_to_go: datetime | None = None
    grace: timedelta | None = None
    """What it was given then; the kubelet's own last call, once the containers are through, says none."""


class PodWatch:
    """The pods of a namespace while it is watched."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def lives(self) -> dict[str, PodLife]:
        """All pods that there were until now, by uid."""
        lives: dict[str, PodLife] = {}
        for event in _documents(self._log.read_text(encoding="utf-8")):
            found = event["object"]
            if found["kind"] == "Pod":
                _note(lives, found)
        return lives

    def fewest_ready(self, group: str, count: int) -> int | None:
        """How many of a group's workers were ready, and not on their way out, at the worst moment until now.

        Counted from the first moment at which all `count` of them were; None before it.
        """
        ready: set[str] = set()
        fewest = None
        for event in _documents(self._log.read_text(encoding="utf-8")):
            found = event["object"]
            meta = found["metadata"]
            if found["kind"] != "Pod" or meta.get("labels", {}).get("backburner.dev/group") != group:
                continue
            if event["type"] != "DELETED" and "deletionTimestamp" not in meta and _is_ready(found):
                ready.add(meta["name"])
            else:
                ready.discard(meta["name"])
            if fewest is not None or len(ready) == count:
                fewest = min(len(ready), count if fewest is None else fewest)
        return fewest


@contextmanager
def watching(cluster: Cluster, namespace: str, log: Path) -> Iterator[PodWatch]:
    """Its pods' lives, from those that are there on."""
    words = ("get", "pods", "-n", namespace, "-w", "--output-watch-events", "-o", "json")
    with stopped(cluster.start("kubectl", *words, log=log)):
        yield PodWatch(log)


def _note(lives: dict[str, PodLife], pod: dict[str, Any]) -> None:
    meta, status = pod["metadata"], pod["status"]
    component = meta.get("labels", {}).get("app.kubernetes.io/component", "")
    life = lives.setdefault(meta["uid"], PodLife(meta["name"], meta["uid"], component))
    if "deletionTimestamp" in meta and life.asked_to_go is None:
        life.grace = timedelta(seconds=meta.get("deletionGracePeriodSeconds", 0))
        life.asked_to_go = _moment(meta["deletionTimestamp"]) - life.grace
    for container in status.get("containerStatuses", ()):
        before = container.get("lastState", {}).get("terminated")
        if before:
            life.restarts[container["restartCount"]] = before["exitCode"]
            life.reasons.add(before.get("reason", ""))
        ended = container["state"].get("terminated")
        if ended and life.asked_to_go is not None:
            life.exit_code = ended["exitCode"]
            if ended.get("finishedAt"):
                life.drained = _moment(ended["finishedAt"]) - life.asked_to_go


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """The JSON documents that stand there one after another; the last may not be whole yet."""
    decoder, at = json.JSONDecoder(), 0
    while (at := text.find("{", at)) >= 0:
        try:
            found, at = decoder.raw_decode(text, at)
        except ValueError:
            return
        yield found
