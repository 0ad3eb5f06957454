"""One run of the fault harness, as its users start it."""

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "load-tests" / "run.py"
BOUND = 240
"""Seconds, for a busy machine; some 20 on an idle one."""


def run_chaos(tmp_path, missing_server, seed, kinds, *where, **variables):
    """The report of a run of these faults, in which every promise was kept."""
    out = tmp_path / "report.json"
    options = ("--seed", str(seed), "--faults", str(len(kinds)), "--requests", "60", "--json", str(out))
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), "chaos", *where, *options],
        env={**os.environ, **variables},
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
    return report
