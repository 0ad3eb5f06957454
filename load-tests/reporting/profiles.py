"""Saved profiles of a worker, as the docs show them: microseconds a request, by layer and broker."""

import json
from pathlib import Path

from measuring.layers import LAYERS
from reporting.blocks import markdown_table

BLOCK = "profile"
"""Its name in docs/benchmarks.md, and that of its folder."""
_BROKERS = {"tansu": "µs on Tansu", "apache": "µs on Apache Kafka"}


def text(folder: Path) -> str | None:
    """The table in Markdown; None where no profile is in the folder."""
    files = {head: folder / BLOCK / f"{name}.json" for name, head in _BROKERS.items()}
    found = {head: json.loads(path.read_text(encoding="utf-8")) for head, path in files.items() if path.is_file()}
    if not found:
        return None
    columns = [one["microseconds"] for one in found.values()]
    rows = [(layer, what, *(f"{one[layer]:.1f}" for one in columns)) for layer, what in LAYERS.items()]
    rows.append(("all", "", *(f"{sum(one.values()):.1f}" for one in columns)))
    return markdown_table(("layer", "what it does", *found), rows)
