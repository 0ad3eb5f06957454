"""The chart's objects for a values file, as this cluster's own capabilities make Helm render them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from harness.cluster import Cluster
from harness.deployment import CHART

CI_FILES = sorted((CHART / "ci").glob("*-values.yaml"))
"""The values files that every check of the chart goes over."""


def rendered(cluster: Cluster, namespace: str, *files: Path, kinds: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The objects, or those of these kinds; none may be there already. Raises `CommandFailed` with Helm's words."""
    words = [word for file in files for word in ("-f", str(file))]
    text = cluster.helm("template", "bb", CHART, "-n", namespace, "--dry-run=server", *words)
    wanted = set(kinds)
    return [found for found in yaml.safe_load_all(text) if found and (not wanted or found["kind"] in wanted)]
