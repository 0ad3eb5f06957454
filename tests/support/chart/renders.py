"""Renders of the chart: each values file of `ci/`, by each Helm, once."""

import re
import subprocess
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


def render_all() -> list[Render]:
    """Each file by both Helms for the newest Kubernetes, and by the newer Helm for the oldest."""
    files = case_files()
    wanted = [(file, major, NEWEST) for file in files for major in (3, 4)]
    wanted += [(file, 4, oldest_for(file)) for file in files]
    for major in (3, 4):
        chart_tools.helm(major)
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        return list(pool.map(lambda one: render(*one), wanted))
