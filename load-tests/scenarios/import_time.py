"""How long `import backburner` takes, in fresh interpreters."""

import statistics
import subprocess
import sys

from measuring.figures import Figures, quartiles

GOAL_SECONDS = 0.5
_PROGRAM = "import time; start = time.perf_counter(); import backburner; print(time.perf_counter() - start)"


def import_time(runs: int) -> Figures:
    """The ratio is the goal's seconds over those taken: 1 and more is fast enough."""
    seconds = [
        float(subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True).stdout)
        for _ in range(runs)
    ]
    low, median, high = quartiles([GOAL_SECONDS / second for second in seconds])
    return Figures(
        scenario="import-time",
        goal=1.0,
        reached=median >= 1.0,
        ratio=median,
        low=low,
        high=high,
        details={"median_seconds": statistics.median(seconds), "seconds": seconds},
    )
