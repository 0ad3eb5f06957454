"""Jobs on SQS, from the command line and the client to the results: the same as on Kafka, by one setting."""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
from live import lines, live_on_sqs
from waiting import until

from backburner.local.control import env_file
from backburner_schemas.names import Lane

pytestmark = [pytest.mark.broker, pytest.mark.store]

BOUND = 120


@pytest.fixture(scope="module")
def _servers(tmp_path_factory, missing_server):
    with live_on_sqs(tmp_path_factory.mktemp("sqs"), missing_server) as running:
        asyncio.run(running.make_pool("fake"))
        yield running


@pytest.fixture
def stack(_servers, monkeypatch):
    """The running servers. Their settings are in the environment, and the workers end with the test."""
    _servers.enter(monkeypatch)
    yield _servers
    _servers.stop_workers()


async def test_a_stored_job_is_sent_by_a_dispatcher(stack):
    await stack.warm(stack.worker())
    stack.dispatcher()
    async with stack.client() as client:
        job = await client.submit(lines(300, "prompt é {}"), stored=True)
        assert (await job.wait(timeout=BOUND)).request_counts.completed == 300
        assert len({record.custom_id for record in await records_of(job)}) == 300


async def records_of(job):
    return [record async for record in job.results()]


def test_a_job_is_answered_once_although_a_worker_is_killed(stack):
    async def scenario():
        first = stack.worker(BACKBURNER_FAKE_LATENCY_SECONDS="0.05", BACKBURNER_CONCURRENCY="4")
        await stack.warm(first)
        async with stack.client() as client:
            job = await client.submit(lines(200, "prompt é {}"), deadline=600)
            await until(lambda: first.metric("backburner_deliveries_pulled_total") > 20, "the first worker at work")
            first.send(signal.SIGKILL)
            second = stack.worker(BACKBURNER_FAKE_LATENCY_SECONDS="0.01")
            await job.wait(timeout=BOUND)
            records = await records_of(job)
            assert Counter(record.custom_id for record in records) == Counter(f"r{number}" for number in range(200))
            assert all(record.error is None for record in records)
            await until(lambda: second.metric("backburner_deliveries_uncommitted") == 0, "everything deleted")

    asyncio.run(scenario())


def test_a_large_request_and_a_single_one_come_through(stack):
    async def scenario():
        worker = stack.worker()
        await stack.warm(worker)
        async with stack.client() as client:
            # Small enough for SQS as it is, and too large once it is escaped.
            job = await client.submit(lines(1, "日" * 250_000 + "{}"), deadline=600)
            handle = await client.enqueue("日" * 250_000, model="fake", priority=Lane.HIGH, deadline=600)
            assert (await handle.result(timeout=BOUND)).error is None
            await job.wait(timeout=BOUND)
            assert [record.error for record in await records_of(job)] == [None]

    asyncio.run(scenario())


def test_a_worker_that_is_stopped_gives_everything_back_at_once(stack):
    async def scenario():
        long = {"BACKBURNER_SQS_VISIBILITY_SECONDS": "3600"}
        first = stack.worker(
            **long, BACKBURNER_FAKE_LATENCY_SECONDS="30", BACKBURNER_CONCURRENCY="2", BACKBURNER_DRAIN_SECONDS="0.5"
        )
        await stack.warm(first)
        async with stack.client() as client:
            job = await client.submit(lines(50), deadline=600)
            await until(
                lambda: first.metric("backburner_deliveries_pulled_total") == 50, "the first worker to have all"
            )
            first.ask_to_stop()
            await until(lambda: first.exit_status is not None, "the first worker's end")
            assert first.exit_status == 0
            stack.worker(**long)
            await job.wait(timeout=BOUND)
            assert len(await records_of(job)) == 50

    asyncio.run(scenario())


def test_the_embedded_stack_runs_on_sqs_and_keeps_its_queues_over_a_restart(tmp_path, missing_server):
    if importlib.util.find_spec("ministack") is None:
        missing_server("the SQS emulator is not installed")
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines(40)))

    def backburner(*arguments, **env):
        done = subprocess.run(
            [sys.executable, "-m", "backburner", *arguments],
            cwd=tmp_path,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=BOUND,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    up = ("up", "--queue", "sqs", "--engine", "fake", "--detach", "--workers")
    env = tmp_path / ".backburner" / "env"
    try:
        backburner(*up, "0")
        settings = env_file.read(env)
        assert settings["BACKBURNER_QUEUE_URL"].startswith("sqs://")
        job = backburner("submit", "in.jsonl", **settings).strip()
        backburner("down")
        assert not env.exists()
        backburner(*up, "1")
        settings = env_file.read(env)
        backburner("watch", job, **settings)
        records = backburner("results", job, **settings).splitlines()
        assert {json.loads(line)["custom_id"] for line in records} == {f"r{number}" for number in range(40)}
    finally:
        backburner("down")
    assert not list((tmp_path / ".backburner" / "data" / "sqs" / "tmp").iterdir())
