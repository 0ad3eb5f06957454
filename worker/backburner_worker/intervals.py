"""How often a worker looks after jobs that nobody else ends, and how long it leaves what it finds. Numbers only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SweepIntervals:
    """Intervals of the sweep, all in seconds."""

    sweep: float = 60.0
    """Between two looks at the open jobs, on average."""
    grace: float = 180.0
    """After a deadline or a cancel, before a job is frozen."""
    marker_life: float = 7 * 24 * 3600.0
    """After which a marker is removed; no shorter than a queue keeps requests."""
