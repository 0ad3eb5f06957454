"""A canary that fails, beside a stable group, on real broker and store: found by records and metrics, and harmless."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import chart_tools
import pytest
from live import lines
from waiting import PATIENCE

from backburner.cli.exit_codes import ExitCode

pytestmark = [pytest.mark.broker, pytest.mark.store]

MODEL = "compared"
RULES = Path(__file__).parents[2] / "helm" / "backburner" / "files" / "alerts.yaml"


async def verdict(*options):
    """What `backburner canary` says, and how it ends."""
    argv = (sys.executable, "-m", "backburner", "canary", "--json", "--since", "1h", *options)
    running = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, env=os.environ)
    async with asyncio.timeout(PATIENCE):
        told, _ = await running.communicate()
    return running.returncode, json.loads(told)


def results(worker):
    """The results that a worker's own page shows, as series and values."""
    shown = (line.rpartition(" ") for line in worker.page("/metrics")[1].splitlines())
    return [(series, float(value)) for series, _, value in shown if series.startswith("backburner_results_total{")]


def fired(scraped, folder, missing_server):
    """The groups that the chart's alert fires for, where counters grow by so much a minute as they did here in all."""
    try:
        promtool = chart_tools.promtool()
    except chart_tools.InstallationFailed as error:
        missing_server(str(error))
    test = {
        "interval": "1m",
        "input_series": [{"series": series, "values": f"0+{value:.0f}x40"} for series, value in scraped],
        "alert_rule_test": [{"eval_time": "30m", "alertname": "BackburnerCanaryErrors"}],
    }
    file = folder / "alerts.yaml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}))
    # No alert is expected, so what fires is told as a failure, with its labels.
    told = subprocess.run([promtool, "test", "rules", file], check=False, capture_output=True, text=True)
    return set(re.findall(r'group="(\w+)"', told.stdout + told.stderr))


async def test_twenty_percent_of_errors_in_a_canary_are_found_and_the_stable_group_is_untouched(
    stack, client, tmp_path, missing_server
):
    await stack.make_pool(MODEL)
    quick = {"BACKBURNER_RETRY_BASE_SECONDS": "0.05", "BACKBURNER_RETRY_MAX_SECONDS": "0.2"}
    stable = stack.worker(MODEL, BACKBURNER_WORKER_GROUP="stable", BACKBURNER_WORKER_RELEASE="3f9a1c20be", **quick)
    await stack.warm(stable)
    canary = stack.worker(
        MODEL,
        BACKBURNER_WORKER_GROUP="canary",
        BACKBURNER_WORKER_RELEASE="77d0e1a9c4",
        BACKBURNER_FAKE_FAILURE_RATIO="0.2",
        **quick,
    )
    await stack.warm(canary)
    job = await client.submit(lines(1_000, model=MODEL))
    await job.wait(timeout=PATIENCE)
    records = [record async for record in job.results()]
    assert [record.ok for record in records] == [True] * 1_000
    code, told = await verdict("--group", "canary", "--against", "stable")
    sides = {one["group"]: one for one in told["releases"]}
    assert (code, told["verdict"]) == (ExitCode.ENDED_BADLY, "worse")
    assert sides["canary"]["failure_ratio"] == pytest.approx(0.2, abs=0.01)
    assert sides["canary"]["runs"] + sides["stable"]["runs"] == 1_000 + sides["canary"]["failed"]
    assert (sides["stable"]["failed"], sides["stable"]["release"]) == (0, "3f9a1c20be")
    page = canary.page("/metrics")[1]
    retried = f'backburner_results_total{{group="canary",outcome="retried",pool="{MODEL}",release="77d0e1a9c4"}} '
    [shown] = [line for line in page.splitlines() if line.startswith(retried)]
    assert float(shown.removeprefix(retried)) == sides["canary"]["failed"]
    assert (await verdict("--group", "stable"))[0] == ExitCode.OK
    assert fired([*results(stable), *results(canary)], tmp_path, missing_server) == {"canary"}
    for one in (stable, canary):
        one.stop()
