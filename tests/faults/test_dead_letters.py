"""Dead letters on real parts: a worker leaves them, the command line shows them and sends them again."""

import asyncio
import json
import sys

import pytest
from live import lines
from waiting import until

from backburner_schemas import keys
from backburner_schemas.letter import StoredDeadLetter
from backburner_schemas.request import DEFAULT_MAX_BODY_BYTES

pytestmark = [pytest.mark.broker, pytest.mark.store]

BOUND = 60
TENANT = "default"
BROKEN = "[[retry]]"


async def backburner(*arguments, code=0):
    """What a command prints on stdout."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "backburner", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(2 * BOUND):
        output, told = await process.communicate()
    assert process.returncode == code, told.decode()
    return output.decode()


async def listed(*arguments):
    return [json.loads(text) for text in (await backburner("dlq", "list", "--json", *arguments)).splitlines()]


async def answers(job):
    await job.wait(timeout=BOUND)
    return {record.custom_id: record.ok async for record in job.results()}


@pytest.fixture
async def worker(stack):
    """One that gives a request up at its first failure."""
    await stack.make_pool("fake")
    started = stack.worker(BACKBURNER_MAX_ATTEMPTS="1")
    await stack.warm(started)
    return started


@pytest.fixture
def mend(stack):
    """Repairs what is wrong with the letters of a job, by hand: the engine would choke on it for ever."""

    async def mended(job):
        storage = stack.storage()
        found = [one.key async for one in storage.scan(keys.dead_letters(TENANT, job))]
        for key in found:
            letter = StoredDeadLetter.model_validate_json((await storage.get(key)).data)
            reference = letter.envelope.body_ref
            if reference is not None:
                body = (await storage.get(reference, max_bytes=DEFAULT_MAX_BODY_BYTES)).data
                await storage.put(reference, body.replace(BROKEN.encode(), b"better"))
            data = letter.model_dump_json(exclude_none=True).replace(BROKEN, "better")
            await storage.put(key, data.encode())
        return len(found)

    return mended


async def test_letters_go_the_whole_way(worker, client, mend, tmp_path):
    requests = [
        *lines(3),
        *lines(2, "{} " + BROKEN, prefix="broken"),
        *lines(1, BROKEN + "large" * 220_000, prefix="large"),
    ]
    job = await client.submit(requests)
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed, status.request_counts.failed) == ("completed", 3, 3)

    found = await listed("--job", job.id)
    assert [one["custom_id"] for one in found] == ["broken0", "broken1", "large0"]
    assert {one["code"] for one in found} == {"engine_error"}
    assert {one["problem"] for one in found} == {None}
    assert BROKEN in await backburner("dlq", "show", found[0]["id"])

    # Nothing has changed, so they fail again, and are letters of the new job.
    child = client.job((await backburner("dlq", "redrive", "--job", job.id)).strip())
    assert await answers(child) == {"broken0": False, "broken1": False, "large0": False}
    assert await listed("--job", job.id) == []
    assert [one["custom_id"] for one in await listed()] == ["broken0", "broken1", "large0"]

    assert await mend(child.id) == 3
    made = json.loads(await backburner("dlq", "redrive", "--all", "--json"))
    ((grandchild,),) = [made["jobs"]]
    assert (grandchild["parent"], grandchild["requests"]) == (child.id, 3)
    assert await answers(client.job(grandchild["id"])) == {"broken0": True, "broken1": True, "large0": True}
    assert (await client.job(grandchild["id"]).reconcile()).agrees
    assert await listed("--stale") == []

    # The failed part of the first job is still that: it can be run from the input at any time.
    path = tmp_path / "input.jsonl"
    path.write_text("".join(json.dumps(request) + "\n" for request in requests))
    await backburner("retry", job.id, code=2)
    retried = client.job((await backburner("retry", job.id, "--input", str(path))).strip())
    assert (await answers(retried)).keys() == {"broken0", "broken1", "large0"}
    await backburner("dlq", "purge", "--job", retried.id, "--yes")
    assert await listed() == []


async def test_a_single_request_is_answered_under_its_old_handle(worker, client, mend):
    handle = await client.enqueue(f"{BROKEN} alone", model="fake", custom_id="alone")
    record = await until(handle.peek, "the error record")
    assert record.error.code == "engine_error"
    (letter,) = await listed()
    assert letter["id"] == f"{handle.job}/0"
    await mend(handle.job)
    await backburner("dlq", "redrive", "--id", letter["id"])

    async def answered():
        found = await handle.peek()
        return found is not None and found.ok

    await until(answered, "the response in the error's place")
    assert await listed("--stale") == []


async def test_junk_is_shown_apart_and_purged(stack, worker, client):
    """What no request can be made of, put onto the topic by a stranger."""
    from aiokafka import AIOKafkaProducer

    producer = AIOKafkaProducer(bootstrap_servers=f"127.0.0.1:{stack.broker.port}", enable_idempotence=False)
    await producer.start()
    try:
        await producer.send_and_wait("backburner.fake.normal", b"\xff not JSON")
    finally:
        await producer.stop()
    found = await until(lambda: listed("--unaddressed"), "the letter")
    assert await listed() == []
    assert "belongs to no request" in await backburner("dlq", "show", found[0]["id"])
    await backburner("dlq", "redrive", "--id", found[0]["id"], code=1)
    await backburner("dlq", "purge", "--unaddressed", "--yes")
    assert await listed("--unaddressed") == []
