"""Renders of the chart: each values file of `ci/`, by each Helm, once."""

import json
import re
import subprocess
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import chart_tools
import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "backburner"
RELEASE, NAMESPACE = "bb", "batch"
OLDEST, NEWEST = "1.30", "1.37"
"""Minors of Kubernetes that the chart is for."""
_NEEDS = re.compile(r"^# Kubernetes (\d+\.\d+)", re.MULTILINE)
_SEPARATOR = re.compile(r"^---$", re.MULTILINE)
_EXTRA = "# Source: backburner/templates/extraobjects.yaml"
"""What Helm writes above objects that the values bring along; nobody but their author knows what they should be."""
_SIDE_BY_SIDE = 2
_HELM_SECONDS = 60

# libyaml's, where it is there: ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def case_files() -> list[Path]:
    """The values files of `ci/`."""
    return sorted((CHART / "ci").glob("*-values.yaml"))


def case_name(file: Path) -> str:
    """`smallest` of `ci/smallest-values.yaml`."""
    return file.name.removesuffix("-values.yaml")


def oldest_for(file: Path) -> str:
    """The oldest minor of Kubernetes that a values file is for: as a line `# Kubernetes 1.34 …` says, else of all."""
    found = _NEEDS.search(file.read_text(encoding="utf-8"))
    return found[1] if found else OLDEST


@dataclass(frozen=True)
class Render:
    """What Helm made of one values file."""

    name: str
    helm: int
    kubernetes: str
    text: str
    values: str = field(repr=False)
    """The text of the values file."""

    @cached_property
    def own_text(self) -> str:
        """The text without objects that the values bring along."""
        return "---".join(part for part in _SEPARATOR.split(self.text) if _EXTRA not in part)

    @cached_property
    def objects(self) -> list[dict[str, Any]]:
        """Every object of the chart's own, in the order of the render."""
        return [one for one in yaml.load_all(self.own_text, Loader=_LOADER) if one]


def run_helm(
    major: int, *arguments: str, check: bool = True, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Helm 3 or 4; what it says is in the error where it fails."""
    command = [str(chart_tools.helm(major)), *arguments]
    ran = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=_HELM_SECONDS)
    assert not check or ran.returncode == 0, f"helm {' '.join(arguments)}:\n{ran.stderr}{ran.stdout}"
    return ran


def template(major: int, *arguments: str, kubernetes: str = NEWEST, check: bool = True, stdin: str | None = None):
    """`helm template` with the release's name and namespace."""
    return run_helm(
        major,
        *("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kube-version", f"v{kubernetes}.0", *arguments),
        check=check,
        stdin=stdin,
    )


def render(file: Path, major: int, kubernetes: str) -> Render:
    """Render a values file."""
    text = template(major, "--values", str(file), kubernetes=kubernetes).stdout
    return Render(case_name(file), major, kubernetes, text, file.read_text(encoding="utf-8"))


class _OneOfEachKey(yaml.SafeLoader):
    """YAML that refuses a key that stands twice in a map, as kustomize and Argo CD do."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]  # type: ignore[no-untyped-call]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{twice} stands twice, {node.start_mark}"
        return super().construct_mapping(node, deep)


REMOVED = object()
"""In values for `render_values`: the key is not there."""


def _merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(values)
    for key, value in over.items():
        known = result.get(key)
        result[key] = _merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return {key: value for key, value in result.items() if value is not REMOVED}


def smallest_with(over: dict[str, Any]) -> str:
    """The smallest installation's values with others over them, as a file has them."""
    file = next(file for file in case_files() if case_name(file) == "smallest")
    return json.dumps(_merged(yaml.safe_load(file.read_text(encoding="utf-8")), over))


def render_values(
    over: dict[str, Any], *, release: str = RELEASE, namespace: str = NAMESPACE, check: bool = True
) -> Any:
    """The objects that the smallest installation makes with these values besides; without `check` what Helm says."""
    place = ("template", release, str(CHART), "--namespace", namespace, "--kube-version", f"v{NEWEST}.0")
    ran = run_helm(4, *place, "--values", "-", check=check, stdin=smallest_with(over))
    return [one for one in yaml.load_all(ran.stdout, Loader=_OneOfEachKey) if one] if check else ran.stderr


def render_all() -> list[Render]:
    """Each file by both Helms for the newest Kubernetes, and by the newer Helm for the oldest."""
    files = case_files()
    wanted = [(file, major, NEWEST) for file in files for major in (3, 4)]
    wanted += [(file, 4, oldest_for(file)) for file in files]
    for major in (3, 4):
        chart_tools.helm(major)
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        return list(pool.map(lambda one: render(*one), wanted))
