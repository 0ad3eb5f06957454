"""The fault harness itself, for a few faults on each queue: every promise is kept, and a broken one would be told."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from live import lines

pytestmark = [pytest.mark.broker, pytest.mark.store]

PROGRAM = Path(__file__).parents[2] / "load-tests" / "run.py"
BOUND = 150


def run(tmp_path, missing_server, seed, kinds, *where, **variables):
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


@pytest.mark.timeout(BOUND + 30)
@pytest.mark.parametrize(
    ("where", "seed", "kinds"),
    [
        (("--broker", "tansu"), 1624, ["kill gateway", "kill worker"]),
        (("--queue", "sqs"), 703, ["kill engine", "kill disp."]),
    ],
    ids=["kafka-tansu", "sqs"],
)
def test_every_promise_is_kept_under_faults(where, seed, kinds, tmp_path, missing_server):
    run(tmp_path, missing_server, seed, kinds, *where)


@pytest.mark.timeout(BOUND + 30)
def test_on_apache_kafka_no_more_is_redone_than_was_uncommitted(tmp_path, missing_server):
    kinds = ["kill worker", "kill disp."]
    report = run(tmp_path, missing_server, 6963, kinds, "--broker", "apache")
    (struck,) = [row for row in report["rows"] if row["bound"] is not None]
    # More than the bound would have been a breach.
    assert struck["struck"].startswith("core-")
    assert 0 <= struck["redone"] <= struck["bound"]


async def left_on(stack):
    """Topics, groups and objects that are there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.env["BACKBURNER_QUEUE_URL"].removeprefix("kafka://"))
    await admin.start()
    try:
        topics = {name for name in await admin.list_topics() if not name.startswith("__")}
        groups = {name for name, _ in await admin.list_consumer_groups()}
    finally:
        await admin.close()
    return topics, groups, {found.key async for found in stack.storage().scan("")}


@pytest.mark.timeout(BOUND + 30)
async def test_a_run_on_servers_of_others_meets_nothing_of_theirs_and_leaves_nothing(
    stack, client, tmp_path, missing_server
):
    # Of users who have the pool that a run would have by default, and requests in it that nobody answers.
    await stack.make_pool("fake")
    await client.submit(lines(20), job_id="theirs")
    before = await left_on(stack)
    outside = {
        "BACKBURNER_TEST_QUEUE_URL": stack.env["BACKBURNER_QUEUE_URL"],
        "BACKBURNER_TEST_STORE_URL": stack.env["BACKBURNER_STORE_URL"],
        "BACKBURNER_TEST_STORE_ENDPOINT": stack.env["BACKBURNER_STORE_ENDPOINT"],
        "BACKBURNER_KAFKA_LEAVE_GROUP": "false",
    }
    await asyncio.to_thread(run, tmp_path, missing_server, 9, ["kill gateway"], **outside)
    assert await left_on(stack) == before
    status = await (client.job("theirs")).status()
    assert (status.request_counts.total, status.request_counts.completed) == (20, 0)
