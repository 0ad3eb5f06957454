"""How figures are shown in a terminal: both sides, their ratio and the goal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from measuring.figures import Figures


def show(figures: Figures, console: Console) -> None:
    """Print a table of both sides if there are two, and one line with the outcome."""
    if figures.rows:
        console.print(_sides(figures))
    # No wrapping: programs read this line.
    console.print(Text(outcome(figures)), soft_wrap=True, highlight=False)


def outcome(figures: Figures) -> str:
    """The scenario, its goal, its ratio with the interval, and its rate, in one line."""
    if figures.skipped:
        return f"{figures.scenario}: skipped, {figures.skipped}"
    parts = [f"{figures.scenario}: goal {figures.bound} {figures.goal:g} {verdict(figures)}"]
    if figures.ratio is not None:
        parts.append(f"ratio {figures.ratio:.3f}{_interval(figures)}")
    if figures.requests_per_s is not None:
        parts.append(f"{figures.requests_per_s:,.1f} requests/s")
    for check in figures.checks:
        said = "reached" if check.reached else "NOT reached"
        parts.append(f"{check.name}: {check.shown}, goal {check.bound} {check.goal:,g} {said}")
    return "; ".join(parts)


def verdict(figures: Figures) -> str:
    """Whether the goal was reached, in words."""
    return "reached" if figures.reached else "NOT reached"


def _interval(figures: Figures) -> str:
    return f" ({figures.interval})" if figures.interval else ""


def _sides(figures: Figures) -> Table:
    title = f"{figures.scenario}: against {figures.against}, {len(figures.pairs)} interleaved pairs"
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.caption = (
        f"ratio of {figures.of} {figures.ratio:.3f}{_interval(figures)}, goal {figures.bound} {figures.goal:g}"
    )
    table.add_column("side")
    for name in (f"{figures.unit}/s", "seconds", "CPU seconds", f"CPU ms for one of the {figures.unit}"):
        table.add_column(name, justify="right")
    for row in figures.rows:
        cpu = ("", "")
        if row.cpu_seconds is not None:
            cpu = (f"{row.cpu_seconds:.2f}", f"{1000 * row.cpu_seconds / row.work:.3f}")
        table.add_row(row.name, f"{row.rate:,.1f}", f"{row.seconds:.3f}", *cpu)
    return table
