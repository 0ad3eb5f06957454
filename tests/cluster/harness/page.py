"""Commands of a page for people, so that what a test runs is what they read."""

import re
from pathlib import Path

from harness.cluster import ROOT

_BLOCK = re.compile(r"^## (?P<heading>.+?)$|^```bash\n(?P<commands>.*?)^```$", re.DOTALL | re.MULTILINE)


def commands_under(page: str, heading: str) -> list[str]:
    """The blocks of shell commands that stand under that heading of the page in `docs/`, in order; at least one."""
    path: Path = ROOT / "docs" / page
    under, found = "", []
    for match in _BLOCK.finditer(path.read_text(encoding="utf-8")):
        under = match["heading"] or under
        if match["commands"] and under == heading:
            found.append(match["commands"])
    assert found, f"{path.name} has no commands under {heading!r}"
    return found


def headings_with_commands(page: str) -> list[str]:
    """The headings of the page that have commands under them."""
    under, found = "", []
    for match in _BLOCK.finditer((ROOT / "docs" / page).read_text(encoding="utf-8")):
        under = match["heading"] or under
        if match["commands"] and under not in found:
            found.append(under)
    return found
