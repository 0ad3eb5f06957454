"""Changes the pure core one expression at a time, and asks whether the unit tests notice.

`mutants.py [MODULE …]` runs mutmut over the modules that tests/mutants.toml lists, each with the unit tests that are
named beside it, and prints a table. A mutant that lives has to stand in that file with its reason. It ends with 1
where one does not, where an entry of the file is of no mutant that lives, or where more of a module's mutants live
than `MAX_ALIVE_RATIO`. What mutmut made stays in out/mutants/MODULE, for `mutmut show` and `mutmut browse` there.

mutmut imports what it mutates from one root, so each module gets a folder with links to the three packages and the
tests.
"""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from mutmut.mutation.diff_apply import get_diff_for_mutant
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
LISTED = ROOT / "tests" / "mutants.toml"
WORK = ROOT / "out" / "mutants"
PACKAGES = ("schemas/backburner_schemas", "producer/backburner", "worker/backburner_worker")
MAX_ALIVE_RATIO = 0.05
_GRACE_SECONDS = 4.0
"""Added to what a mutant's tests take; mutmut stops them at fifteen times the sum, since a mutant may loop for ever."""
_MEMORY_BYTES = 4 << 30
"""A mutant may fill memory, too."""
_KILLED_CODES = {1, 3}
"""A test failed, or pytest did."""
_OUT_OF_TIME_CODES = {36, 24, -24, 152, 255}
_OUT_OF_MEMORY_CODES = {-11, -9}

PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin")
"""What the unit tests need. To load all others costs more than to run a module's tests."""


@dataclass(frozen=True, slots=True)
class Module:
    """What is mutated, and what has to notice."""

    path: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return Path(self.path).stem

    @property
    def folder(self) -> Path:
        """Where mutmut works on it."""
        return WORK / self.name

    @property
    def imported(self) -> str:
        """Its path as Python finds it, from one of the packages on."""
        return self.path.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Alive:
    """A mutant that no test noticed: which lines of which function became which."""

    module: str
    function: str
    was: str
    becomes: str

    def entry(self) -> str:
        """As it would stand in the file, but for the reason."""
        fields = {"module": self.module, "function": self.function, "was": self.was, "becomes": self.becomes}
        return "\n".join(["[[alive]]", *(f"{name} = {json.dumps(text)}" for name, text in fields.items()), ""])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a module's mutants."""

    module: Module
    killed: int
    out_of_bounds: int
    """Killed since they took too much time or memory."""
    allowed: Sequence[Alive]
    unexplained: Sequence[Alive]

    @property
    def mutants(self) -> int:
        """How many there were."""
        return self.killed + len(self.allowed) + len(self.unexplained)

    @property
    def holds(self) -> bool:
        """Whether each that lives is explained, and they are few."""
        return not self.unexplained and len(self.allowed) <= self.mutants * MAX_ALIVE_RATIO


def read_listed() -> tuple[list[Module], dict[Alive, str]]:
    """The modules, and the mutants that may live, each with its reason."""
    listed = tomllib.loads(LISTED.read_text())
    modules = [Module(one["path"], tuple(one["tests"])) for one in listed["module"]]
    reasons = {}
    for entry in listed.get("alive", ()):
        reason = entry.pop("reason")
        reasons[Alive(**entry)] = reason
    return modules, reasons


def mutate(module: Module, children: int) -> None:
    """Run mutmut on it, anew. Raises `CalledProcessError` if the tests fail without any mutant, too."""
    shutil.rmtree(module.folder, ignore_errors=True)
    module.folder.mkdir(parents=True)
    for package in PACKAGES:
        (module.folder / Path(package).name).symlink_to(ROOT / package)
    (module.folder / "tests").symlink_to(ROOT / "tests")
    pytest = ["-p", "no:cacheprovider", "--hypothesis-profile=mutants", "--timeout=0"]
    for plugin in PLUGINS:
        pytest += ["-p", plugin]
    settings = {
        "source_paths": [Path(package).name for package in PACKAGES],
        "only_mutate": [module.imported],
        "pytest_add_cli_args": pytest,
        "pytest_add_cli_args_test_selection": list(module.tests),
        "timeout_constant": _GRACE_SECONDS,
        "use_git_change_detection": False,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (module.folder / "pyproject.toml").write_text("\n".join(["[tool.mutmut]", *lines, ""]))
    with (module.folder / "mutmut.log").open("w") as log:
        subprocess.run(
            [Path(sys.executable).parent / "mutmut", "run", "--max-children", str(children)],
            cwd=module.folder,
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONHASHSEED": "0"},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
            preexec_fn=_bound_memory,
        )


def _bound_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def judge(module: Module, reasons: dict[Alive, str]) -> Verdict:
    """Read what mutmut found. Raises `RuntimeError` where it did not get to its end, or did not run the tests."""
    tests = json.loads((module.folder / "mutants" / "mutmut-stats.json").read_text())["duration_by_test"]
    # pytest cannot run a test again whose name has no file, and mutmut takes that for a test that failed.
    if nameless := [test for test in tests if not test.startswith("tests/")]:
        raise RuntimeError(f"pytest names tests of {module.path} without their file: {nameless[0]}")
    found = json.loads((module.folder / "mutants" / f"{module.imported}.meta").read_text())["exit_code_by_key"]
    if missing := [name for name, code in found.items() if code in {None, 2}]:
        raise RuntimeError(f"{len(missing)} mutants of {module.path} were not run; see {module.folder}/mutmut.log")
    codes = Counter(found.values())
    out_of_bounds = sum(codes[code] for code in _OUT_OF_TIME_CODES | _OUT_OF_MEMORY_CODES)
    killed = sum(codes[code] for code in _KILLED_CODES) + out_of_bounds
    living = [
        _shown(module, name)
        for name, code in found.items()
        if code not in _KILLED_CODES | _OUT_OF_TIME_CODES | _OUT_OF_MEMORY_CODES
    ]
    allowed = [one for one in living if one in reasons]
    return Verdict(module, killed, out_of_bounds, allowed, [one for one in living if one not in reasons])


def _shown(module: Module, mutant: str) -> Alive:
    with contextlib.chdir(module.folder):
        shown = get_diff_for_mutant(mutant, path=module.imported).splitlines()
    # `…xǁClassǁmethod__mutmut_7` or `…x_function__mutmut_7`
    mangled = mutant.rpartition(".")[2].partition("__mutmut_")[0]
    changes = [line for line in shown if not line.startswith(("---", "+++"))]
    was, becomes = (" ".join(line[1:].strip() for line in changes if line.startswith(sign)) for sign in ("-", "+"))
    return Alive(module.name, mangled[2:].replace("ǁ", "."), was, becomes)


def stale(verdicts: Sequence[Verdict], reasons: dict[Alive, str]) -> Iterator[Alive]:
    """Entries of the modules that were run, of which no mutant lives."""
    names = {verdict.module.name for verdict in verdicts}
    living = {one for verdict in verdicts for one in verdict.allowed}
    return (one for one in reasons if one.module in names and one not in living)


def table(verdicts: Sequence[Verdict]) -> Table:
    """A row for each module."""
    shown = Table("module", "mutants", "killed", "of these by time or memory", "alive, with a reason", "alive, without")
    for one in verdicts:
        counts = (one.mutants, one.killed, one.out_of_bounds, len(one.allowed), len(one.unexplained))
        shown.add_row(one.module.path, *map(str, counts))
    return shown


def main(
    only: Annotated[list[str] | None, typer.Argument(metavar="[MODULE]…", help="marks, keys, …; all without")] = None,
    *,
    children: Annotated[int, typer.Option(help="mutants that are tried side by side")] = os.cpu_count() or 1,
    keep: Annotated[bool, typer.Option("--keep", help="judge what the last run found, without another")] = False,
) -> None:
    """Mutate the pure core, and say what the unit tests did not notice."""
    console = Console(width=160)
    modules, reasons = read_listed()
    if unknown := set(only or ()) - {module.name for module in modules}:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))} is not in {LISTED.relative_to(ROOT)}")
    verdicts = []
    for module in modules:
        if only and module.name not in only:
            continue
        if not keep:
            console.print(f"{module.path} …")
            try:
                mutate(module, children)
            except subprocess.CalledProcessError as failed:
                console.print((module.folder / "mutmut.log").read_text()[-2000:], markup=False)
                raise typer.Exit(1) from failed
        verdicts.append(judge(module, reasons))
    for verdict in verdicts:
        for one in verdict.unexplained:
            console.print(one.entry(), markup=False)
    over = list(stale(verdicts, reasons))
    for one in over:
        console.print(
            f"no such mutant lives any more; remove it from {LISTED.relative_to(ROOT)}:\n{one.entry()}", markup=False
        )
    console.print(table(verdicts))
    if over or not all(verdict.holds for verdict in verdicts):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
