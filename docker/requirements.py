"""Prints what an extra of pyproject.toml stands on, a requirement a line, for an image's layer of dependencies.

usage: requirements.py EXTRA… [--without NAME…]

pip installs such a file before the source is copied, so that a change of the source leaves that layer as it is. An
extra that names another of this project's extras is followed. It needs the standard library alone: it runs before
anything is installed.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path

_OWN_EXTRAS = re.compile(r"^backburner\[([a-z0-9, -]+)\]$")
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*")


def requirements_of(project: dict[str, object], extras: list[str], *, without: frozenset[str]) -> list[str]:
    """The project's own dependencies and those of these extras, each once, sorted, but for the distributions `without`.

    Raises `SystemExit`, with the extras that there are, for one that there is not.
    """
    known: dict[str, list[str]] = project.get("optional-dependencies", {})  # type: ignore[assignment]
    wanted, seen = list(extras), set()
    found: set[str] = set(project["dependencies"])  # type: ignore[call-overload]
    while wanted:
        extra = wanted.pop()
        if extra in seen:
            continue
        seen.add(extra)
        if extra not in known:
            sys.exit(f"requirements.py: pyproject.toml has no extra {extra!r}; it has {', '.join(sorted(known))}")
        for requirement in known[extra]:
            if own := _OWN_EXTRAS.match(requirement):
                wanted += [name.strip() for name in own[1].split(",")]
            else:
                found.add(requirement)
    return sorted(requirement for requirement in found if _name(requirement) not in without)


def _name(requirement: str) -> str:
    name = _NAME.match(requirement)
    assert name is not None, f"{requirement!r} names no distribution"
    return name[0].lower()


def main() -> None:
    """Print the requirements of the extras that the command line names."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("extras", nargs="+", metavar="EXTRA")
    arguments.add_argument("--without", nargs="*", default=[], metavar="NAME")
    arguments.add_argument("--project", type=Path, default=Path("pyproject.toml"))
    options = arguments.parse_args()
    project = tomllib.loads(options.project.read_text())["project"]
    print("\n".join(requirements_of(project, options.extras, without=frozenset(options.without))))


if __name__ == "__main__":
    main()
