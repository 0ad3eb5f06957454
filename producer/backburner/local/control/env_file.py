"""`.backburner/env`: the stack's settings as a file that a shell sources and a program can parse back."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from backburner.local.programs.state_file import write_private
from backburner_schemas.errors import SettingsError

NAME = "env"
STATE_FOLDER = ".backburner"
_EXPORT = "export "


def path_in(state_folder: Path) -> Path:
    """The path of the file in a `.backburner` folder."""
    return state_folder / NAME


def find(folder: Path) -> Path:
    """The file of the stack that was brought up in this folder, or in the nearest one above it that has one.

    Raises `SettingsError` if there is none.
    """
    for candidate in (folder, *folder.parents):
        path = path_in(candidate / STATE_FOLDER)
        if path.is_file():
            return path
    raise SettingsError(
        f"there is no {STATE_FOLDER}/{NAME} in {folder} or above it; start a stack there with `backburner up`, or pass "
        "the path of another stack's"
    )


def write(path: Path, values: Mapping[str, str]) -> None:
    """Write `export KEY='value'` lines, whole or not at all, mode 0600: there are credentials among them."""
    lines = [f"{_EXPORT}{key}={_quoted(value)}\n" for key, value in values.items()]
    write_private(path, "".join(lines))


def read(path: Path) -> dict[str, str]:
    """The settings in the file. Raises `SettingsError` if there is none, or if a line cannot be understood."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SettingsError(f"there is no {path}; start a stack there with `backburner up`") from error
    found: dict[str, str] = {}
    for assignment in _words(path, text):
        if assignment == _EXPORT.strip():
            continue
        key, equals, value = assignment.partition("=")
        if not equals or not key.isidentifier():
            raise SettingsError(f"{path} has {assignment!r} where `export KEY='value'` belongs; delete the file")
        found[key] = value
    return found


def _words(path: Path, text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError as error:
        raise SettingsError(f"{path} is damaged ({error}); delete it and start the stack again") from error


def _quoted(value: str) -> str:
    # Always quoted, even where shlex.quote would not: every line looks the same.
    return "'" + value.replace("'", "'\"'\"'") + "'"
