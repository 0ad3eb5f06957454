"""Asks the package index whether everything that `make setup` installs has a wheel, for each machine that we name.

`check_lock.py [--without NAME …]` resolves requirements/worker-cpu.lock, then the extras of pyproject.toml beside it,
for every architecture and every Python of `TARGETS`, by pip's dry run. Nothing is installed. It ends with 1 where a
target lacks something, and names that. `--without torch` leaves a pin out, where PyTorch's own index cannot be reached.
"""

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from packaging.markers import default_environment
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements" / "worker-cpu.lock"
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
EXTRAS = ("kafka", "sqs", "openai-http", "local", "dev")
"""What scripts/setup.sh installs beside the lock."""

ARCHITECTURES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
_GLIBC_MINORS = range(40, 4, -1)
"""manylinux_2_40 down to manylinux_2_5: newer than any wheel asks for, and the oldest that there is."""
_RESOLVE_SECONDS = 600
_SHOWN_LINES = 4


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of machine that the README names."""

    architecture: str
    python: str

    def environment(self) -> dict[str, str]:
        """What a requirement's marker sees there. pip itself asks the running interpreter, whatever it resolves for."""
        release = f"{self.python}.0"
        there = {
            "platform_machine": self.architecture,
            "python_version": self.python,
            "python_full_version": release,
            "implementation_version": release,
            "sys_platform": "linux",
            "platform_system": "Linux",
        }
        return {name: str(value) for name, value in default_environment().items()} | there

    def pip_arguments(self) -> Iterator[str]:
        """Pip's own words for it."""
        yield from ("--python-version", self.python, "--implementation", "cp", "--only-binary", ":all:")
        for tag in self._platforms():
            yield from ("--platform", tag)

    def _platforms(self) -> Iterator[str]:
        yield from (f"manylinux_2_{minor}_{self.architecture}" for minor in _GLIBC_MINORS)
        yield from (f"manylinux2014_{self.architecture}", f"linux_{self.architecture}")


TARGETS = tuple(Target(*pair) for pair in product(ARCHITECTURES, PYTHONS))


def applicable(lines: Iterable[str], target: Target, without: frozenset[str] = frozenset()) -> list[str]:
    """The requirements among the lines that apply to the target, without their markers.

    Raises `packaging.requirements.InvalidRequirement` for a line that is none.
    """
    kept: list[str] = []
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        wanted = requirement.marker is None or requirement.marker.evaluate(target.environment())
        if wanted and requirement.name.lower() not in without:
            requirement.marker = None
            kept.append(str(requirement))
    return kept


def requirements_of(extras: Iterable[str]) -> list[str]:
    """What the project and these extras ask for, with extras of the project itself resolved."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: list[str] = list(project["dependencies"])
    for extra in extras:
        for line in project["optional-dependencies"][extra]:
            own = Requirement(line)
            found += requirements_of(own.extras) if own.name == project["name"] else [line]
    return list(dict.fromkeys(found))


def missing(target: Target, without: frozenset[str]) -> str:
    """What pip cannot find for the target, in its words; empty where it finds everything."""
    pins = applicable(LOCK.read_text(encoding="utf-8").splitlines(), target, without)
    wanted = applicable(requirements_of(EXTRAS), target, without)
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder, "lock.txt")
        constraints.write_text("\n".join(pins), encoding="utf-8")
        requirements = Path(folder, "extras.txt")
        requirements.write_text("\n".join(wanted), encoding="utf-8")
        torch = () if "torch" in without else ("--extra-index-url", TORCH_INDEX)
        return _resolve(target, "--no-deps", "-r", str(constraints), *torch) or _resolve(
            target, "-r", str(requirements), "-c", str(constraints), *torch
        )


def _resolve(target: Target, *arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--target", "nowhere"]
    command += ["--disable-pip-version-check", "--no-input", *target.pip_arguments(), *arguments]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_RESOLVE_SECONDS)
    except subprocess.TimeoutExpired:
        return f"pip had no answer in {_RESOLVE_SECONDS} s; check the network"
    if ended.returncode == 0:
        return ""
    errors = [line for line in ended.stderr.splitlines() if line.startswith("ERROR")]
    return "\n".join((errors or ended.stderr.splitlines())[-_SHOWN_LINES:])


def main(
    *,
    without: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A package to leave out.")] = None,
) -> None:
    """Ask for every target, and show what each lacks."""
    left_out = frozenset(name.lower() for name in without or ())
    console = Console()
    table = Table("architecture", "Python", "everything has a wheel")
    incomplete = 0
    for target in TARGETS:
        with console.status(f"asking for Python {target.python} on {target.architecture}"):
            lacks = missing(target, left_out)
        incomplete += bool(lacks)
        table.add_row(target.architecture, target.python, lacks or "yes")
    console.print(table)
    if left_out:
        console.print(f"not asked for: {', '.join(sorted(left_out))}")
    console.print(f"{len(TARGETS) - incomplete} of {len(TARGETS)} targets can be set up")
    raise typer.Exit(1 if incomplete else 0)


if __name__ == "__main__":
    typer.run(main)
