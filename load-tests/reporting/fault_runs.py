"""Saved runs of the fault harness, as docs/reliability.md shows them: a row a kind of fault, totals, memory."""

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from reporting.blocks import markdown_table

_KINDS_HEAD = ("fault", "times", "recovered s, median", "longest", "redone", "of at most")
_MEMORY_HEAD = ("part", "MB at first", "MB at last", "most MB", "MB an hour", "of at most")


def load_runs(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Each file of the folder by its name without the ending, as `run.py chaos --json` and `soak --json` write them."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def block(run: Mapping[str, Any]) -> str:
    """What is shown of one run, in Markdown."""
    parts = []
    if run["rows"]:
        parts.append(markdown_table(_KINDS_HEAD, list(_kinds(run["rows"]))))
    if run["memory"]:
        parts.append(markdown_table(_MEMORY_HEAD, [_memory(one) for one in run["memory"]]))
    return "\n\n".join((*parts, _totals(run)))


def _kinds(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for kind in sorted({row["fault"]["kind"] for row in rows}):
        same = [row for row in rows if row["fault"]["kind"] == kind]
        took = [row["recovered"] for row in same]
        counted = [row for row in same if row["redone"] is not None]
        sums = [str(sum(row[name] or 0 for row in counted)) if counted else "" for name in ("redone", "bound")]
        yield (kind, str(len(same)), f"{statistics.median(took):.1f}", f"{max(took):.1f}", *sums)


def _memory(one: Mapping[str, Any]) -> tuple[str, ...]:
    bound = one["bound_mb_per_hour"]
    numbers = (f"{one[name]:.1f}" for name in ("first_mb", "last_mb", "most_mb", "mb_per_hour"))
    return (one["part"], *numbers, "" if bound is None else f"{bound:.0f}")


def _totals(run: Mapping[str, Any]) -> str:
    verdict = run["verdict"]
    breaches = len(run["breaches"]) + len(verdict["breaches"])
    words = "Every promise was kept." if run["kept"] else f"**{breaches} breaches.**"
    came = (
        f"{run['seconds']:,.0f} s; {verdict['accepted']:,} accepted, {verdict['visible']:,} visible: "
        f"{verdict['answered']:,} answered, {verdict['failed']:,} errors; {verdict['letters']} dead letters;"
    )
    cost = (
        f"{verdict['stored_twice']:,} stored twice and seen once; {run['begun_again']:,} begun again; "
        f"{run['restarts']} restarts; {run['client_errors']} errors that clients got over. {words}"
    )
    return f"{came}\n{cost}"
