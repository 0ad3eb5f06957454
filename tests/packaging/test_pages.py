"""The pages for people: each is in the index once, and no link leads nowhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
NEEDS = ["Start", "How-to", "Reference", "Explanation"]

_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def links(page: Path) -> Iterator[str]:
    """Where a page's links lead to, but for those that leave the repository."""
    prose = _CODE.sub("", _FENCE.sub("", page.read_text(encoding="utf-8")))
    for found in _LINK.finditer(prose):
        if not re.match(r"[a-z]+:", found[1]):
            yield unquote(found[1])


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    made: set[str] = set()
    for found in _HEADING.finditer(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        anchor = re.sub(r"[^\w\- ]", "", found[1].lower()).replace(" ", "-")
        same = sum(1 for one in made if re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", one))
        made.add(f"{anchor}-{same}" if same else anchor)
    return made


def test_the_index_has_a_heading_for_each_need():
    assert re.findall(r"^## (.+)$", INDEX.read_text(encoding="utf-8"), re.MULTILINE) == NEEDS


def test_every_page_is_in_the_index_once_with_what_it_is_for():
    listed = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): \w", INDEX.read_text(encoding="utf-8"), re.MULTILINE)
    pages = [page.relative_to(DOCS).as_posix() for page in sorted(DOCS.rglob("*.md")) if page != INDEX]
    assert sorted(one for one in listed if not one.startswith("../")) == pages


def test_the_readme_leads_to_the_index():
    assert "docs/README.md" in set(links(ROOT / "README.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_what_is_there(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads to nothing"
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        if anchor:
            assert anchor in anchors(target), f"{link} leads to no heading of {target.name}"
