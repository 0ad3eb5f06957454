"""How many of a group's pods were ready while something was done to it, from what the API server tells a watcher."""

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.cluster import Cluster
from harness.process import stopped

_COLUMNS = (
    "jsonpath={.type}|{.object.metadata.name}|{.object.metadata.deletionTimestamp}|"
    '{.object.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
)
_SEEN_SECONDS = 30.0


@dataclass(slots=True)
class ReadyPods:
    """What the watcher saw; complete once the block that it watched is over."""

    fewest: int = 0
    """Pods that were ready, and not on their way out, at the worst moment."""


def fewest_ready(lines: Iterable[str], all_of_them: int) -> int:
    """The fewest ready pods at any moment, from the first at which all of them were."""
    ready: set[str] = set()
    fewest = None
    for line in lines:
        kind, name, deleted, is_ready = line.rstrip("\n").split("|")
        if kind != "DELETED" and is_ready == "True" and not deleted:
            ready.add(name)
        else:
            ready.discard(name)
        if fewest is not None or len(ready) == all_of_them:
            fewest = min(len(ready), all_of_them if fewest is None else fewest)
    assert fewest is not None, f"never were all {all_of_them} ready"
    return fewest


@contextmanager
def ready_pods(cluster: Cluster, namespace: str, selector: str, count: int, log: Path) -> Iterator[ReadyPods]:
    """Watch that many pods, all of them ready now, while the block lasts."""
    log.unlink(missing_ok=True)
    command = ("kubectl", "get", "pods", "-n", namespace, "-l", selector, "--watch", "--output-watch-events")
    watcher: subprocess.Popen[bytes] = cluster.start(*command, "-o", _COLUMNS, log=log)
    seen = ReadyPods()
    with stopped(watcher):
        cluster.until(
            lambda: log.exists() and len(log.read_text().splitlines()) >= count, "the pods", seconds=_SEEN_SECONDS
        )
        yield seen
    seen.fewest = fewest_ready(log.read_text().splitlines(), count)
