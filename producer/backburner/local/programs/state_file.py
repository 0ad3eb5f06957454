"""A small JSON file beside a child's data, so that its ports and keys are the same after a restart of the stack."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from backburner_schemas.errors import SettingsError


def read_state(path: Path) -> dict[str, str]:
    """What is stored there, or nothing. Raises `SettingsError` if it is not readable."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise _damaged(path) from error
    if not isinstance(found, dict):
        raise _damaged(path)
    return {str(key): str(value) for key, value in found.items()}


def saved_port(saved: Mapping[str, str], name: str) -> int | None:
    """The port that was saved under that name, if there is one."""
    text = saved.get(name, "")
    return int(text) if text.isdecimal() else None


def write_state(path: Path, values: Mapping[str, str]) -> None:
    """Write it whole or not at all, readable by its owner alone."""
    write_private(path, json.dumps(dict(values), indent=1) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace the file atomically; mode 0600 from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - the mode must be set by open itself
            file.write(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _damaged(path: Path) -> SettingsError:
    return SettingsError(f"{path} is damaged; delete it, and the stack chooses new ports and keys")
