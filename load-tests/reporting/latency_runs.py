"""Saved runs of the scenario `job-latency`, as docs/benchmarks.md shows them: a row a queue."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reporting.blocks import markdown_table

_QUEUES = {"tansu": "Kafka, on Tansu", "apache": "Apache Kafka", "sqs": "SQS, on the emulator"}
_HEAD = ("queue", "submit to engine", "last answer to summary", "summary to `wait`", "outside of the engine")


def load_runs(folder: Path) -> dict[str, Mapping[str, Any]]:
    """What each file of the folder found, by its name without the ending: `run.py job-latency --json` writes them."""
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
    seconds = (f"{found[name]:.2f} s" for name in ("to_engine", "to_store", "to_notice", "outside"))
    return (queue, *seconds)
