"""The report's plots: all figures over their goals, the pairs of one scenario, and curves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from measuring.figures import Bound, Curve, Figures
from measuring.pairs import MIN_INTERVAL_PAIRS
from reporting.saved import Saved
from reporting.svg import COLOUR_COUNT, Drawing

_WIDTH_PIXELS = 760.0
_ROW_PIXELS = 30.0
_BAR_PIXELS = 20.0
_BAR_ROW_PIXELS = 28.0
_RIGHT_PIXELS = _WIDTH_PIXELS - 110
_LINE_PIXELS = 16.0
"""Height of a line of text."""
_TICK_COUNT = 5


@dataclass(frozen=True, slots=True)
class Scale:
    """Values onto pixels, with a linear or a logarithmic measure."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where the value is."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (at - low) / ((high - low) or 1.0)


def overview(found: Sequence[Saved]) -> str:
    """How far each figure is beyond its goal: right of the line it is reached."""
    shown = [one for one in found if _beyond(one.figures) is not None]
    height = 90 + _ROW_PIXELS * len(shown)
    drawing = Drawing(
        _WIDTH_PIXELS,
        height,
        "Every scenario against its goal",
        "; ".join(f"{one.name}: {_beyond(one.figures):.2f} times its goal" for one in shown),
    )
    drawing.text(20, 28, "Every scenario against its goal", "text strong")
    whiskers = f"95 % interval of the median, or the range of fewer than {MIN_INTERVAL_PAIRS} pairs"
    drawing.text(20, 46, f"how far beyond its goal each figure is; whiskers: {whiskers}", "faint")
    values = [value for one in shown for value in _beyond_with_interval(one.figures)]
    scale = Scale(min([0.8, *values]) / 1.05, max([1.25, *values]) * 1.05, 150, _WIDTH_PIXELS - 90, log=True)
    for tick in _log_ticks(scale.low, scale.high):
        drawing.line(scale(tick), 58, scale(tick), height - 28, "grid")
        drawing.text(scale(tick), height - 12, f"{tick:g} ×", "faint", anchor="middle")
    drawing.line(scale(1), 58, scale(1), height - 28, "goal")
    for number, one in enumerate(shown):
        y = 74 + _ROW_PIXELS * number
        low, value, high = _beyond_with_interval(one.figures)
        kind = "ours" if one.figures.reached else "missed"
        drawing.text(140, y + 4, one.name, anchor="end")
        drawing.line(scale(low), y, scale(high), y, "median")
        drawing.dot(scale(value), y, kind, 5)
        drawing.text(_WIDTH_PIXELS - 20, y + 4, f"{value:.2f} ×", anchor="end")
    return str(drawing)


def pairs(figures: Figures) -> str:
    """Both sides' rates as bars, and below them the ratio of each pair with median, interval and goal."""
    ratios = [float(pair["ratio"]) for pair in figures.pairs]
    low, median, high = figures.low or 0.0, figures.ratio or 0.0, figures.high or 0.0
    top = 44 + _BAR_ROW_PIXELS * len(figures.rows)
    drawing = Drawing(
        _WIDTH_PIXELS,
        top + 290,
        f"{figures.scenario}: both sides, and the ratio of each pair",
        f"median ratio of {figures.of} {median:.3f}, {figures.interval}, "
        f"goal {figures.bound} {figures.goal:g}, {len(ratios)} pairs",
    )
    drawing.text(20, 28, f"{figures.scenario}: {figures.unit} a second, medians", "text strong")
    _bars(drawing, figures)
    drawing.text(20, top + 30, f"ratio of {figures.of}, pair by pair", "text strong")
    band = "range of the pairs" if figures.has_range else "95 % interval of the median"
    drawing.text(_RIGHT_PIXELS, top + 30, f"band: {band}", "faint", anchor="end")
    values = [*ratios, figures.goal, low, high]
    margin = max(0.02, 0.1 * (max(values) - min(values)))
    up = Scale(min(values) - margin, max(values) + margin, top + 250, top + 45)
    along = Scale(0.5, len(ratios) + 0.5, 60, _RIGHT_PIXELS)
    for tick in _ticks(up.low, up.high):
        drawing.line(60, up(tick), _RIGHT_PIXELS, up(tick), "grid")
        drawing.text(52, up(tick) + 4, f"{tick:g}", "faint", anchor="end")
    drawing.box(60, up(high), _RIGHT_PIXELS - 60, up(low) - up(high), "band")
    drawing.line(60, up(median), _RIGHT_PIXELS, up(median), "median")
    drawing.line(60, up(figures.goal), _RIGHT_PIXELS, up(figures.goal), "goal")
    apart = abs(up(median) - up(figures.goal)) > _LINE_PIXELS
    beside = up(figures.goal) if apart else up(median) + (_LINE_PIXELS if figures.goal < median else -_LINE_PIXELS)
    drawing.text(_RIGHT_PIXELS + 6, up(median) + 4, f"median {median:.3f}")
    drawing.text(_RIGHT_PIXELS + 6, beside + 4, f"goal {figures.goal:g}", "goal-text")
    for number, ratio in enumerate(ratios, 1):
        drawing.dot(along(number), up(ratio), "ours")
    caption = f"{len(ratios)} pairs in the order in which they were measured"
    drawing.text((60 + _RIGHT_PIXELS) / 2, top + 276, caption, "faint", anchor="middle")
    return str(drawing)


def _bars(drawing: Drawing, figures: Figures) -> None:
    """One bar a side; baselines and ours take turns in the rows."""
    scale = Scale(0, max(row.rate for row in figures.rows), 190, _RIGHT_PIXELS)
    for number, row in enumerate(figures.rows):
        y = 44 + _BAR_ROW_PIXELS * number
        drawing.text(180, y + 15, row.name, anchor="end")
        drawing.box(190, y, scale(row.rate) - 190, _BAR_PIXELS, "ours" if number % 2 else "theirs")
        drawing.text(scale(row.rate) + 8, y + 15, _short(row.rate))


def curve(found: Curve) -> str:
    """Lines through measured points. The horizontal axis is logarithmic where its values spread over 100 times."""
    points = [point for series in found.series.values() for point in series]
    xs, ys = [float(x) for x, _ in points], [float(y) for _, y in points]
    log = min(xs) > 0 and max(xs) >= 100 * min(xs)
    along = Scale(min(xs), max(xs), 80, _WIDTH_PIXELS - 150, log=log)
    up = Scale(min(0.0, *ys), max(ys) * 1.1 or 1.0, 300, 56)
    caption = "; ".join(
        f"{name}: " + ", ".join(f"{_short(x)} → {_short(y)}" for x, y in series)
        for name, series in found.series.items()
    )
    drawing = Drawing(_WIDTH_PIXELS, 350, found.name, f"{found.y} over {found.x}. {caption}")
    drawing.text(20, 28, found.name, "text strong")
    for tick in _ticks(up.low, up.high):
        drawing.line(80, up(tick), _WIDTH_PIXELS - 150, up(tick), "grid")
        drawing.text(72, up(tick) + 4, _short(tick), "faint", anchor="end")
    for x in sorted(set(xs)):
        drawing.text(along(x), 320, _short(x), "faint", anchor="middle")
    drawing.line(80, 300, _WIDTH_PIXELS - 150, 300, "axis")
    drawing.text((_WIDTH_PIXELS - 70) / 2, 340, found.x, "faint", anchor="middle")
    drawing.text(18, 178, found.y, "faint", anchor="middle", turned=True)
    ends: list[float] = []
    # The first series is drawn last, above the others.
    for number, (name, series) in reversed([*enumerate(found.series.items())]):
        places = [(along(x), up(y)) for x, y in series]
        drawing.path(places, f"line-{number % COLOUR_COUNT}")
        for x, y in places:
            drawing.dot(x, y, f"dot-{number % COLOUR_COUNT}")
        end = places[-1][1]
        while any(abs(end - other) < _LINE_PIXELS for other in ends):
            end += _LINE_PIXELS
        ends.append(end)
        drawing.text(_WIDTH_PIXELS - 138, end + 4, name)
    return str(drawing)


def _beyond(figures: Figures) -> float | None:
    """The figure over its goal, or the other way round where less is better; None where there is no figure."""
    if figures.skipped or figures.value is None or min(figures.value, figures.goal) <= 0:
        return None
    return figures.value / figures.goal if figures.bound is Bound.AT_LEAST else figures.goal / figures.value


def _beyond_with_interval(figures: Figures) -> tuple[float, float, float]:
    value = _beyond(figures) or 1.0
    if figures.low is None or figures.high is None or min(figures.low, figures.high) <= 0:
        return value, value, value
    if figures.bound is Bound.AT_LEAST:
        return figures.low / figures.goal, value, figures.high / figures.goal
    return figures.goal / figures.high, value, figures.goal / figures.low


def _ticks(low: float, high: float) -> list[float]:
    """Round values between the two, about five of them."""
    step = 10 ** math.floor(math.log10((high - low) / _TICK_COUNT))
    step = next(step * times for times in (1, 2, 5, 10) if (high - low) / (step * times) <= _TICK_COUNT + 1)
    first = math.ceil(low / step)
    return [round(number * step, 10) for number in range(first, math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    marks = (0.1, 0.2, 0.5, 0.8, 1, 1.5, 2, 3, 5, 10, 20, 50, 100)
    return [mark for mark in marks if low <= mark <= high]


def _short(value: float) -> str:
    """A number as it is spoken: 12.3, 1,234, 1 M."""
    if abs(value) >= 1e6:  # noqa: PLR2004 - a million
        return f"{value / 1e6:,.3g} M"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"  # noqa: PLR2004 - three digits either way
