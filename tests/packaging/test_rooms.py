"""The folders of product code stay rooms: few modules in each, none that import each other in a circle, all on the map.

Read from the syntax tree. An import counts wherever it stands: inside a function or under TYPE_CHECKING it keeps the
interpreter from failing at a circle, but not the reader. A package's `__init__` is a module of its own among those that
import and are imported; that Python runs it before each module of the package is no import of it.
"""

import ast
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas/backburner_schemas", "producer/backburner", "worker/backburner_worker")
MOST_MODULES = 16
"""In a folder, `__init__` aside: what can be taken in at a glance."""
MOST_SCHEMAS = 20
"""Flat on purpose: whoever writes in another language reads them side by side."""


def read_modules(root, packages):
    """Each module's dotted name, and its file."""
    found = {}
    for package in packages:
        folder = root / package
        for file in folder.rglob("*.py"):
            parts = file.relative_to(folder.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports_of(modules):
    """Each module with those of the same modules that it imports, but for itself."""
    return {name: _imported(ast.parse(file.read_bytes()), modules) - {name} for name, file in modules.items()}


def _imported(tree, modules):
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # `from package import name` reaches for a module of that name, or else for what the package itself has.
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else node.module for name in inner}
    return found & modules.keys()


def circles(graph):
    """One circle after the other, each once, as the modules that are on it."""
    graph, found = {name: set(others) for name, others in graph.items()}, set()
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = error.args[1]
            found.add(frozenset(circle))
            # It names each module's importer after it. Without one arrow this circle is open, and others show.
            graph[circle[1]].discard(circle[0])
        else:
            return found


def crowded(modules, root):
    """Folders with more modules than they may have, and how many."""
    counts = Counter(file.parent.relative_to(root).as_posix() for file in modules.values() if file.stem != "__init__")
    return {
        folder: count
        for folder, count in counts.items()
        if count > (MOST_SCHEMAS if folder == PACKAGES[0] else MOST_MODULES)
    }


def test_no_folder_holds_more_modules_than_can_be_taken_in():
    assert crowded(read_modules(ROOT, PACKAGES), ROOT) == {}


def test_no_two_modules_import_each_other_in_a_circle():
    assert circles(imports_of(read_modules(ROOT, PACKAGES))) == set()


def test_every_folder_is_on_the_map_of_the_architecture_page():
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## Where things are\n")[2].partition("\n## ")[0]
    for package in PACKAGES:
        text = page.partition(f"### `{package}`\n")[2].partition("\n### ")[0]
        folders = [file.parent.relative_to(ROOT / package) for file in (ROOT / package).rglob("*.py")]
        missing = {f"{folder.as_posix()}/" for folder in folders if folder.name} - set(re.findall(r"`([\w/]+/)`", text))
        assert text
        assert not missing, f"not in docs/architecture.md: {', '.join(sorted(missing))}"


# --- the checks themselves ------------------------------------------------------------------------------------------


@pytest.fixture
def make_package(tmp_path):
    """Writes a package of product code from the texts of its modules."""

    def make(package=PACKAGES[1], /, **texts):
        folder = tmp_path / package
        for name, text in {"__init__": "", **texts}.items():
            file = folder.joinpath(*name.split("__in__")[::-1]).with_suffix(".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return read_modules(tmp_path, [package])

    return make


@pytest.mark.parametrize(
    "text",
    [
        "from backburner import one",
        "import backburner.one",
        "import backburner.one as other",
        "from backburner.one import f",
        "def late():\n    from backburner.one import f",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from backburner.one import F",
    ],
)
def test_a_circle_is_found_wherever_its_imports_stand(make_package, text):
    modules = make_package(one="from backburner import two", two="from backburner.three import f", three=text)
    assert circles(imports_of(modules)) == {frozenset({"backburner.one", "backburner.two", "backburner.three"})}


def test_each_of_two_circles_is_found(make_package):
    modules = make_package(
        one="from backburner import two, three", two="import backburner.one", three="import backburner.one"
    )
    assert circles(imports_of(modules)) == {
        frozenset({"backburner.one", "backburner.two"}),
        frozenset({"backburner.one", "backburner.three"}),
    }


def test_a_module_of_a_package_may_be_imported_by_the_package(make_package):
    modules = make_package(__init__="from backburner.one import f", one="from backburner.two import g", two="")
    assert circles(imports_of(modules)) == set()
    modules = make_package(__init__="from backburner.one import f", one="from backburner import f")
    assert circles(imports_of(modules)) == {frozenset({"backburner", "backburner.one"})}


@pytest.mark.parametrize(("package", "most"), [(PACKAGES[1], 16), (PACKAGES[0], 20)])
def test_a_folder_with_one_module_too_many_is_named(make_package, tmp_path, package, most):
    texts = {f"m{number}": "" for number in range(most)}
    assert crowded(make_package(package, **texts), tmp_path) == {}
    assert crowded(make_package(package, one_more="", **texts), tmp_path) == {package: most + 1}


def test_a_folder_inside_counts_for_itself(make_package, tmp_path):
    outer, inner = ({f"m{number}{suffix}": "" for number in range(16)} for suffix in ("", "__in__inner"))
    assert crowded(make_package(**outer, **inner), tmp_path) == {}
