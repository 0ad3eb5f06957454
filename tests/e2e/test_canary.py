"""A canary that fails, beside a stable group, on real broker and store: found by records and metrics, and harmless."""

import asyncio
import json
import os
import sys

import pytest
from live import lines
from waiting import PATIENCE

from backburner.cli.exit_codes import ExitCode

pytestmark = [pytest.mark.broker, pytest.mark.store]

MODEL = "compared"


async def verdict(*options):
    """What `backburner canary` says, and how it ends."""
    argv = (sys.executable, "-m", "backburner", "canary", "--json", "--since", "1h", *options)
    running = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, env=os.environ)
    async with asyncio.timeout(PATIENCE):
        told, _ = await running.communicate()
    return running.returncode, json.loads(told)


async def test_twenty_percent_of_errors_in_a_canary_are_found_and_the_stable_group_is_untouched(stack, client):
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
    for one in (stable, canary):
        one.stop()
