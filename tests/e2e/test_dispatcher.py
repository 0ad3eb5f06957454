"""Stored jobs on real parts: from the input in the store to the last record, with a dispatcher between."""

import json

import pytest
from live import lines
from waiting import until

from backburner_schemas import keys
from backburner_schemas.job import JobManifest, OffPeak, StoredInput
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.fake.engine import digest_of
from measuring.shared_beginnings import SharedJob, found_in_cache

pytestmark = [pytest.mark.broker, pytest.mark.store]

BOUND = 60


@pytest.fixture(scope="module")
def dispatcher(_servers):
    """One that runs for all tests of this file."""
    running = _servers.dispatcher()
    yield running
    running.stop()


async def test_an_engines_cache_finds_what_prompts_share_however_they_were_shuffled(
    stack, client, dispatcher, tmp_path
):
    """Counted as in the benchmark `order`, but in the order in which two engines began the requests."""
    job = SharedJob.shuffled(100, 20)
    bodies = [{**body, "model": "ordered"} for body in job.bodies]
    await stack.make_pool("ordered")
    journals = [tmp_path / name for name in ("first", "second")]
    workers = [
        stack.worker("ordered", BACKBURNER_FAKE_JOURNAL=str(journal), BACKBURNER_FAKE_LATENCY_SECONDS="0.01")
        for journal in journals
    ]
    await stack.warm(*workers)
    requests = [{"custom_id": f"r{at}", "url": Endpoint.CHAT, "body": body} for at, body in enumerate(bodies)]
    sent = await client.submit(requests, stored=True)
    assert (await sent.wait(timeout=BOUND)).request_counts.completed == 2_000
    places = {digest_of(EngineRequest("", Endpoint.CHAT, body)): at for at, body in enumerate(bodies)}
    begun = [[places[line.split()[2]] for line in journal.read_text().splitlines()] for journal in journals]
    assert sorted(begun[0] + begun[1]) == [*range(2_000)]
    assert min(map(len, begun)) > 500
    room = job.cache_tokens(16)
    found = found_in_cache(([job.modelled[at] for at in each] for each in begun), room)
    assert found.beginnings > 0.9
    assert found_in_cache([job.modelled], room).beginnings < 0.4
    assert abs((await sent.status()).estimate.prefix_hit_ratio - found.beginnings) < 0.05
    for worker in workers:
        worker.stop()
        stack.workers.remove(worker)


async def waits_for(job, reason):
    async def waiting():
        status = await job.status()
        return status.waiting is not None and status.waiting.reason == reason

    await until(waiting, f"waiting for {reason}")
    return await job.status()


async def gone(storage, key):
    await until(lambda: _is_gone(storage, key), f"the end of {key}")


async def _is_gone(storage, key):
    return await storage.modified(key) is None


async def test_a_stored_job_is_sent_in_an_order_of_its_own_and_read_as_any_other(stack, client, dispatcher):
    requests = lines(3_000)
    job = await client.submit(requests, stored=True)
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed, status.sealed) == ("completed", 3_000, True)
    joined = {record.custom_id: record async for record in job.results(join=requests)}
    assert {record.request.custom_id for record in joined.values()} == joined.keys() == {f"r{n}" for n in range(3_000)}
    books = await job.reconcile()
    assert (books.agrees, books.duplicates) == (True, 0)
    storage = stack.storage()
    await gone(storage, keys.pending("default", job.id))
    assert await storage.modified(keys.plan("default", job.id)) is not None


async def test_what_failed_of_it_is_retried_from_the_input_that_was_stored(stack, client, dispatcher):
    job = await client.submit([*lines(50), *lines(3, "[[fail]]", prefix="bad")], stored=True)
    status = await job.wait(timeout=BOUND)
    assert (status.request_counts.completed, status.request_counts.failed) == (50, 3)
    again = await client.retry_failed(job.id)
    assert (await again.wait(timeout=BOUND)).request_counts.total == 3


async def test_lines_of_every_form_reach_the_engine_as_they_were_meant(stack, client, dispatcher):
    """What a plain submit accepts, a stored file may hold, too: other spacing, carriage returns, blank lines, a BOM."""
    request = {"custom_id": "a", "url": "/v1/chat/completions", "body": lines(1)[0]["body"]}
    spaced = json.dumps({**request, "custom_id": "b", "unknown": 1}, indent=None, separators=(" , ", " : "))
    large = {
        **request,
        "custom_id": "c",
        "body": {**request["body"], "messages": [{"role": "user", "content": "x" * 2_000_000}]},
    }
    data = b"\xef\xbb\xbf%b\r\n\r\n%b\n\n%b" % tuple(
        text.encode() for text in (json.dumps(request), spaced, json.dumps(large))
    )
    job = await stored_by_hand(stack, client, data)
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed) == ("completed", 3)
    indexes = {record.custom_id: record.backburner.index async for record in job.results()}
    assert indexes == {"a": 0, "b": 1, "c": 2}


async def stored_by_hand(stack, client, data, **fields):
    """A job as a gateway makes it: its input is a file of the tenant's."""
    from backburner.submission.stored_job import create_stored_job

    storage, name, now = stack.storage(), keys.new_job_id(), await store_time(stack)
    file = keys.contents("default") + keys.new_file_id()
    await storage.put(file, data)
    manifest = JobManifest(
        id=name,
        tenant="default",
        **{
            "created_at": now,
            "deadline": now + 3600,
            "stored": StoredInput(key=file, bytes=len(data)),
            **fields,
        },
    )
    await create_stored_job(storage, manifest)
    return client.job(name)


async def store_time(stack):
    storage = stack.storage()
    await storage.put("test/clock", b"")
    return await storage.modified("test/clock")


async def test_an_input_that_is_wrong_fails_with_its_errors_by_line(stack, client, dispatcher):
    good, other = (
        lines(1)[0],
        {**lines(1)[0], "custom_id": "e", "url": "/v1/embeddings", "body": {"model": "fake", "input": "x"}},
    )
    bad = [
        json.dumps(good),
        "{",
        json.dumps(good),
        "",
        json.dumps({**good, "custom_id": "m", "body": {**good["body"], "model": "none"}}),
        json.dumps(other),
    ]
    job = await stored_by_hand(stack, client, "\n".join(bad).encode(), endpoint="/v1/chat/completions")
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.total) == ("failed", 0)
    assert [(error.line, error.code) for error in status.errors.data] == [
        (2, "invalid_json"),
        (3, "duplicate_custom_id"),
        (5, "pool_not_found"),
        (6, "unknown_endpoint"),
    ]
    storage = stack.storage()
    await gone(storage, keys.open_job("default", job.id))
    await gone(storage, keys.pending("default", job.id))


@pytest.mark.parametrize(
    ("data", "fields", "said"),
    [
        (b"\n\n", {}, "no request"),
        (b"\n".join(json.dumps(one).encode() for one in lines(4)), {"max_requests": 3}, "4 requests"),
        (b"", {"stored": StoredInput(key=keys.contents("default") + "file-gone", bytes=10)}, "not there"),
    ],
)
@pytest.mark.usefixtures("dispatcher")
async def test_an_input_that_cannot_be_a_job_fails(stack, client, data, fields, said):
    job = await stored_by_hand(stack, client, data, **fields)
    status = await job.wait(timeout=BOUND)
    assert status.status == "failed"
    assert said in status.errors.data[0].message


async def test_a_manifest_that_names_another_tenants_file_is_left_alone(stack, client, dispatcher):
    storage = stack.storage()
    theirs = keys.contents("acme") + keys.new_file_id()
    await storage.put(theirs, json.dumps(lines(1)[0]).encode())
    now, name = await store_time(stack), keys.new_job_id()
    manifest = JobManifest(
        id=name, tenant="default", created_at=now, deadline=now + 3600, stored=StoredInput(key=theirs, bytes=100)
    )
    await storage.put(keys.open_job("default", name), b"")
    await storage.create(keys.manifest("default", name), manifest.model_dump_json().encode())
    await storage.put(keys.pending("default", name), b"")
    await until(
        lambda: [line for line in dispatcher.said("reading a stored job failed") if line["job"] == name], "refusal"
    )
    assert await storage.get(keys.cursor("default", name)) is None
    await storage.delete([keys.pending("default", name), keys.open_job("default", name)])


async def test_a_paused_job_waits_and_goes_on_when_it_is_resumed(stack, client, dispatcher):
    job = client.job(keys.new_job_id())
    storage = stack.storage()
    await storage.put(keys.paused("default", job.id), b"")
    job = await client.submit(lines(200), stored=True, job_id=job.id)
    status = await waits_for(job, "paused")
    # It was checked all the same.
    assert (status.request_counts.total, status.request_counts.completed) == (200, 0)
    await job.resume()
    assert (await job.wait(timeout=BOUND)).request_counts.completed == 200


async def test_a_job_waits_for_its_window(stack, client, dispatcher):
    job = await stored_by_hand(
        stack,
        client,
        json.dumps(lines(1)[0]).encode(),
        window=closed_window(await store_time(stack)),
    )
    status = await waits_for(job, "off_peak")
    assert "UTC; that begins at" in status.waiting.detail
    await job.cancel()
    assert (await job.wait(timeout=BOUND)).status == "cancelled"


def closed_window(now):
    """One that began an hour or two ago and is over."""
    hour = int(now // 3600) % 24
    return OffPeak(start=f"{(hour - 2) % 24:02}:00", end=f"{(hour - 1) % 24:02}:00")


async def test_a_job_whose_pool_has_no_worker_is_not_sent(stack, client, dispatcher):
    job = await client.submit(lines(20, model="nobody"), stored=True)
    status = await waits_for(job, "no_worker")
    assert "nobody" in status.waiting.detail
    cursor = await stack.storage().get(keys.cursor("default", job.id))
    assert json.loads(cursor.data)["count"] == 0
    # Nothing was sent, so it ends at once, though the grace is longer than this test waits.
    await job.cancel()
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.failed, status.request_counts.total) == ("cancelled", 20, 20)
    codes = {(record.error.code, record.custom_id) async for record in job.results()}
    assert codes == {("cancelled", f"r{number}") for number in range(20)}


async def test_a_job_that_waits_past_its_deadline_expires(stack, client, dispatcher):
    job = await client.submit(lines(5, model="nobody"), stored=True, deadline=3)
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.failed) == ("expired", 5)
    assert {record.error.code async for record in job.results()} == {"expired"}
    await gone(stack.storage(), keys.pending("default", job.id))


async def test_a_plan_that_is_broken_is_made_anew(stack, client, dispatcher):
    name, storage = keys.new_job_id(), stack.storage()
    await storage.put(keys.plan("default", name), b"bbplan and then nothing that makes sense" * 10)
    job = await client.submit(lines(30), stored=True, job_id=name)
    status = await job.wait(timeout=BOUND)
    assert (status.status, status.request_counts.completed) == ("completed", 30)
    assert (await storage.get(keys.plan("default", name))).data[6:8] == b"\x01\x00"


async def test_the_pages_of_the_process_tell_what_it_does(stack, client, dispatcher):
    job = await client.submit(lines(10, model="nobody"), stored=True)
    await waits_for(job, "no_worker")
    assert dispatcher.page("/livez") == (200, "alive\n")
    assert dispatcher.page("/readyz") == (200, "ready\n")
    pending = 'backburner_dispatch_pending_requests{lane="normal",pool="nobody"}'
    await until(lambda: dispatcher.metric(pending) == 10, "the survey")
    assert dispatcher.metric("backburner_dispatch_claims") >= 1
    assert dispatcher.metric('backburner_dispatch_waiting_jobs{reason="no_worker"}') == 1
    assert dispatcher.metric('backburner_dispatch_ready_workers{lane="normal",pool="fake"}') == 2
    assert dispatcher.metric("backburner_dispatch_oldest_request_age_seconds") > 0
    await job.cancel()
    await job.wait(timeout=BOUND)
    await until(lambda: dispatcher.metric(pending) == 0, "the survey")
