"""The fault harness itself, for a few faults on each queue: every promise is kept, and a broken one would be told."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from chaos_run import BOUND, run_chaos
from live import lines

from backburner.cli.commands.stack import ensure_pool

pytestmark = [pytest.mark.broker, pytest.mark.store]


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
    run_chaos(tmp_path, missing_server, seed, kinds, *where)


@pytest.mark.timeout(BOUND + 30)
def test_on_apache_kafka_no_more_is_redone_than_was_uncommitted(tmp_path, missing_server):
    kinds = ["kill worker", "kill disp."]
    report = run_chaos(tmp_path, missing_server, 6963, kinds, "--broker", "apache")
    (struck,) = [row for row in report["rows"] if row["bound"] is not None]
    # More than the bound would have been a breach.
    assert struck["struck"].startswith("core-")
    assert 0 <= struck["redone"] <= struck["bound"]


async def left_on(bootstrap, storage):
    """Topics, groups and objects that are there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        topics = {*await admin.list_topics()} - {"__consumer_offsets"}
        groups = {name for name, _ in await admin.list_consumer_groups()}
    finally:
        await admin.close()
    return topics, groups, {found.key async for found in storage.scan("")}


@pytest.mark.timeout(BOUND + 30)
async def test_a_run_on_servers_of_others_meets_nothing_of_theirs_and_leaves_nothing(
    stack, apache, tmp_path, missing_server
):
    queue = {"BACKBURNER_QUEUE_URL": f"kafka://{apache}"}
    # Of users who have the pool that a run would have by default, and requests in it that nobody answers.
    await ensure_pool({**stack.env, **queue}, "fake")
    async with stack.client(queue_url=queue["BACKBURNER_QUEUE_URL"]) as client:
        job = await client.submit(lines(20))
        before = await left_on(apache, stack.storage())
        outside = {
            "BACKBURNER_TEST_QUEUE_URL": queue["BACKBURNER_QUEUE_URL"],
            "BACKBURNER_TEST_STORE_URL": stack.env["BACKBURNER_STORE_URL"],
            "BACKBURNER_TEST_STORE_ENDPOINT": stack.env["BACKBURNER_STORE_ENDPOINT"],
            "BACKBURNER_KAFKA_SESSION_SECONDS": "6",
        }
        await asyncio.to_thread(run_chaos, tmp_path, missing_server, 9, ["kill gateway"], **outside)
        assert await left_on(apache, stack.storage()) == before
        status = await job.status()
    assert (status.request_counts.total, status.request_counts.completed) == (20, 0)
