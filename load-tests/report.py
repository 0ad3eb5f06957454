"""Writes docs/benchmarks.md, its plots, the README's table of figures and docs/reliability.md from the saved runs.

python load-tests/report.py [--folder docs] [--check]

The prose of the pages is written by hand; what is between `<!-- figures:NAME -->` and `<!-- /figures:NAME -->` comes
from FOLDER/benchmarks/*.json, for a GPU from FOLDER/benchmarks/gpu/*.json, a job's own time from those in its
job-latency/, where a worker's CPU goes from those in its profile/, and what the fault harness found from
FOLDER/reliability/*.json, where NAME is the file's. What hostile batches did, what a worker's death cost and how poison
was found comes from its hostile-batches/, recovery/ and poison/. The same files yield the same bytes.
`--check` writes nothing and exits with 1 if something is not as it would be written.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from reporting import blocks, fault_runs, found_runs, fuzz_runs, plots, profiles
from reporting.saved import Saved, load_all
from scenarios.catalogue import SCENARIOS

_ROOT = Path(__file__).parent.parent
_PROSE = _ROOT / "docs" / "benchmarks.md"
_README = _ROOT / "README.md"


def write_report(folder: Path, *, readme: Path | None = None) -> Path:
    """Write the page of that folder, its plots, and the README's table if one is named; the page.

    A folder without a page gets the prose of the published one.
    """
    wanted = outputs(folder, readme=readme)
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in _stale_plots(folder, wanted):
        path.unlink()
    return folder / "benchmarks.md"


def outputs(folder: Path, *, readme: Path | None = None) -> dict[Path, str]:
    """Every file of the report and its text. Raises `ValueError` for a page without a place for a block."""
    order = {scenario.name: number for number, scenario in enumerate(SCENARIOS)}
    runs, page = folder / "benchmarks", folder / "benchmarks.md"
    found, on_gpu = load_all(runs, order), load_all(runs / "gpu", order)
    drawn = _plots(found)
    written = {runs / name: text for picture in drawn.values() for name, text in picture.items()}
    pictures = {name: [f"benchmarks/{picture}" for picture in drawn[name]] for name in drawn}
    overview = plots.overview(found)
    measured = any(one.figures.value is not None for one in found)
    if measured:
        written[runs / "overview.svg"] = overview
    prose = (page if page.exists() else _PROSE).read_text(encoding="utf-8")
    summary = blocks.summary(found) + ("\n\n![overview](benchmarks/overview.svg)" if measured else "")
    texts = {"summary": summary, "scenarios": blocks.sections(found, pictures), "gpu": blocks.gpu(on_gpu)}
    if latencies := found_runs.JOB_LATENCY.text(runs):
        texts[found_runs.JOB_LATENCY.block] = latencies
    if layers := profiles.text(runs):
        texts[profiles.BLOCK] = layers
    written[page] = filled(prose, texts)
    if readme is not None:
        written[readme] = filled(readme.read_text(encoding="utf-8"), {"headline": blocks.headline(found)})
    texts = {name: fault_runs.block(run) for name, run in fault_runs.load_runs(folder / "reliability").items()}
    if runs_of_batches := fuzz_runs.load_runs(folder / "reliability" / "hostile-batches"):
        texts["hostile-batches"] = fuzz_runs.block(runs_of_batches)
    for table in (found_runs.RECOVERY, found_runs.POISON):
        if shown := table.text(folder / "reliability"):
            texts[table.block] = shown
    if texts:
        reliability = folder / "reliability.md"
        written[reliability] = filled(reliability.read_text(encoding="utf-8"), texts)
    return written


def filled(prose: str, texts: Mapping[str, str]) -> str:
    """The prose with each block's text in its place. Raises `ValueError` if it has no place for one."""
    for name, text in texts.items():
        start, end = f"<!-- figures:{name} -->\n", f"<!-- /figures:{name} -->"
        if not prose.count(start) == prose.count(end) == 1 or prose.index(start) > prose.index(end):
            raise ValueError(f"the page needs one {start.strip()} and one {end} below it")
        before, _, rest = prose.partition(start)
        prose = f"{before}{start}{text}\n{end}{rest.partition(end)[2]}"
    return prose


def _plots(found: list[Saved]) -> dict[str, dict[str, str]]:
    """For each saved run the names of its plots, and their SVG."""
    drawn: dict[str, dict[str, str]] = {}
    for one in found:
        here = drawn.setdefault(one.name, {})
        if one.figures.skipped:
            continue
        if len(one.figures.pairs) > 1 and one.figures.rows:
            here[f"{one.name}.svg"] = plots.pairs(one.figures)
        for number, curve in enumerate(one.figures.curves, 1):
            here[f"{one.name}-{number}.svg"] = plots.curve(curve)
    return drawn


def _stale_plots(folder: Path, wanted: Mapping[Path, str]) -> list[Path]:
    return [path for path in sorted((folder / "benchmarks").glob("*.svg")) if path not in wanted]


def main(
    folder: Annotated[Path, typer.Option(help="Where benchmarks.md and benchmarks/ are.")] = _ROOT / "docs",
    *,
    check: Annotated[bool, typer.Option("--check", help="Only compare.")] = False,
) -> None:
    """Write the report, or compare it."""
    readme = _README if folder.resolve() == _ROOT / "docs" else None
    if not check:
        print(f"report: wrote {write_report(folder, readme=readme)}")
        return
    wanted = outputs(folder, readme=readme)
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in [*stale, *_stale_plots(folder, wanted)]:
        print(f"report: {path} does not match the saved runs; run `make report`", file=sys.stderr)
    if stale or _stale_plots(folder, wanted):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
