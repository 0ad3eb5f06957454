"""Figures that were saved before: one JSON file each, with when, where and with what they were measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from measuring.figures import Bound, Check, Curve, Figures, Row


@dataclass(frozen=True, slots=True)
class Saved:
    """One file."""

    name: str
    """The file's name without its ending: the scenario, or the scenario and which part of it."""
    figures: Figures
    date: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]


def load(path: Path) -> Saved:
    """The figures in a file. Raises `ValueError` if it holds none."""
    read = json.loads(path.read_text())
    if not isinstance(read, dict) or "scenario" not in read:
        raise ValueError(f"{path} holds no figures; write them with `run.py SCENARIO --json`")
    known = {field.name for field in fields(Figures)}
    found = {name: value for name, value in read.items() if name in known}
    found["bound"] = Bound(found.get("bound", Bound.AT_LEAST))
    found["rows"] = tuple(Row(**row) for row in found.get("rows", ()))
    found["pairs"] = tuple(found.get("pairs", ()))
    found["checks"] = tuple(Check(**{**check, "bound": Bound(check["bound"])}) for check in found.get("checks", ()))
    found["curves"] = tuple(Curve(**curve) for curve in found.get("curves", ()))
    found["notes"] = tuple(found.get("notes", ()))
    return Saved(path.stem, Figures(**found), read.get("date", ""), read.get("machine", {}), read.get("versions", {}))


def load_all(folder: Path, order: Mapping[str, int]) -> list[Saved]:
    """All files of a folder, the scenarios in that order and others after them, by name."""
    found = [load(path) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda saved: (order.get(saved.figures.scenario, len(order)), saved.name))
