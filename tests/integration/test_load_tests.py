"""The load tests themselves: each scenario starts and stops all that it needs, and writes what it found."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backburner import BatchStatus, Client
from measuring.child import child
from measuring.servers import servers
from scenarios.control_plane import chat_lines

PROGRAM = Path(__file__).parents[2] / "load-tests" / "run.py"
SIDES = {"rows", "pairs", "against", "of", "unit", "measure", "checks", "curves", "notes"}
CHECKED = {"control-plane", "submit", "read", "dispatch", "gateway"}
CIRCUMSTANCES = {"settings", "skipped", "quick", "date", "machine", "versions"}
FIELDS = {"scenario", "ratio", "low", "high", "goal", "bound", "reached", "requests_per_s", "details"} | SIDES


@pytest.mark.parametrize(
    ("scenario", "options"),
    [
        ("control-plane", ("--pairs", "1", "--requests", "300")),
        ("fairness", ("--rounds", "1", "--requests", "10")),
        ("submit", ("--pairs", "1", "--requests", "2000")),
        ("read", ("--pairs", "1", "--records", "500")),
        ("import-time", ("--runs", "1")),
        ("dispatch", ("--requests", "400", "--tenant-requests", "40")),
        ("gateway", ("--pairs", "1", "--requests", "300", "--uploads", "1", "--batches", "250")),
    ],
)
def test_a_scenario_writes_its_figures(scenario, options, tmp_path):
    out = tmp_path / "figures.json"
    ended = subprocess.run(
        [sys.executable, PROGRAM, scenario, "--json", out, *options], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(out.read_text())
    assert figures.keys() == FIELDS | CIRCUMSTANCES
    assert figures["scenario"] == scenario
    assert bool(figures["checks"]) is (scenario in CHECKED)
    assert scenario in ended.stdout.splitlines()[-1]


def test_a_worker_behind_a_gate_is_a_member_and_gives_nothing_until_it_is_open():
    async def submit() -> BatchStatus:
        async with Client() as client:
            job = await client.submit(chat_lines(200))
            assert worker.ask({"do": "close"})["done"] == 0
            worker.ask({"do": "open"})
            return await job.wait(timeout=120)

    with servers("fake", partitions=2) as settings:
        env = {**os.environ, **settings, "BACKBURNER_ENGINE": "fake", "BACKBURNER_MODEL": "fake"}
        with child("scale_worker", env={**env, "BACKBURNER_POOL": "fake"}) as worker:
            assert asyncio.run(submit()).request_counts.completed == 200
            found = worker.ask({"do": "close"})
    assert found["done"] == 200
    assert found["first"] < found["last"]
