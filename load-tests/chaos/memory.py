"""How the memory of processes moves over time: samples of what each holds, and the line that fits them best."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_PAGE_BYTES = 4096
_SECONDS_PER_HOUR = 3600.0
_BYTES_PER_MB = 1e6


@dataclass(frozen=True, slots=True)
class Growth:
    """How one process's memory moved after it had warmed up."""

    part: str
    samples: int
    first_mb: float
    last_mb: float
    """Of the fitted line, at the ends of the time that counts."""
    most_mb: float
    mb_per_hour: float
    bound_mb_per_hour: float | None
    """None for what is not the product's."""

    @property
    def kept(self) -> bool:
        """Whether it grew no faster than it may."""
        return self.bound_mb_per_hour is None or self.mb_per_hour <= self.bound_mb_per_hour


@dataclass(slots=True)
class Memory:
    """Samples by the part's name: seconds since the first, and bytes."""

    began: float = field(default_factory=time.monotonic)
    samples: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def sample(self, parts: Mapping[str, int | None]) -> None:
        """Note what each process holds now; one that has ended is passed over."""
        now = time.monotonic() - self.began
        for part, process in parts.items():
            if (held := resident_bytes(process)) is not None:
                self.samples.setdefault(part, []).append((now, held))

    def growths(self, *, after: float, bound: Callable[[str], float | None]) -> list[Growth]:
        """Of each part with two samples or more so many seconds after the first one."""
        found = []
        for part, samples in self.samples.items():
            counted = [(at, held / _BYTES_PER_MB) for at, held in samples if at >= after]
            if len(counted) > 1:
                slope, start = fitted_line(counted)
                first, last = (start + slope * counted[end][0] for end in (0, -1))
                most = max(held for _, held in counted)
                found.append(Growth(part, len(counted), first, last, most, slope * _SECONDS_PER_HOUR, bound(part)))
        return found


def resident_bytes(process: int | None) -> int | None:
    """The memory that a process holds now; None if it is not there."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None


def fitted_line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Slope and start, at 0, of the line through points at two places or more that has the least squares of errors."""
    count = len(points)
    middle_at = sum(at for at, _ in points) / count
    middle = sum(value for _, value in points) / count
    spread = sum((at - middle_at) ** 2 for at, _ in points)
    slope = sum((at - middle_at) * (value - middle) for at, value in points) / spread
    return slope, middle - slope * middle_at
