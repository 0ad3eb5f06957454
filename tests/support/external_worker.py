"""What `helm/external` says of a worker without Kubernetes: the unit's lines, and settings as systemd reads them."""

import shlex
from collections import defaultdict
from pathlib import Path

EXTERNAL = Path(__file__).parents[2] / "helm" / "external"
UNIT = EXTERNAL / "backburner-worker@.service"
INSTALLED = "/opt/backburner/bin/"
"""Where the unit and the script expect the programs."""


def unit_lines(section: str) -> dict[str, list[str]]:
    """The values of each name in that section of the unit."""
    found, current = defaultdict(list), ""
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = line.strip("[]")
        elif current == section and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return dict(found)


def settings_of(file: Path) -> dict[str, str]:
    """The variables in a file of settings, with quotes taken off."""
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            (found[name],) = shlex.split(value)
    return found
