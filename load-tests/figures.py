"""What a scenario found, and how it is shown and written: one JSON object with the same fields for all of them."""

import json
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Figures:
    """The outcome of one scenario. Ratios are of two things measured side by side in one run."""

    scenario: str
    goal: float
    """What `ratio` has to reach; where there is no ratio, what `requests_per_s` has to."""
    reached: bool
    ratio: float | None = None
    """Median of the pairs."""
    low: float | None = None
    """Lower quartile of the pairs."""
    high: float | None = None
    """Upper quartile of the pairs."""
    requests_per_s: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path | None) -> None:
        """Write the JSON object, if a file is named."""
        if path is not None:
            path.write_text(json.dumps({**asdict(self), "machine": machine()}, indent=2) + "\n")


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {"cpu": model, "cores": len(_cores()), "system": platform.system(), "python": sys.version.split()[0]}


def _cores() -> set[int]:
    import os

    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
