"""The pipeline on a queue in memory: what each delivery ends as."""

import json

import pytest
from pipeline_harness import JOB, TENANT, CountingEngine, Harness, running
from waiting import until

from backburner.storage import Storage
from backburner_schemas import codec, keys
from backburner_schemas.envelope import AnswerMode, Envelope
from backburner_schemas.request import MAX_CONTAINERS, Endpoint
from backburner_worker.engine.base import EngineRequest, EngineResponse
from backburner_worker.jobs import JobCache, JobKey


async def test_every_request_of_a_sealed_job_gets_one_record_and_the_job_ends(harness: Harness) -> None:
    await harness.make_job(total=20)
    async with running(harness):
        for index in range(20):
            harness.send(index)
        await until(harness.summary)
    summary = await harness.summary()
    assert summary is not None
    assert (summary.state, summary.counts.completed, summary.counts.failed) == ("completed", 20, 0)
    assert sorted(record.backburner.index for record in await harness.records()) == list(range(20))
    assert harness.queue.unsettled == 0
    assert await harness.storage.modified(keys.open_job(TENANT, JOB)) is None


async def test_a_job_that_is_sealed_while_it_runs_does_not_wait_for_its_segments_age(storage: Storage) -> None:
    harness = Harness(storage, segment_min_age_seconds=100.0, segment_max_age_seconds=100.0)
    await harness.make_job()
    async with running(harness):
        harness.send(0, "[[slow:0.3]]")
        await until(lambda: harness.in_engine == 1)
        # The worker knows the job by now.
        await harness.make_job(total=1)
        await until(harness.summary)
    assert await harness.codes() == {0: None}


async def test_the_seal_of_a_job_that_comes_bit_by_bit_is_looked_for_now_and_then(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner_worker.settlement.segment_writer._MIN_SEAL_SECONDS", 3600.0)
    harness = Harness(storage, segment_min_age_seconds=100.0, segment_max_age_seconds=100.0)
    looks, learn = [], JobCache.learn_seal

    async def counted(self: JobCache, job: JobKey) -> bool:
        looks.append(job)
        return await learn(self, job)

    monkeypatch.setattr(JobCache, "learn_seal", counted)
    await harness.make_job()
    async with running(harness):
        for index in range(5):
            harness.send(index)
            await until(lambda index=index: harness.engine.answered == index + 1 and harness.in_engine == 0)
        await until(lambda: looks)
    assert looks == [(TENANT, JOB)]


async def test_a_bad_request_is_one_error_record_and_the_rest_go_on(harness: Harness) -> None:
    await harness.make_job(total=4)
    async with running(harness):
        harness.send(0, body={"model": "fake", "messages": [{"role": "user", "content": "x"}], "cache_salt": "s"})
        harness.send(1, body={"model": "other", "messages": [{"role": "user", "content": "x"}]})
        harness.send(2, "[[fail]]")
        harness.send(3)
        await until(harness.summary)
    codes = {record.backburner.index: record.error.code if record.error else None for record in await harness.records()}
    assert codes == {0: "unsupported_parameter", 1: "model_not_found", 2: "invalid_request", 3: None}


@pytest.mark.parametrize("junk", [None, b"", b"\xff", b"[]", b'{"v":1}', b'{"v":99,"tenant":"t"}'])
async def test_junk_becomes_a_dead_letter_and_the_worker_goes_on(harness: Harness, junk: bytes | None) -> None:
    await harness.make_job(total=1)
    async with running(harness):
        harness.queue.send(junk)
        harness.send(0)
        await until(harness.summary)
        await until(lambda: harness.queue.unsettled == 0)
    assert await harness.storage.get(keys.unaddressed_letter("fake.normal", "0-0")) is not None


async def test_a_plain_line_is_answered_in_its_stream(harness: Harness) -> None:
    line = {"custom_id": "mine", "method": "POST", "url": "/v1/chat/completions"}
    body = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
    async with running(harness):
        harness.queue.send(json.dumps({**line, "body": body}).encode())
        harness.queue.send(json.dumps({**line, "url": "/v1/nowhere", "body": body}).encode())
        await until(lambda: harness.queue.unsettled == 0)
    [stream] = await harness.storage.folders(keys.jobs(TENANT))
    assert stream.startswith("stream-fake.normal-")
    records = await harness.records(stream)
    assert [record.custom_id for record in records] == ["mine", "mine"]
    assert {record.error.code if record.error else None for record in records} == {None, "unknown_endpoint"}


async def test_a_claim_check_is_fetched(harness: Harness) -> None:
    await harness.make_job(total=2)
    key = keys.body(TENANT, JOB, 0)
    body = {"model": "fake", "messages": [{"role": "user", "content": "long"}]}
    await harness.storage.put(key, json.dumps(body).encode())
    async with running(harness):
        for index, ref in enumerate((key, keys.body(TENANT, JOB, 99))):
            checked = Envelope(
                tenant=TENANT, job=JOB, index=index, custom_id=f"c{index}", url=Endpoint.CHAT, body_ref=ref
            )
            harness.queue.send(codec.encode(checked))
        await until(harness.summary)
    outcomes = {record.backburner.index: record.ok for record in await harness.records()}
    assert outcomes == {0: True, 1: False}


STORED = b'{"model": "fake", "messages": [{"role": "user", "content": "hi"}], "stop": %b}'


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (STORED % b"[]", None),
        (STORED % b"1e999", "invalid_json"),
        (STORED % b"NaN", "invalid_json"),
        (STORED % (b"[" + b"{}," * MAX_CONTAINERS + b"{}]"), "body_too_complex"),
        (STORED % (b'"' + b"x" * 300_000 + b'"'), "body_too_large"),
        (b'{"model": "fake", "stream": true, "messages": []}', "invalid_request"),
        (b"[]", "invalid_json"),
    ],
)
async def test_a_stored_body_is_held_to_what_one_on_the_queue_is(
    storage: Storage, data: bytes, code: str | None
) -> None:
    harness = Harness(storage, max_body_bytes=260_000)
    await harness.make_job(total=1)
    await harness.storage.put(keys.body(TENANT, JOB, 0), data)
    async with running(harness):
        harness.send(0, body=None, body_ref=keys.body(TENANT, JOB, 0))
        await until(harness.summary)
    assert await harness.codes() == {0: code}


@pytest.mark.parametrize("broken", ["job.json", "sealed.json"])
@pytest.mark.parametrize("data", [b"not json", b"{}", b'{"total": 9223372036854775808, "sha256": "", "sealed_at": 0}'])
async def test_a_jobs_broken_objects_end_in_dead_letters_and_the_worker_goes_on(
    harness: Harness, broken: str, data: bytes
) -> None:
    await harness.make_job(total=1)
    await harness.storage.put(keys.job(TENANT, JOB) + broken, data)
    async with running(harness):
        harness.send(0)
        harness.send(0, job="single-x", answer=AnswerMode.OBJECT)
        await until(lambda: harness.storage.get(keys.answer(TENANT, "single-x", "c0")))
        await until(lambda: harness.queue.unsettled == 0)
    assert await harness.storage.get(keys.unaddressed_letter("fake.normal", "0-0")) is not None


@pytest.mark.parametrize("asked", [False, True])
async def test_a_prompt_is_in_the_log_only_if_that_was_asked_for(
    storage: Storage, caplog: pytest.LogCaptureFixture, asked: bool
) -> None:
    caplog.set_level("DEBUG")
    harness = Harness(storage, CountingEngine(), log_prompts=asked)
    async with running(harness):
        for number, prompt in enumerate(("a very private thing", "[[fail]] private", "[[retry]] private")):
            harness.send(0, prompt, job=f"single-{number}")
        await until(lambda: harness.queue.unsettled == 0)
    assert ("private" in caplog.text) is asked


async def test_tenants_share_no_prefix_cache(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    salts: dict[str, str] = {}
    run = CountingEngine.run

    async def noting(self: CountingEngine, request: EngineRequest) -> EngineResponse:
        salts[str(request.body["messages"][0]["content"])] = request.cache_salt
        return await run(self, request)

    monkeypatch.setattr(CountingEngine, "run", noting)
    async with running(harness):
        for number, tenant in enumerate(("one", "one", "two")):
            message = Envelope(
                tenant=tenant,
                job=f"single-{number}",
                index=0,
                custom_id="c",
                url=Endpoint.CHAT,
                body={"model": "fake", "messages": [{"role": "user", "content": str(number)}]},
            )
            harness.queue.send(codec.encode(message))
        await until(lambda: harness.queue.unsettled == 0)
    assert salts["0"] == salts["1"] != salts["2"]
    assert all(salts.values())
