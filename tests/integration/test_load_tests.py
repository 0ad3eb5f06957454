"""The load tests themselves: each scenario starts and stops all that it needs, and writes what it found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "load-tests" / "run.py"
FIELDS = {
    "scenario",
    "ratio",
    "low",
    "high",
    "goal",
    "bound",
    "reached",
    "requests_per_s",
    "rows",
    "pairs",
    "details",
} | {"against", "of", "unit", "settings", "skipped", "quick", "date", "machine", "versions"}


@pytest.mark.parametrize(
    ("scenario", "options"),
    [
        ("control-plane", ("--rounds", "1", "--requests", "300")),
        ("submit", ("--pairs", "1", "--requests", "2000")),
        ("read", ("--pairs", "1", "--records", "500")),
        ("import-time", ("--runs", "1")),
    ],
)
def test_a_scenario_writes_its_figures(scenario, options, tmp_path):
    out = tmp_path / "figures.json"
    ended = subprocess.run(
        [sys.executable, PROGRAM, scenario, "--json", out, *options], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(out.read_text())
    assert figures.keys() == FIELDS
    assert figures["scenario"] == scenario
    assert scenario in ended.stdout.splitlines()[-1]
