"""Saved runs of scenarios that find a few numbers each, as the docs show them: a table, with a row a run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reporting.blocks import markdown_table

_QUEUES = {"tansu": "Kafka, on Tansu", "apache": "Apache Kafka", "sqs": "SQS, on the emulator"}
_COUNT, _TENTHS, _HUNDREDTHS, _MINUTES = "{:,.0f}", "{:.1f} s", "{:.2f} s", "{:.0f} min"


@dataclass(frozen=True, slots=True)
class FoundTable:
    """One table: the runs in its folder, by file, and of what each found its columns."""

    block: str
    """Its name in the page, and that of its folder."""
    first: str
    """The head of the first column."""
    rows: Mapping[str, str]
    """The first column, by the file's name without the ending."""
    columns: Mapping[str, tuple[str, str]]
    """What each of the others shows, by its head: the number's name, and how it is written."""

    def text(self, folder: Path) -> str | None:
        """The table in Markdown; None where no run is in the folder."""
        found = {name: folder / self.block / f"{name}.json" for name in self.rows}
        rows = [self._row(self.rows[name], _found(path)) for name, path in found.items() if path.is_file()]
        return markdown_table((self.first, *self.columns), rows) if rows else None

    def _row(self, label: str, found: Mapping[str, Any]) -> tuple[str, ...]:
        return (label, *(form.format(found[name]) for name, form in self.columns.values()))


def _found(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["command"]["found"]
    return found


JOB_LATENCY = FoundTable(
    "job-latency",
    "queue",
    _QUEUES,
    {
        "submit to engine": ("to_engine", _HUNDREDTHS),
        "last answer to summary": ("to_store", _HUNDREDTHS),
        "summary to `wait`": ("to_notice", _HUNDREDTHS),
        "outside of the engine": ("outside", _HUNDREDTHS),
        "requests to the store": ("store_requests", _COUNT),
    },
)
"""In docs/benchmarks.md."""
RECOVERY = FoundTable(
    "recovery",
    "queue",
    _QUEUES,
    {
        "stored at the kill": ("stored", _COUNT),
        "of these run again": ("stored_again", _COUNT),
        "begun, not stored, run again": ("begun_again", _COUNT),
        "new worker ready": ("load_seconds", _TENTHS),
        "first begun": ("first_seconds", _TENTHS),
        "job's end": ("end_seconds", _TENTHS),
    },
)
"""In docs/reliability.md."""
POISON = FoundTable(
    "poison",
    "of 256 in flight kill",
    {
        "one": "1",
        "one-plain": "1, tried one by one",
        "three": "3",
        "three-plain": "3, tried one by one",
    },
    {
        "a worker's time": ("minutes", _MINUTES),
        "engine deaths": ("deaths", _COUNT),
    },
)
"""In docs/reliability.md."""
