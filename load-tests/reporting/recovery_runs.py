"""Saved runs of the scenario `recovery`, as docs/reliability.md shows them: a row a queue."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reporting.blocks import markdown_table

_QUEUES = {"tansu": "Kafka, on Tansu", "apache": "Apache Kafka", "sqs": "SQS, on the emulator"}
_HEAD = (
    "queue",
    "stored at the kill",
    "of these run again",
    "begun, not stored, run again",
    "new worker ready",
    "first begun",
    "job's end",
)


def load_runs(folder: Path) -> dict[str, Mapping[str, Any]]:
    """What each file of the folder found, by its name without the ending, as `run.py recovery --json` writes them."""
    files = {path.stem: path for path in folder.glob("*.json")}
    return {
        name: json.loads(files[name].read_text(encoding="utf-8"))["command"]["found"]
        for name in _QUEUES
        if name in files
    }


def block(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """The table, in Markdown."""
    return markdown_table(_HEAD, [_row(_QUEUES[name], found) for name, found in runs.items()])


def _row(queue: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (f"{found[name]:,}" for name in ("stored", "stored_again", "begun_again"))
    seconds = (f"{found[name]:.1f} s" for name in ("load_seconds", "first_seconds", "end_seconds"))
    return (queue, *counts, *seconds)
