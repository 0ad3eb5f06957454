"""The fault harness itself, for a few faults on each queue: every promise is kept, and a broken one would be told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.broker, pytest.mark.store]

PROGRAM = Path(__file__).parents[2] / "load-tests" / "run.py"
BOUND = 150


@pytest.mark.timeout(BOUND + 30)
@pytest.mark.parametrize(
    ("where", "seed", "kinds"),
    [
        (("--broker", "tansu"), 2959, ["broker reset", "kill worker"]),
        (("--broker", "apache"), 31, ["kill worker", "stop broker"]),
        (("--queue", "sqs"), 3407, ["kill engine", "store paused"]),
    ],
    ids=["kafka-tansu", "kafka-apache", "sqs"],
)
def test_every_promise_is_kept_under_faults(where, seed, kinds, tmp_path, missing_server):
    out = tmp_path / "report.json"
    options = ("--seed", str(seed), "--faults", str(len(kinds)), "--requests", "60", "--json", str(out))
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), "chaos", *where, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=BOUND,
    )
    if "is not installed" in ended.stderr or "is not on this machine" in ended.stderr:
        missing_server(ended.stderr.splitlines()[-1])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads(out.read_text())
    assert [row["fault"]["kind"] for row in report["rows"]] == kinds
    verdict = report["verdict"]
    assert (report["kept"], verdict["breaches"]) == (True, [])
    assert verdict["visible"] >= verdict["accepted"] >= 60 * len(kinds)
