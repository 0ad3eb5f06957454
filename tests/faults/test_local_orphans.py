"""kill -9 of the embedded stack's supervisor, or of any of its parts: no orphan, nothing lost, and it goes on."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from backburner.local import run_down
from backburner.local.control import env_file

pytestmark = [
    pytest.mark.broker,
    pytest.mark.store,
    pytest.mark.skipif(sys.platform != "linux", reason="waits for processes by pidfd"),
]

PROGRAM = Path(__file__).parents[1] / "e2e" / "programs" / "local_up.py"
BOUND = 90
TOPIC = "faults.kept"
RECORDS = 200


@pytest.fixture
def start(tmp_path):
    """Starts stacks in the foreground, in one working folder, and kills what a test leaves."""
    (tmp_path / "notes").mkdir()
    started = []

    def start(*arguments, **extra):
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), "up", *arguments],
            cwd=tmp_path,
            env={**os.environ, "LOCAL_WORKER_NOTES": str(tmp_path / "notes"), **extra},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        read_until(process, "up; settings are in")
        return process

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=BOUND)


def read_until(process, *texts):
    missing, seen = set(texts), []
    for line in process.stdout:
        seen.append(line)
        missing -= {text for text in missing if text in line}
        if not missing:
            return
    pytest.fail(f"{missing} was never said: {''.join(seen)}")


def children(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [(Path(f"/proc/{child}/comm").read_text().strip(), int(child)) for child in found]


def pidfds(pid):
    pids = [pid]
    for parent in pids:
        pids += [child for _, child in children(parent)]
    return {one: os.pidfd_open(one) for one in pids}


def assert_all_end(watched):
    deadline = time.monotonic() + BOUND
    for pid, pidfd in watched.items():
        ended, _, _ = select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))
        assert ended, f"process {pid} is still alive"
        os.close(pidfd)


def kill(pid):
    watched = {pid: os.pidfd_open(pid)}
    os.kill(pid, signal.SIGKILL)
    assert_all_end(watched)


def s3(env):
    return boto3.client(
        "s3",
        endpoint_url=env["BACKBURNER_STORE_ENDPOINT"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
    )


def bootstrap(env):
    return env["BACKBURNER_QUEUE_URL"].removeprefix("kafka://")


async def write(env, count):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap(env), acks="all")
    await producer.start()
    try:
        for number in range(count):
            await producer.send(TOPIC, str(number).encode())
        await producer.flush()
    finally:
        await producer.stop()


async def read(env, count):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap(env), auto_offset_reset="earliest")
    await consumer.start()
    try:
        # The broker gives a topic that it makes at its first mention this many partitions.
        consumer.assign([TopicPartition(TOPIC, number) for number in range(4)])
        found = set()
        while len(found) < count:
            batches = await consumer.getmany(timeout_ms=1000)
            found |= {int(record.value) for batch in batches.values() for record in batch}
        return found
    finally:
        await consumer.stop()


async def test_a_killed_supervisor_leaves_no_orphan_and_the_next_one_finds_everything(start, tmp_path):
    first = start("--workers", "2", "--gateway")
    env = env_file.read(tmp_path / ".backburner" / "env")
    await write(env, RECORDS)
    s3(env).put_object(Bucket="backburner", Key="main/kept", Body=b"kept")
    watched = pidfds(first.pid)
    assert len(watched) == 7
    first.kill()
    first.wait(BOUND)
    assert_all_end(watched)

    # What it left in .backburner is stale: it is neither in the way nor taken for a running stack.
    assert (tmp_path / ".backburner" / "stack.json").exists()
    start("--workers", "0")
    again = env_file.read(tmp_path / ".backburner" / "env")
    assert {key: again[key] for key in again if "AWS" in key} == {key: env[key] for key in env if "AWS" in key}
    assert await read(again, RECORDS) == set(range(RECORDS))
    assert s3(again).get_object(Bucket="backburner", Key="main/kept")["Body"].read() == b"kept"


def test_a_supervisor_killed_while_a_worker_loads_leaves_no_orphan_and_down_removes_its_temporary_files(tmp_path):
    (tmp_path / "notes").mkdir()
    notes = {"LOCAL_WORKER_NOTES": str(tmp_path / "notes"), "LOCAL_WORKER_HANGS": "1"}
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), "up"],
        cwd=tmp_path,
        env={**os.environ, **notes},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        read_until(process, "starting worker 1")
        watched = pidfds(process.pid)
        temporary = Path(json.loads((tmp_path / ".backburner" / "stack.json").read_text())["temporary"])
        (temporary / "left").touch()
        process.kill()
    assert_all_end(watched)
    assert run_down(tmp_path, say=lambda _line: None) == 0
    assert not temporary.exists()


@pytest.mark.parametrize("parts", [("weed",), ("tansu",), ("weed", "tansu")], ids="+".join)
async def test_killed_servers_come_back_where_they_were_with_all_that_was_acknowledged(start, tmp_path, parts):
    process = start("--workers", "0")
    env = env_file.read(tmp_path / ".backburner" / "env")
    await write(env, RECORDS)
    s3(env).put_object(Bucket="backburner", Key="main/kept", Body=b"kept")
    running = children(process.pid)
    for part in parts:
        kill(next(pid for name, pid in running if name.startswith(part)))
    names = {"weed": "the object store is back", "tansu": "the broker is back"}
    read_until(process, *(names[part] for part in parts))
    assert await read(env, RECORDS) == set(range(RECORDS))
    assert s3(env).get_object(Bucket="backburner", Key="main/kept")["Body"].read() == b"kept"


def test_a_killed_worker_is_started_again_and_what_it_forgot_is_killed(start, tmp_path):
    process = start(LOCAL_WORKER_CHILD="1")
    (note,) = (tmp_path / "notes").glob("*.json")
    worker = json.loads(note.read_text())
    forgotten = {worker["child"]: os.pidfd_open(worker["child"])}
    kill(worker["pid"])
    read_until(process, "worker 1 ended with signal SIGKILL; starting it again", "worker 1 is warm")
    assert_all_end(forgotten)
    (again,) = (tmp_path / "notes").glob("*.json")
    assert json.loads(again.read_text())["pid"] != worker["pid"]
