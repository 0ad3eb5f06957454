"""What a scenario found: one JSON object with the same fields for all of them. `tables` shows it."""

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from measuring.machine import machine, versions
from measuring.pairs import MIN_INTERVAL_PAIRS, Measured, Pair, bootstrap_interval


class Bound(StrEnum):
    """On which side of the goal the figure has to be."""

    AT_LEAST = "≥"
    """More is better: throughput."""
    AT_MOST = "≤"
    """Less is better: cost, memory, waiting."""

    def holds(self, value: float, goal: float) -> bool:
        """Whether the value is on the right side."""
        return value >= goal if self is Bound.AT_LEAST else value <= goal


@dataclass(frozen=True, slots=True)
class Row:
    """One side in the middle: medians of its rounds."""

    name: str
    seconds: float
    cpu_seconds: float | None
    """None where it was not measured."""
    work: float
    rate: float
    """Work a second."""


@dataclass(frozen=True, slots=True)
class Check:
    """One more figure that a scenario is held to, beside its main one: CPU a request, LISTs, growth of memory."""

    name: str
    """In a few words, with its unit: `µs of the worker's CPU a request`."""
    value: float
    goal: float
    bound: Bound
    reached: bool
    against: str = ""
    """What it is held against, where that is not what the main figure is held against."""
    aim: bool = False
    """Whether it is an aim: reported, but not a miss."""

    @property
    def shown(self) -> str:
        """The value for a reader: four digits, or all of those before the point."""
        return f"{self.value:,.0f}" if abs(self.value) >= 1000 else f"{self.value:,.4g}"  # noqa: PLR2004 - four digits

    @classmethod
    def of(
        cls,
        name: str,
        value: float,
        goal: float,
        *,
        bound: Bound = Bound.AT_LEAST,
        against: str = "",
        aim: bool = False,
    ) -> Self:
        """With the verdict."""
        return cls(name, value, goal, bound, bound.holds(value, goal), against, aim)


@dataclass(frozen=True, slots=True)
class Curve:
    """Points that the report draws as a line: memory over backlog, requests/s over workers."""

    name: str
    x: str
    """The label of the horizontal axis."""
    y: str
    """The label of the vertical axis."""
    series: dict[str, list[tuple[float, float]]]
    """The points of each line, by its name."""


@dataclass(frozen=True, slots=True)
class Figures:
    """The outcome of one scenario. Ratios are of two things measured side by side in one run."""

    scenario: str
    goal: float
    """What `ratio` has to reach; where there is no ratio, what `requests_per_s` has to."""
    reached: bool
    """Whether it did. What `checks` found is reported beside it."""
    ratio: float | None = None
    """Median of the pairs."""
    low: float | None = None
    """Low end of the interval in which the median is with 95 % confidence; of fewer than six pairs, the least of them.

    For rates alone, the lower quartile. None where there is no interval, as of one pair.
    """
    high: float | None = None
    """High end of it."""
    requests_per_s: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    against: str = ""
    """What ours is held against, in a few words."""
    bound: Bound = Bound.AT_LEAST
    of: str = "speed"
    """What the ratio is of: speed, CPU, memory, waiting time."""
    unit: str = "requests"
    """What `work` counts."""
    measure: str = "×"
    """The unit of the main figure: ×, MB, s."""
    rows: tuple[Row, ...] = ()
    """The baseline, then ours."""
    pairs: tuple[dict[str, Any], ...] = ()
    """Each pair as it was measured."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The settings of both sides: engine arguments, threads, counts."""
    skipped: str = ""
    """Why nothing was measured; empty if something was."""
    quick: bool = False
    """Whether fewer rounds were asked for, so that the interval is wide."""
    checks: tuple[Check, ...] = ()
    """What else has to be reached."""
    curves: tuple[Curve, ...] = ()
    """What the report draws."""
    notes: tuple[str, ...] = ()
    """Sentences that the report prints below the figures."""

    @classmethod
    def of_pairs(
        cls,
        scenario: str,
        pairs: Sequence[Pair],
        names: tuple[str, str],
        *,
        goal: float,
        bound: Bound = Bound.AT_LEAST,
        ratio_of: Callable[[Pair], float] = lambda pair: pair.speed,
        of: str = "speed",
        unit: str = "requests",
        measure: str = "×",
        against: str = "",
        settings: Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
        quick: bool = False,
        checks: Sequence[Check] = (),
        curves: Sequence[Curve] = (),
        notes: Sequence[str] = (),
    ) -> Self:
        """From measured pairs. `names` are those of the baseline and of ours, `ratio_of` is our figure over theirs."""
        ratios = [ratio_of(pair) for pair in pairs]
        low, median, high = bootstrap_interval(ratios)
        has_interval = len(ratios) > 1
        rows = (_row(names[0], [pair.baseline for pair in pairs]), _row(names[1], [pair.ours for pair in pairs]))
        return cls(
            scenario=scenario,
            goal=goal,
            reached=bound.holds(median, goal),
            ratio=median,
            low=low if has_interval else None,
            high=high if has_interval else None,
            requests_per_s=rows[1].rate if unit == "requests" else None,
            details=dict(details or {}),
            against=against or names[0],
            bound=bound,
            of=of,
            unit=unit,
            measure=measure,
            rows=rows,
            pairs=tuple(
                {"ratio": ratio, "baseline": _plain(pair.baseline), "ours": _plain(pair.ours)}
                for ratio, pair in zip(ratios, pairs, strict=True)
            ),
            settings=dict(settings or {}),
            quick=quick,
            checks=tuple(checks),
            curves=tuple(curves),
            notes=tuple(notes),
        )

    @classmethod
    def skip(cls, scenario: str, reason: str, *, goal: float, against: str = "") -> Self:
        """A scenario that could not be run here, and why."""
        return cls(scenario=scenario, goal=goal, reached=False, against=against, skipped=reason)

    @property
    def missed(self) -> list[str]:
        """What was measured and not reached: the scenario's name for its main figure, the names of checks; no aims."""
        if self.skipped:
            return []
        main = [] if self.reached else [self.scenario]
        return main + [check.name for check in self.checks if not (check.reached or check.aim)]

    @property
    def interval(self) -> str:
        """From `low` to `high` and what that is, for a reader; empty where there is no interval."""
        if self.low is None or self.high is None:
            return ""
        form = "{:.3f} to {:.3f}" if self.ratio is not None else "{:,.0f} to {:,.0f}"
        ends = form.format(self.low, self.high)
        if not self.pairs:
            return ends
        return f"{ends}, {f'range of {len(self.pairs)} pairs' if self.has_range else '95 %'}"

    @property
    def has_range(self) -> bool:
        """Whether `low` and `high` are the range of the pairs, too few for an interval."""
        return 0 < len(self.pairs) < MIN_INTERVAL_PAIRS

    @property
    def value(self) -> float | None:
        """What is held against the goal."""
        return self.ratio if self.ratio is not None else self.requests_per_s

    def write(self, path: Path | None) -> None:
        """Write the JSON object, if a file is named."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            measured = {"date": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine(), "versions": versions()}
            path.write_text(json.dumps({**asdict(self), **measured}, indent=2, ensure_ascii=False) + "\n")


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def _row(name: str, rounds: Sequence[Measured]) -> Row:
    cpu = statistics.median(measured.cpu_seconds for measured in rounds)
    return Row(
        name=name,
        seconds=statistics.median(measured.seconds for measured in rounds),
        cpu_seconds=None if math.isnan(cpu) else cpu,
        work=statistics.median(measured.work for measured in rounds),
        rate=statistics.median(measured.rate for measured in rounds),
    )


def _plain(measured: Measured) -> dict[str, Any]:
    """For JSON, which has no NaN."""
    plain = asdict(measured)
    return {**plain, "cpu_seconds": None if math.isnan(measured.cpu_seconds) else measured.cpu_seconds}
