"""A machine that is taken back: the worker drains while it can, stays without a new model, and another one goes on."""

import datetime as dt
import json
import signal
from pathlib import Path

import pytest
from live import lines
from metadata_server import MetadataServer
from waiting import until

pytestmark = [pytest.mark.broker, pytest.mark.store]

PROGRAM = Path(__file__).parent / "programs" / "reclaimed_worker.py"
ACTION = ("GET", "/latest/meta-data/spot/instance-action")
BOUND = 90


@pytest.fixture
def metadata():
    with MetadataServer() as server:
        server.answers[("PUT", "/latest/api/token")] = (200, "token")
        yield server


@pytest.fixture
def start(stack, metadata):
    def started(model, **settings):
        return stack.worker(model, program=PROGRAM, BACKBURNER_TEST_METADATA=metadata.url, **settings)

    return started


def take_back(metadata, seconds):
    due = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    said = {"action": "terminate", "time": due.strftime("%Y-%m-%dT%H:%M:%SZ")}
    metadata.answers[ACTION] = (200, json.dumps(said))


async def settled(job, count):
    counts = (await job.status()).request_counts
    return counts.completed + counts.failed >= count


async def test_a_notice_drains_in_time_and_another_worker_goes_on_with_nothing_lost(stack, client, metadata, start):
    await stack.make_pool("reclaimed")
    first = start("reclaimed")
    await stack.warm(first)
    job = await client.submit(lines(3_000, "{} [[slow:0.3]]", model="reclaimed"))
    await until(lambda: settled(job, 300), "the first results")
    take_back(metadata, 60)
    await until(lambda: first.said("drained; waiting"), "the end of the drain")
    # It loads no model anew on a machine that is about to go.
    assert first.exit_status is None
    assert first.page("/readyz")[0] == 503
    assert first.page("/livez")[0] == 200
    assert first.metric('backburner_reclaim_notices_total{source="aws"}') == 1
    (notice,) = first.said("the machine is taken back")
    assert notice["reason"] == "spot instance-action terminate"
    # All that it had taken is stored and committed, or was given back.
    assert (await job.status()).status == "in_progress"
    done = (await job.reconcile()).ok
    stack.worker("reclaimed")
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed) == ("completed", 3_000)
    books = await job.reconcile()
    assert books.agrees
    # This broker drops commit metadata, so that the low-water mark alone protects; see the ledger.
    assert books.duplicates <= 512
    assert done >= 300
    first.send(signal.SIGTERM)
    await until(lambda: first.exit_status is not None, "its end")
    assert first.exit_status == 0


async def test_a_drain_is_no_longer_than_the_notice_leaves(stack, client, metadata, start):
    await stack.make_pool("short-notice")
    settings = {"BACKBURNER_DRAIN_SECONDS": "3000", "BACKBURNER_FREEZE_GRACE_SECONDS": "4000"}
    first = start("short-notice", **settings)
    await stack.warm(first)
    job = await client.submit(lines(3, "[[hang]]", model="short-notice"))
    await until(lambda: first.metric("backburner_deliveries_in_flight") == 3, "three that run")
    take_back(metadata, 13)
    await until(lambda: first.said("drained; waiting"), "the end of the drain")
    (draining,) = first.said("draining")
    assert draining["running"] == 3
    assert draining["seconds"] <= 1
    await job.cancel()


async def test_a_notice_that_is_withdrawn_ends_the_worker_to_be_started_anew(stack, metadata, start):
    await stack.make_pool("withdrawn")
    first = start("withdrawn")
    await stack.warm(first)
    take_back(metadata, 60)
    await until(lambda: first.said("drained; waiting"), "the end of the drain")
    del metadata.answers[ACTION]
    await until(lambda: first.exit_status is not None, "its end")
    assert first.exit_status == 0
    assert first.said("the notice was withdrawn")
