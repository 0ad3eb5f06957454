"""The report's words: tables and sections in Markdown, from saved figures and the list of scenarios."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from measuring.figures import Check, Figures
from reporting.saved import Saved
from scenarios.catalogue import SCENARIOS, Scenario

NOT_MEASURED = "not measured"
_HEAD = ("scenario", "measured against, in the same run", "must reach", "reached", "interval", "", "CPU s of both")


def summary(found: Sequence[Saved]) -> str:
    """One row for each figure and for each scenario that has none."""
    rows = [row for scenario in SCENARIOS for row in _rows(scenario, of(scenario, found))]
    return markdown_table(_HEAD, rows)


def headline(found: Sequence[Saved]) -> str:
    """The figures that were measured, in short."""
    rows = [
        (scenario.asks, scenario.against, scenario.goal, f"**{_value(one.figures)}**")
        for scenario in SCENARIOS
        for one in of(scenario, found)[:1]
        if one.figures.value is not None
    ]
    if not rows:
        return "No run is saved here; `make bench` makes one."
    return markdown_table(("question", "measured against", "must reach", "reached"), rows)


def sections(found: Sequence[Saved], pictures: Mapping[str, Sequence[str]]) -> str:
    """A section for each scenario; `pictures` are the plots of each file, relative to the page."""
    return "\n\n".join(_section(scenario, of(scenario, found), pictures) for scenario in SCENARIOS)


def gpu(found: Sequence[Saved]) -> str:
    """The same on a GPU, for the scenarios that run there."""
    rows = [row for scenario in SCENARIOS if scenario.gpu for row in _rows(scenario, of(scenario, found))]
    table = markdown_table(_HEAD, rows)
    return "\n".join([table, *("\n" + _provenance(one) for one in found)])


def of(scenario: Scenario, found: Iterable[Saved]) -> list[Saved]:
    """What was saved of that scenario."""
    return [one for one in found if one.figures.scenario == scenario.name]


def _rows(scenario: Scenario, found: Sequence[Saved]) -> Iterator[tuple[str, ...]]:
    link = f"[{scenario.name}](#{scenario.name})"
    if not found:
        yield link, scenario.against, scenario.goal, NOT_MEASURED
    for one in found:
        figures = one.figures
        name = link if one.name == scenario.name else f"[{one.name}](#{scenario.name})"
        if figures.skipped:
            yield name, scenario.against, scenario.goal, f"skipped: {figures.skipped}"
            continue
        yield (
            name,
            figures.against or scenario.against,
            _goal(figures),
            _value(figures),
            figures.interval,
            _verdict(figures),
            _cpu(figures),
        )
        for check in figures.checks:
            yield (
                "",
                check.against or check.name,
                f"{check.bound} {check.goal:,g}",
                _check(check),
                "",
                _mark(check.reached),
            )


def _section(scenario: Scenario, found: Sequence[Saved], pictures: Mapping[str, Sequence[str]]) -> str:
    lines = [f"### {scenario.name}", "", f"{scenario.asks} `python load-tests/run.py {scenario.name}`"]
    if not found:
        lines += ["", f"Measured against {scenario.against}; must reach {scenario.goal}: {NOT_MEASURED}."]
    for one in found:
        figures = one.figures
        lines += ["", f"Against {figures.against or scenario.against}."]
        if figures.skipped:
            lines += ["", f"Skipped: {figures.skipped}."]
            continue
        lines += ["", f"**{_value(figures)}**{_words(figures)}."]
        if figures.rows:
            lines += ["", _sides(figures)]
        lines += [f"\n![{one.name}]({picture})" for picture in pictures.get(one.name, ())]
        if figures.checks:
            rows = [(c.name, f"{c.bound} {c.goal:,g}", c.shown, _mark(c.reached)) for c in figures.checks]
            lines += ["", markdown_table(("also", "must reach", "reached", ""), rows)]
        lines += ["", " ".join(figures.notes)] if figures.notes else []
        lines += ["", _provenance(one)]
    return "\n".join(lines)


def _sides(figures: Figures) -> str:
    rows = []
    for row in figures.rows:
        cpu = (
            ("not measured", "")
            if row.cpu_seconds is None
            else (f"{row.cpu_seconds:,.2f}", f"{1000 * row.cpu_seconds / row.work:,.3f}")
        )
        rows.append((row.name, f"{row.rate:,.1f}", f"{row.seconds:,.2f}", *cpu))
    return markdown_table(
        ("side", f"{figures.unit}/s", "seconds", "CPU seconds", f"CPU ms for one of the {figures.unit}"), rows
    )


def _provenance(one: Saved) -> str:
    machine, versions = one.machine, one.versions
    place = [str(machine.get("cpu", "")), f"{machine.get('cores')} cores", f"{machine.get('memory_gib')} GiB"]
    place += [str(machine["gpu"])] if machine.get("gpu") else ["no GPU"]
    place += [f"{machine.get('system', '')}, Python {machine.get('python', '')}"]
    parts = [f"{value}" if part != "commit" else f"commit {value}" for part, value in versions.items() if value]
    said = f"{one.date}{', a quick run with a wide interval' if one.figures.quick else ''}"
    lines = [f"<sub>{said}. Machine: {', '.join(part for part in place if part)}. Versions: {', '.join(parts)}."]
    if one.figures.settings:
        lines.append(f"Settings: {_settings(one.figures.settings)}.")
    return " ".join(lines) + "</sub>"


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} `{value}`" for name, value in settings.items() if value not in ({}, [], "", None))


def _value(figures: Figures) -> str:
    if figures.ratio is not None:
        return f"{figures.ratio:.3f} {figures.measure}"
    if figures.requests_per_s is not None:
        return f"{figures.requests_per_s:,.0f} {figures.unit}/s"
    return NOT_MEASURED


def _goal(figures: Figures) -> str:
    return f"{figures.bound} {figures.goal:,g}" + (
        f" {figures.measure}" if figures.ratio is not None else f" {figures.unit}/s"
    )


def _words(figures: Figures) -> str:
    shown_interval = f" ({figures.interval})" if figures.interval else ""
    of_what = f" of the baseline's {figures.of}" if figures.ratio is not None and figures.measure == "×" else ""
    said = "reached" if figures.reached else "not reached"
    pairs = f"; {len(figures.pairs)} interleaved pairs" if figures.pairs else ""
    return f"{of_what}{shown_interval}, must be {_goal(figures)}: {said}{pairs}"


def _cpu(figures: Figures) -> str:
    """Baseline and ours, for each pair of rows."""
    return ", ".join(NOT_MEASURED if row.cpu_seconds is None else f"{row.cpu_seconds:,.2f}" for row in figures.rows)


def _check(check: Check) -> str:
    return check.shown + (f" ({check.name})" if check.against else "")


def _verdict(figures: Figures) -> str:
    return _mark(figures.reached) + (" (quick)" if figures.quick else "")


def _mark(reached: bool) -> str:  # noqa: FBT001 - a verdict
    return "✓" if reached else "✗"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown. Rows that are shorter than the head are filled up."""
    lines = [head, ["---"] * len(head), *([*row, *[""] * (len(head) - len(row))] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
