"""Saved runs of the fuzzer with batches, as docs/reliability.md shows them: how each form came to the worker."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reporting.blocks import markdown_table

_BROKERS = {"apache": "Apache Kafka", "kafka": "Tansu"}


def load_runs(folder: Path) -> list[Mapping[str, Any]]:
    """Each file of the folder, as `run.py fuzz --batches N --json` writes them."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def block(runs: list[Mapping[str, Any]]) -> str:
    """What is shown of the runs, in Markdown: a row a form, for each broker what it took and what a proxy put in."""
    head = ["form"]
    for run in runs:
        broker = _BROKERS[run["queue"]]
        head += [f"{broker} took", f"put into {broker}'s answers"]
    forms = sorted({form for run in runs for form in run["forms"]})
    rows = [[form, *(cell for run in runs for cell in _counts(run, form))] for form in forms]
    return "\n\n".join((markdown_table(head, rows), *map(_totals, runs)))


def _counts(run: Mapping[str, Any], form: str) -> tuple[str, str]:
    count = run["forms"].get(form, {"accepted": 0, "spliced": 0})
    return f"{count['accepted']:,}", f"{count['spliced']:,}"


def _totals(run: Mapping[str, Any]) -> str:
    breaches = sum(map(len, run["breaches"].values()))
    words = "Every promise was kept." if run["clean"] else f"**{breaches} breaches.**"
    return (
        f"{_BROKERS[run['queue']]}, {run['batches']:,} batches, {run['seconds']:,.0f} s: {run['good']:,} good records, "
        f"{run['letters']:,} dead letters, the worker's memory +{run['growth_mb']:.0f} MB at most. {words}"
    )
