"""Two sides measured side by side: interleaved rounds, and an interval for the median of their paired ratios.

Of fewer than six pairs there is no such interval: even their whole range holds the median in fewer than 95 of 100 runs.

The machine's speed drifts, so a figure of one side alone means little. Each pair is measured close together, who goes
first changes from pair to pair, and the ratios of the pairs are what is reported.
"""

import math
import random
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CONFIDENCE_RATIO = 0.95
MIN_INTERVAL_PAIRS = 6
"""All of n pairs lie on one side of the median in one of 2^(n - 1) runs: in 1 of 16 of five, in 1 of 32 of six."""
_RESAMPLE_COUNT = 10_000
_SEED = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """One round of one side."""

    seconds: float
    """Wall time."""
    cpu_seconds: float = math.nan
    """User and system time of all processes that this side needs; NaN where it is not known."""
    work: float = 1.0
    """How much was done: requests, tokens, bytes. Both sides of a pair count the same thing."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else is worth saving."""

    @property
    def rate(self) -> float:
        """Work a second."""
        return self.work / self.seconds


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two things that are compared."""

    name: str
    """Its name in tables, such as `LLM.chat`."""
    run: Callable[[int], Measured]
    """Does one round, of the pair with that number from 0 on."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One round of each side."""

    baseline: Measured
    ours: Measured

    @property
    def speed(self) -> float:
        """Our rate over the baseline's: above 1, ours is faster."""
        return self.ours.rate / self.baseline.rate

    @property
    def cpu(self) -> float:
        """Our CPU seconds a piece of work over the baseline's: below 1, ours is cheaper."""
        return (self.ours.cpu_seconds / self.ours.work) / (self.baseline.cpu_seconds / self.baseline.work)


def interleaved(
    numbers: int | Iterable[int],
    baseline: Side,
    ours: Side,
    *,
    prepare: Callable[[int], None] | None = None,
    check: Callable[[Pair], None] | None = None,
) -> list[Pair]:
    """Measure the pairs with these numbers, or so many from 0 on; the baseline goes first in those that are even.

    `prepare` runs before each pair, off the clock: it fills a queue, say. `check` raises where the two sides of a pair
    did not do the same.
    """
    pairs = []
    for number in range(numbers) if isinstance(numbers, int) else numbers:
        if prepare is not None:
            prepare(number)
        sides = (baseline, ours) if number % 2 == 0 else (ours, baseline)
        found = {side.name: side.run(number) for side in sides}
        pair = Pair(found[baseline.name], found[ours.name])
        if check is not None:
            check(pair)
        pairs.append(pair)
        rounds = (
            f"{side.name} {found[side.name].seconds:.2f} s, CPU {found[side.name].cpu_seconds:.2f} s"
            for side in (baseline, ours)
        )
        print(f"pair {number + 1:2}: {'; '.join(rounds)}; ratio {pair.speed:.3f}", flush=True)
    return pairs


def bootstrap_interval(values: Sequence[float], *, seed: int = _SEED) -> tuple[float, float, float]:
    """Low end, median, high end: the 95 % percentile bootstrap interval of the median. The same each time.

    Of fewer than `MIN_INTERVAL_PAIRS` values the two ends are the least and the greatest. Raises `ValueError` if there
    are no values.
    """
    if not values:
        raise ValueError("there are no values for a median; measure at least one pair")
    if len(values) < MIN_INTERVAL_PAIRS:
        return min(values), statistics.median(values), max(values)
    chance = random.Random(seed)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(_RESAMPLE_COUNT))
    tail = round(_RESAMPLE_COUNT * (1 - CONFIDENCE_RATIO) / 2)
    return medians[tail], statistics.median(values), medians[-tail - 1]
