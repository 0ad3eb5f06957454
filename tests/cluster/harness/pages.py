"""The commands that pages for people show, so that what stands there is what the tests run."""

import re

from harness.cluster import ROOT

_BLOCK = re.compile(r"^## (?P<heading>.+?)$|^```bash\n(?P<commands>.*?)^```$", re.DOTALL | re.MULTILINE)


def commands(page: str, heading: str) -> str:
    """The shell commands under a heading of a page below `docs`."""
    under, found = "", []
    for match in _BLOCK.finditer((ROOT / "docs" / page).read_text(encoding="utf-8")):
        under = match["heading"] or under
        if match["commands"] and under == heading:
            found.append(match["commands"])
    assert found, f"docs/{page} has no commands under {heading!r}"
    return "\n".join(found)
