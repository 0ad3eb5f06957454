"""The commands that pages for people show, so that what stands there is what the tests run."""

import re
from collections.abc import Iterator

from harness.cluster import ROOT

_BLOCK = re.compile(r"^## (?P<heading>.+?)$|^```bash\n(?P<commands>.*?)^```$", re.DOTALL | re.MULTILINE)


def commands(page: str, heading: str) -> str:
    """The shell commands under a heading of a page below `docs`."""
    return "\n".join(blocks(page, heading))


def blocks(page: str, heading: str) -> list[str]:
    """The same, block by block; at least one."""
    found = [block for under, block in _blocks(page) if under == heading]
    assert found, f"docs/{page} has no commands under {heading!r}"
    return found


def headings_with_commands(page: str) -> list[str]:
    """The headings of the page that have commands under them, in order."""
    return list(dict.fromkeys(under for under, _ in _blocks(page)))


def _blocks(page: str) -> Iterator[tuple[str, str]]:
    under = ""
    for match in _BLOCK.finditer((ROOT / "docs" / page).read_text(encoding="utf-8")):
        under = match["heading"] or under
        if match["commands"]:
            yield under, match["commands"]
