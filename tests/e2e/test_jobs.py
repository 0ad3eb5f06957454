"""Jobs on real parts, from the first request in to the frozen end: real broker, real store, real worker processes."""

import asyncio
import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from clock import Clock
from live import lines
from waiting import until

from backburner import InvalidInput, JobConflict, RequestFailed
from backburner.jobs.finalizer import finalize
from backburner.jobs.job_watch import JobWatch
from backburner_schemas import keys
from backburner_schemas.job import Cursor
from backburner_schemas.status import ABANDONED_AFTER_SECONDS

pytestmark = [pytest.mark.broker, pytest.mark.store]

PROGRAMS = Path(__file__).parent / "programs"
BOUND = 60


async def collect(job, **how):
    return [record async for record in job.results(**how)]


def indexes(records):
    return sorted(record.backburner.index for record in records)


def codes(records):
    return Counter("ok" if record.ok else record.error.code for record in records)


def write(path, requests):
    path.write_text("".join(json.dumps(request) + "\n" for request in requests))
    return path


async def program(name, *arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAMS / name), *arguments, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(BOUND):
        output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().strip()


async def test_results_come_while_the_job_runs_and_each_index_once(client):
    # The last one keeps the job open until the others have been seen.
    requests = [*lines(500), *lines(1, "[[slow:2]]", prefix="last")]
    job = await client.submit(requests)
    early, found = None, []
    async for record in job.results():
        found.append(record)
        if early is None:
            early = await job.status()
    assert early.status == "in_progress"
    assert indexes(found) == list(range(501))
    assert {record.custom_id for record in found} == {request["custom_id"] for request in requests}
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.total, status.request_counts.completed) == ("completed", 501, 501)
    assert indexes(await collect(job)) == list(range(501))


async def test_two_workers_share_a_job_and_its_books_balance(client):
    job = await client.submit(lines(2_000, "{} [[slow:0.2]]"))
    status = await job.wait(timeout=BOUND)
    assert status.status == "completed"
    found = await collect(job)
    assert indexes(found) == list(range(2_000))
    assert len({record.backburner.worker for record in found}) == 2
    books = await job.reconcile()
    assert books.agrees
    assert (books.total, books.ok, books.failed, books.pending) == (2_000, 2_000, 0, 0)


async def test_a_job_of_several_models_goes_to_the_pool_of_each(client):
    requests = [*lines(20), *lines(20, model="fake-b", prefix="b")]
    job = await client.submit(requests)
    assert (await job.wait(timeout=BOUND)).status == "completed"
    pools = {record.custom_id: record.backburner.pool for record in await collect(job)}
    assert pools == {request["custom_id"]: request["body"]["model"] for request in requests}


async def test_a_high_job_overtakes_a_low_one(client):
    low = await client.submit(lines(6_000, "{} [[slow:0.4]]"), priority="low")
    high = await client.submit(lines(200), priority="high")
    assert (await high.wait(timeout=BOUND)).request_counts.completed == 200
    left = await low.status()
    await low.cancel()
    assert left.status == "in_progress"
    await low.wait(timeout=BOUND)


async def test_results_join_the_requests_that_they_answer(client, tmp_path):
    path = write(tmp_path / "input.jsonl", lines(30, "[[echo]] number {}"))
    job = await client.submit(path)
    joined = await collect(job, join=path)
    assert indexes(joined) == list(range(30))
    for record in joined:
        assert record.request.custom_id == record.custom_id
        assert record.text == record.request.body["messages"][0]["content"]
    with pytest.raises(JobConflict):
        await collect(job, join=lines(30, "another input"))


async def test_what_is_not_run_by_the_deadline_expires(client):
    job = await client.submit(lines(6_000, "{} [[slow:1]]"), deadline=3.0)
    status = await job.wait(timeout=BOUND)
    assert status.status == "expired"
    found = await collect(job)
    assert indexes(found) == list(range(6_000))
    counted = codes(found)
    assert set(counted) == {"ok", "expired"}
    # Not the freeze alone: the workers dropped what came to them too late.
    assert any(record.error and record.backburner.worker for record in found)
    assert (status.request_counts.completed, status.request_counts.failed) == (counted["ok"], counted["expired"])
    assert (await job.reconcile()).agrees


async def test_a_job_that_no_worker_serves_ends_at_its_deadline_with_a_record_for_each(client, tmp_path):
    path = write(tmp_path / "input.jsonl", lines(5, model="nobody"))
    job = await client.submit(path, deadline=1.0)
    assert "no live worker" in " ".join(job.warnings)
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.failed) == ("expired", 5)
    found = await collect(job, join=path)
    assert codes(found) == {"expired": 5}
    assert [record.custom_id for record in found] == [f"r{number}" for number in range(5)]


async def test_a_job_cancelled_midway_keeps_what_is_done_and_drops_the_rest(client):
    job = await client.submit(lines(8_000, "{} [[slow:0.5]]"))

    async def some_done():
        return (await job.status()).request_counts.completed

    await until(some_done, "the first results")
    assert (await job.cancel()).status == "cancelling"
    status = await job.wait(timeout=BOUND)
    assert status.status == "cancelled"
    found = await collect(job)
    assert indexes(found) == list(range(8_000))
    counted = codes(found)
    assert set(counted) == {"ok", "cancelled"}
    # Not the freeze alone: the workers dropped what came to them after the cancel.
    assert any(record.error and record.backburner.worker for record in found)
    assert (status.request_counts.completed, status.request_counts.failed) == (counted["ok"], counted["cancelled"])
    assert (await job.cancel()).status == "cancelled"


async def test_bad_lines_refuse_a_file_before_anything_is_sent(client, tmp_path):
    good = lines(3)
    path = tmp_path / "input.jsonl"
    bad = [
        "not json",
        json.dumps({**good[0], "custom_id": None}),
        json.dumps(good[1]),
        json.dumps({**good[0], "custom_id": "u", "url": "/v1/images"}),
        json.dumps({**good[0], "custom_id": "m", "body": {**good[0]["body"], "model": "unknown"}}),
    ]
    path.write_text("\n".join([*map(json.dumps, good), *bad]) + "\n")
    with pytest.raises(InvalidInput) as refused:
        await client.submit(path, job_id="refused-whole")
    assert [(one.line, one.code) for one in refused.value.findings] == [
        (4, "invalid_json"),
        (5, "invalid_request"),
        (6, "duplicate_custom_id"),
        (7, "unknown_endpoint"),
        (8, "pool_not_found"),
    ]
    assert [status.id async for status in client.jobs(limit=1000) if status.id == "refused-whole"] == []

    job = await client.submit(path, skip_invalid=True)
    assert [one.line for one in job.skipped] == [4, 5, 6, 7, 8]
    assert (await job.wait(timeout=BOUND)).request_counts.completed == 3
    assert indexes(await collect(job)) == [0, 1, 2]


async def test_requests_that_fail_are_records_with_stable_codes_and_the_job_completes(client):
    requests = [
        *lines(3, prefix="good"),
        *lines(1, "[[fail]]", prefix="fail"),
        *lines(1, "[[retry]]", prefix="retry"),
        *lines(1, prefix="parameter", use_beam_search=True),
    ]
    job = await client.submit(requests)
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed, status.request_counts.failed) == ("completed", 3, 3)
    errors = {record.custom_id: record.error for record in await collect(job) if not record.ok}
    assert {name: error.code for name, error in errors.items()} == {
        "fail0": "invalid_request",
        "retry0": "engine_error",
        "parameter0": "unsupported_parameter",
    }
    assert errors["parameter0"].param == "use_beam_search"
    # What a retry could mend is kept.
    letter = await client._connections.storage.get(keys.dead_letter("default", job.id, 4))
    assert json.loads(letter.data)["envelope"]["custom_id"] == "retry0"


async def killed_producer(client, job_id, path, deadline="600"):
    """A producer that is killed when the broker has half of the job; the cursor that was seen before."""
    count = len(path.read_text().splitlines())
    arguments = (str(PROGRAMS / "half_a_submit.py"), job_id, str(path), str(count), deadline)
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:

        async def cursor():
            stored = await client._connections.storage.get(keys.cursor("default", job_id))
            cursor = stored and Cursor.model_validate_json(stored.data)
            return cursor if cursor and cursor.count >= count // 2 else None

        return await until(cursor, "a cursor that is half way")
    finally:
        process.kill()
        await process.wait()


async def test_a_submit_whose_producer_was_killed_goes_on_where_it_was(client, tmp_path):
    path = write(tmp_path / "input.jsonl", lines(4_000))
    cursor = await killed_producer(client, "resumed", path)
    job = client.job("resumed")
    assert (await job.status()).status == "in_progress"
    with pytest.raises(JobConflict):
        await client.submit(lines(4_000, "another input {}"), job_id="resumed")
    assert (await client.submit(path, job_id="resumed")).id == job.id
    assert (await job.wait(timeout=BOUND)).status == "completed"
    found = await collect(job)
    assert sorted(record.custom_id for record in found) == sorted(f"r{number}" for number in range(4_000))
    books = await job.reconcile()
    assert books.agrees
    # What the cursor vouches for was not sent again.
    assert books.duplicates <= 4_000 - cursor.count


async def test_a_job_that_was_never_sealed_is_abandoned_at_its_deadline(client, tmp_path):
    path = write(tmp_path / "input.jsonl", lines(2_000))
    await killed_producer(client, "abandoned", path, "3")
    job = client.job("abandoned")
    status = await job.wait(timeout=BOUND)
    assert status.status == "expired"
    found = await collect(job)
    assert indexes(found) == list(range(status.request_counts.total))
    with pytest.raises(JobConflict):
        await client.submit(path, job_id="abandoned")


async def test_a_cursor_that_stood_still_for_an_hour_ends_an_unsealed_job(client, tmp_path):
    path = write(tmp_path / "input.jsonl", [*lines(600), *lines(900, model="nobody", prefix="waits")])
    await killed_producer(client, "standing", path)
    storage = client._connections.storage
    job = client.job("standing")

    async def all_there():
        return (await job.reconcile()).ok == 600

    await until(all_there, "the records of the pool that is served")
    clock = Clock()
    end = partial(finalize, storage, "default", "standing", grace=4.0, watch=JobWatch(clock))
    assert await end() is None
    clock.now += ABANDONED_AFTER_SECONDS - 1
    assert await end() is None
    clock.now += 2
    summary = (await end()).summary
    assert (summary.state, summary.missing_code) == ("expired", "producer_abandoned")
    counted = codes(await collect(job))
    assert counted == {"ok": 600, "producer_abandoned": summary.counts.total - 600}
    assert await storage.get(keys.open_job("default", "standing")) is None


async def test_a_handle_reads_its_answer_here_and_in_another_process(client):
    handle = await client.enqueue("[[echo]] one question", model="fake", max_tokens=8)
    assert (await handle.result(timeout=BOUND)).text == "[[echo]] one question"
    assert await program("other_process.py", "handle", handle.id) == "[[echo]] one question"


async def test_a_handle_of_a_request_that_failed_says_why(client):
    handle = await client.enqueue("[[fail]]", model="fake", custom_id="a/b c")
    with pytest.raises(RequestFailed) as failed:
        await handle.result(timeout=BOUND)
    assert failed.value.record.error.code == "invalid_request"
    assert failed.value.record.custom_id == "a/b c"


async def test_a_job_is_read_from_another_process_by_its_id(client):
    job = await client.submit(lines(25))
    told = json.loads(await program("other_process.py", "job", job.id))
    assert told["status"] == "completed"
    assert sorted(told["custom_ids"]) == sorted(f"r{number}" for number in range(25))
    assert job.id in [status.id async for status in client.jobs()]


async def test_a_body_too_large_for_the_broker_goes_round_it(client):
    text = "[[echo]] " + "long " * 300_000
    job = await client.submit(lines(2, text))
    assert (await job.wait(timeout=BOUND)).request_counts.completed == 2
    assert {record.text for record in await collect(job)} == {text}
