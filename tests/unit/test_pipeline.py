"""The pipeline on a source in memory, the fake engine and a store in memory: what each delivery ends as."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from backburner.storage import Storage, Stored
from backburner_schemas import codec, keys
from backburner_schemas.envelope import AnswerMode, Envelope
from backburner_schemas.errors import EngineLost, StoreError
from backburner_schemas.job import JobManifest, Sealed, Summary
from backburner_schemas.names import Lane
from backburner_schemas.request import Endpoint
from backburner_schemas.result import ResultRecord
from backburner_worker.app import Worker
from backburner_worker.engine.base import EngineRequest, EngineResponse
from backburner_worker.engine.fake import FakeEngine
from backburner_worker.jobs import JobBook
from backburner_worker.settings import WorkerSettings
from backburner_worker.sources.fake import FakeQueue
from backburner_worker.telemetry import Telemetry

TENANT, JOB = "default", "batch_x"


def settings(**changes: Any) -> WorkerSettings:
    given = {
        "store_url": "memory:///r",
        "queue_url": "kafka://127.0.0.1:9",
        "engine": "fake",
        "marker_seconds": 0.05,
        "segment_max_age_seconds": 1.0,
        "drain_seconds": 5.0,
        **changes,
    }
    return WorkerSettings(**given)


class CountingEngine(FakeEngine):
    """The fake engine, which tells how many requests it answered."""

    answered = 0

    async def run(self, request: EngineRequest) -> EngineResponse:
        response = await super().run(request)
        self.answered += 1
        return response


class Bench:
    """A worker whose source, engine and store are at hand."""

    def __init__(self, storage: Storage, engine: CountingEngine, **changes: Any) -> None:
        self.settings = settings(**changes)
        self.storage = storage
        self.engine = engine
        self.queue = FakeQueue()
        self.source = self.queue.source()
        self.elsewhere = self.queue.source()

    async def build(self) -> None:
        info = await self.engine.start()
        self.worker = Worker(
            self.settings,
            storage=self.storage,
            telemetry=Telemetry(CollectorRegistry()),
            engine=self.engine,
            info=info,
            source=self.source,
        )

    def send(self, index: int | str, prompt: str = "hi", job: str = JOB, lane: Lane = Lane.NORMAL, **more: Any) -> None:
        body = more.pop("body", {"model": "fake", "messages": [{"role": "user", "content": prompt}]})
        message = Envelope(
            tenant=TENANT, job=job, index=index, custom_id=f"c{index}", url=Endpoint.CHAT, body=body, **more
        )
        self.queue.send(codec.encode(message), lane)

    async def make_job(self, total: int | None = None, deadline: float = 4e9) -> None:
        manifest = JobManifest(id=JOB, tenant=TENANT, created_at=0, deadline=deadline)
        await self.storage.put(keys.open_job(TENANT, JOB), b"")
        await self.storage.put(keys.manifest(TENANT, JOB), manifest.model_dump_json().encode())
        if total is not None:
            sealed = Sealed(total=total, sha256="", sealed_at=0)
            await self.storage.put(keys.sealed(TENANT, JOB), sealed.model_dump_json().encode())

    async def records(self, job: str = JOB) -> list[ResultRecord]:
        found = []
        async for listed in self.storage.scan(keys.segments(TENANT, job)):
            stored = await self.storage.get(listed.key)
            assert stored is not None
            found += [ResultRecord.model_validate_json(line) for line in stored.data.splitlines()]
        return found

    async def summary(self) -> Summary | None:
        stored = await self.storage.get(keys.summary(TENANT, JOB))
        return Summary.model_validate_json(stored.data) if stored else None


async def until(true: Callable[[], Awaitable[object] | object]) -> None:
    async with asyncio.timeout(20):
        while True:
            found = true()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[asyncio.Task[None]]:
    await bench.build()
    joined = asyncio.Event()
    task = asyncio.create_task(bench.worker.run(on_joined=joined.set))
    await joined.wait()
    yield task
    bench.worker.pipeline.stop()
    await asyncio.wait([task], timeout=20)
    assert task.done()


@pytest.fixture
def storage() -> Storage:
    return Storage.open(settings())


@pytest.fixture
def bench(storage: Storage) -> Bench:
    return Bench(storage, CountingEngine())


async def test_every_request_of_a_sealed_job_gets_one_record_and_the_job_ends(bench: Bench) -> None:
    await bench.make_job(total=20)
    async with running(bench):
        for index in range(20):
            bench.send(index)
        await until(bench.summary)
    summary = await bench.summary()
    assert summary is not None
    assert (summary.state, summary.counts.completed, summary.counts.failed) == ("completed", 20, 0)
    assert sorted(record.backburner.index for record in await bench.records()) == list(range(20))
    assert bench.queue.unsettled == 0
    assert await bench.storage.modified(keys.open_job(TENANT, JOB)) is None


async def test_nothing_is_settled_before_it_is_stored(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    away = True
    put = Storage.put

    async def put_or_fail(self: Storage, key: str, data: bytes) -> None:
        if away and "/segments/" in key:
            raise StoreError
        await put(self, key, data)

    monkeypatch.setattr(Storage, "put", put_or_fail)
    await bench.make_job(total=5)
    async with running(bench):
        for index in range(5):
            bench.send(index)
        await until(lambda: len(bench.source.held()) == 5 and bench.engine.answered == 5)
        assert bench.queue.settled == []
        away = False
        await until(lambda: len(bench.queue.settled) == 5)


async def test_a_bad_request_is_one_error_record_and_the_rest_go_on(bench: Bench) -> None:
    await bench.make_job(total=4)
    async with running(bench):
        bench.send(0, body={"model": "fake", "messages": [{"role": "user", "content": "x"}], "cache_salt": "s"})
        bench.send(1, body={"model": "other", "messages": [{"role": "user", "content": "x"}]})
        bench.send(2, "[[fail]]")
        bench.send(3)
        await until(bench.summary)
    codes = {record.backburner.index: record.error.code if record.error else None for record in await bench.records()}
    assert codes == {0: "unsupported_parameter", 1: "model_not_found", 2: "invalid_request", 3: None}


async def test_what_a_retry_could_mend_ends_as_dead_letter_and_error_record(bench: Bench) -> None:
    await bench.make_job(total=1)
    async with running(bench):
        bench.send(0, "[[retry]]")
        await until(bench.summary)
    letter = await bench.storage.get(keys.dead_letter(TENANT, JOB, 0))
    assert letter is not None
    assert json.loads(letter.data)["envelope"]["custom_id"] == "c0"
    [record] = await bench.records()
    assert record.error is not None
    assert record.error.code == json.loads(letter.data)["code"]


@pytest.mark.parametrize("junk", [None, b"", b"\xff", b"[]", b'{"v":1}', b'{"v":99,"tenant":"t"}'])
async def test_junk_becomes_a_dead_letter_and_the_worker_goes_on(bench: Bench, junk: bytes | None) -> None:
    await bench.make_job(total=1)
    async with running(bench):
        bench.queue.send(junk)
        bench.send(0)
        await until(bench.summary)
        await until(lambda: bench.queue.unsettled == 0)
    assert await bench.storage.get(keys.unaddressed_letter("fake.normal", "0-0")) is not None


async def test_a_plain_line_is_answered_in_its_stream(bench: Bench) -> None:
    line = {"custom_id": "mine", "method": "POST", "url": "/v1/chat/completions"}
    body = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
    async with running(bench):
        bench.queue.send(json.dumps({**line, "body": body}).encode())
        bench.queue.send(json.dumps({**line, "url": "/v1/nowhere", "body": body}).encode())
        await until(lambda: bench.queue.unsettled == 0)
    [stream] = await bench.storage.folders(keys.jobs(TENANT))
    assert stream.startswith("stream-fake.normal-")
    records = await bench.records(stream)
    assert [record.custom_id for record in records] == ["mine", "mine"]
    assert {record.error.code if record.error else None for record in records} == {None, "unknown_endpoint"}


async def test_a_single_request_is_answered_in_its_own_object(bench: Bench) -> None:
    job = keys.new_single_job_id()
    async with running(bench):
        bench.send(0, job=job, answer=AnswerMode.OBJECT)
        await until(lambda: bench.storage.get(keys.answer(TENANT, job, "c0")))
    assert await bench.records(job) == []


async def test_an_answer_object_of_another_index_is_left_alone(bench: Bench) -> None:
    async with running(bench):
        for index in (0, 1):
            message = Envelope(
                tenant=TENANT,
                job="single-a",
                index=index,
                custom_id="same",
                url=Endpoint.CHAT,
                body={"model": "fake", "messages": [{"role": "user", "content": str(index)}]},
                answer=AnswerMode.OBJECT,
            )
            bench.queue.send(codec.encode(message))
            await until(lambda: bench.queue.unsettled == 0)
    stored = await bench.storage.get(keys.answer(TENANT, "single-a", "same"))
    assert stored is not None
    assert ResultRecord.model_validate_json(stored.data).backburner.index == 0
    assert [record.backburner.index for record in await bench.records("single-a")] == [1]


async def test_a_response_replaces_an_error_of_its_index(bench: Bench) -> None:
    async with running(bench):
        bench.send(0, "[[fail]]", job="single-a", answer=AnswerMode.OBJECT)
        await until(lambda: bench.queue.unsettled == 0)
        bench.send(0, "hi", job="single-a", answer=AnswerMode.OBJECT)
        await until(lambda: bench.queue.unsettled == 0)
        bench.send(0, "[[fail]]", job="single-a", answer=AnswerMode.OBJECT)
        await until(lambda: bench.queue.unsettled == 0)
    stored = await bench.storage.get(keys.answer(TENANT, "single-a", "c0"))
    assert stored is not None
    assert ResultRecord.model_validate_json(stored.data).ok


async def test_a_cancelled_job_is_not_run_and_ends_cancelled(bench: Bench) -> None:
    await bench.make_job(total=3)
    await bench.storage.put(keys.cancelled(TENANT, JOB), b"")
    async with running(bench):
        await until(lambda: bench.worker._jobs.facts((TENANT, JOB)).cancelled)
        for index in range(3):
            bench.send(index)
        await until(bench.summary)
    summary = await bench.summary()
    assert summary is not None
    assert summary.state == "cancelled"
    assert bench.engine.answered == 0


async def test_an_expired_request_is_not_run_and_its_job_ends_expired(bench: Bench) -> None:
    await bench.make_job(total=1, deadline=1.0)
    async with running(bench):
        bench.send(0)
        await until(bench.summary)
    summary = await bench.summary()
    assert summary is not None
    assert summary.state == "expired"
    assert bench.engine.answered == 0


async def test_a_claim_check_is_fetched(bench: Bench) -> None:
    await bench.make_job(total=2)
    key = keys.body(TENANT, JOB, 0)
    body = {"model": "fake", "messages": [{"role": "user", "content": "long"}]}
    await bench.storage.put(key, json.dumps(body).encode())
    async with running(bench):
        for index, ref in enumerate((key, keys.body(TENANT, JOB, 99))):
            checked = Envelope(
                tenant=TENANT, job=JOB, index=index, custom_id=f"c{index}", url=Endpoint.CHAT, body_ref=ref
            )
            bench.queue.send(codec.encode(checked))
        await until(bench.summary)
    outcomes = {record.backburner.index: record.ok for record in await bench.records()}
    assert outcomes == {0: True, 1: False}


async def test_a_lost_engine_stores_what_is_finished_and_leaves_the_rest(bench: Bench) -> None:
    await bench.make_job(total=10)
    async with running(bench) as task:
        for index in range(5):
            bench.send(index)
        await until(lambda: bench.engine.answered == 5)
        bench.send(5, "[[die]]")
        await asyncio.wait([task], timeout=20)
    with pytest.raises(ExceptionGroup) as caught:
        await task
    assert caught.group_contains(EngineLost)
    assert sorted(record.backburner.index for record in await bench.records()) == [0, 1, 2, 3, 4]
    assert len(bench.queue.settled) == 5


async def test_a_drain_finishes_what_runs_and_gives_back_what_waits(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=0.2), concurrency=2)
    await bench.make_job(total=10)
    async with running(bench) as task:
        for index in range(10):
            bench.send(index)
        await until(lambda: len(bench.source.held()) == 10)
        bench.worker.pipeline.stop()
        await asyncio.wait([task], timeout=20)
    assert task.exception() is None
    records = await bench.records()
    assert 1 <= len(records) < 10
    assert len(bench.queue.settled) == len(records)


async def test_a_revoked_delivery_is_stored_before_it_goes(bench: Bench) -> None:
    await bench.make_job()  # not sealed: its records would wait for their age
    async with running(bench):
        bench.send(0)
        await until(lambda: bench.engine.answered == 1)
        [delivery] = bench.source.held()
        await bench.source.revoke(delivery, bench.elsewhere)
        assert bench.queue.settled == [delivery]
        assert len(await bench.records()) == 1


async def test_a_lost_lease_aborts_its_generation(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=3600))
    await bench.make_job()
    async with running(bench):
        bench.send(0)
        await until(lambda: bench.worker.pipeline._admission.in_flight == 1)
        [delivery] = bench.source.held()
        await bench.source.revoke(delivery, bench.elsewhere)
        await until(lambda: bench.worker.pipeline._admission.in_flight == 0)
    assert await bench.records() == []


async def test_a_redelivery_gives_one_counted_record(bench: Bench) -> None:
    await bench.make_job(total=2)
    async with running(bench):
        bench.send(0)
        bench.send(0)
        bench.send(1)
        await until(bench.summary)
    summary = await bench.summary()
    assert summary is not None
    assert summary.counts.completed == 2


async def test_a_lease_lost_while_waiting_for_room_gives_the_room_to_others(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=3600), concurrency=1)
    async with running(bench):
        bench.send(0)
        await until(lambda: bench.worker.pipeline._admission.in_flight == 1)
        bench.send(1)
        await until(lambda: len(bench.source.held()) == 2)
        first, second = bench.source.held()
        await bench.source.revoke(second, bench.elsewhere)
        await bench.source.revoke(first, bench.elsewhere)
        await until(lambda: bench.worker.pipeline._admission.in_flight == 0)
        bench.engine._latency = 0.0
        bench.send(2)
        await until(lambda: bench.engine.answered == 1)


async def test_leases_lost_before_their_tasks_run_leave_nothing_behind(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=3600))
    await bench.make_job()
    async with running(bench):
        for index in range(5):
            bench.send(index)
        await until(lambda: len(bench.worker.pipeline._generating) == 5)
        for delivery in bench.source.held():
            delivery.lease.lose()
        await until(lambda: bench.worker.pipeline._admission.in_flight == 0)
        assert not bench.worker.pipeline._segments._held


async def test_a_lost_delivery_in_the_window_does_not_hold_its_job(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=3600), concurrency=1)
    await bench.make_job(total=1)
    async with running(bench):
        bench.send(0)
        bench.send(0)
        await until(lambda: len(bench.source.held()) == 2)
        waiting = bench.source.held()[1]
        await bench.source.revoke(waiting, bench.elsewhere)
        await bench.source.revoke(bench.source.held()[0], bench.elsewhere)
        bench.engine._latency = 0.0
        bench.send(0)
        await until(bench.summary)


async def test_an_outage_is_back_pressure_for_single_requests_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = True
    create = Storage.create

    async def create_or_fail(self: Storage, key: str, data: bytes) -> bool:
        if away and "/answers/" in key:
            raise StoreError
        return await create(self, key, data)

    monkeypatch.setattr(Storage, "create", create_or_fail)
    monkeypatch.setattr("backburner_worker.results.results._WAITING_OUTCOMES", 10)
    bench.settings = settings(concurrency=5)
    async with running(bench):
        for number in range(100):
            bench.send(0, job=f"single-{number}", answer=AnswerMode.OBJECT)
        pipeline = bench.worker.pipeline
        await until(lambda: not pipeline._results.has_room and pipeline._admission.in_flight == 0)
        answered = bench.engine.answered
        for _ in range(100):
            await asyncio.sleep(0)
        assert bench.engine.answered == answered < 100
        away = False
        await until(lambda: bench.queue.unsettled == 0)


@pytest.mark.parametrize("broken", ["job.json", "sealed.json"])
@pytest.mark.parametrize("data", [b"not json", b"{}", b'{"total": 9223372036854775808, "sha256": "", "sealed_at": 0}'])
async def test_a_jobs_broken_objects_end_in_dead_letters_and_the_worker_goes_on(
    bench: Bench, broken: str, data: bytes
) -> None:
    await bench.make_job(total=1)
    await bench.storage.put(keys.job(TENANT, JOB) + broken, data)
    async with running(bench):
        bench.send(0)
        bench.send(0, job="single-x", answer=AnswerMode.OBJECT)
        await until(lambda: bench.storage.get(keys.answer(TENANT, "single-x", "c0")))
        await until(lambda: bench.queue.unsettled == 0)
    assert await bench.storage.get(keys.unaddressed_letter("fake.normal", "0-0")) is not None


async def test_a_refused_single_request_is_answered_where_its_sender_looks(bench: Bench) -> None:
    envelope = {
        "v": 1,
        "tenant": TENANT,
        "job": "single-x",
        "index": 0,
        "custom_id": "c0",
        "url": "/v1/nowhere",
        "answer": "object",
        "body": {"model": "fake"},
    }
    async with running(bench):
        bench.queue.send(json.dumps(envelope).encode())
        await until(lambda: bench.storage.get(keys.answer(TENANT, "single-x", "c0")))


async def test_an_answer_object_asked_for_inside_a_job_does_not_keep_the_job_from_ending(bench: Bench) -> None:
    await bench.make_job(total=1)
    async with running(bench):
        bench.send(0, answer=AnswerMode.OBJECT)
        await until(bench.summary)
    summary = await bench.summary()
    assert summary is not None
    assert summary.counts.completed == 1


async def test_a_record_that_follows_its_letter_is_stored_before_its_delivery_goes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    put = Storage.put

    async def put_slowly(self: Storage, key: str, data: bytes) -> None:
        if "/dead/" in key:
            reached.set()
            await go_on.wait()
        await put(self, key, data)

    monkeypatch.setattr(Storage, "put", put_slowly)
    bench.settings = settings(segment_min_age_seconds=60.0, segment_max_age_seconds=60.0)
    await bench.make_job()
    async with running(bench):
        bench.send(0, "[[retry]]")
        await reached.wait()
        [delivery] = bench.source.held()
        leaving = asyncio.create_task(bench.source.revoke(delivery, bench.elsewhere))
        await asyncio.sleep(0)
        go_on.set()
        async with asyncio.timeout(20):
            await leaving
        assert bench.queue.settled == [delivery]


async def test_one_tenants_trouble_does_not_keep_anothers_job_from_ending(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Storage.get

    async def get_or_fail(self: Storage, key: str) -> Stored | None:
        if key.startswith("tenants/alpha/"):
            raise StoreError
        return await get(self, key)

    monkeypatch.setattr(Storage, "get", get_or_fail)
    await bench.storage.put(keys.open_job("alpha", "batch_a"), b"")
    await bench.make_job(total=0)
    async with running(bench):
        await until(bench.summary)


async def test_a_worker_leaves_in_time_while_the_store_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_self: Storage, _key: str, _data: bytes) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("backburner_worker.pipeline._STORE_SECONDS", 0.1)
    monkeypatch.setattr("backburner_worker.sweep._CLOSE_SECONDS", 0.1)
    await bench.make_job(total=1)
    async with running(bench) as task:
        monkeypatch.setattr(Storage, "put", never)
        bench.send(0)
        await until(lambda: bench.engine.answered == 1)
        bench.worker.pipeline.stop()
        await asyncio.wait([task], timeout=20)
        assert task.done()
    assert bench.queue.settled == []


@pytest.mark.parametrize("asked", [False, True])
async def test_a_prompt_is_in_the_log_only_if_that_was_asked_for(
    storage: Storage, caplog: pytest.LogCaptureFixture, asked: bool
) -> None:
    caplog.set_level("DEBUG")
    bench = Bench(storage, CountingEngine(), log_prompts=asked)
    async with running(bench):
        for number, prompt in enumerate(("a very private thing", "[[fail]] private", "[[retry]] private")):
            bench.send(0, prompt, job=f"single-{number}")
        await until(lambda: bench.queue.unsettled == 0)
    assert ("private" in caplog.text) is asked


async def test_what_is_done_of_a_job_is_stored_when_the_job_is_cancelled(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(), segment_min_age_seconds=60.0, segment_max_age_seconds=60.0)
    await bench.make_job(total=2)
    async with running(bench):
        bench.send(0)
        bench.send(1, "[[slow:3600]]")
        await until(lambda: bench.engine.answered == 1)
        assert await bench.records() == []
        await bench.storage.put(keys.cancelled(TENANT, JOB), b"")
        await until(bench.records)
        for delivery in bench.source.held():
            delivery.lease.lose()


async def test_what_is_cancelled_while_it_waits_for_room_never_reaches_the_engine(storage: Storage) -> None:
    bench = Bench(storage, CountingEngine(latency=3600, kv_tokens=100))
    await bench.make_job()
    async with running(bench):
        large = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000}
        # Each counts as half of the tokens that there are.
        bench.send(0, job="single-first", body=large)
        bench.send(0, job="single-second", body=large)
        await until(lambda: bench.worker.pipeline._admission.in_flight == 2)
        first, second = bench.source.held()
        bench.send(0, body=large)
        await until(lambda: len(bench.source.held()) == 3)
        await bench.storage.put(keys.cancelled(TENANT, JOB), b"")
        await until(lambda: bench.worker.pipeline._jobs.facts((TENANT, JOB)).cancelled)
        first.lease.lose()
        second.lease.lose()
        await until(bench.records)
    assert bench.engine.answered == 0
    [record] = await bench.records()
    assert record.error is not None
    assert record.error.code == "cancelled"


async def test_a_later_error_does_not_replace_an_error(bench: Bench) -> None:
    async with running(bench):
        bench.send(0, "[[fail]]", job="single-a", answer=AnswerMode.OBJECT)
        await until(lambda: bench.queue.unsettled == 0)
        first = await bench.storage.get(keys.answer(TENANT, "single-a", "c0"))
        bench.send(0, "[[retry]]", job="single-a", answer=AnswerMode.OBJECT)
        await until(lambda: bench.queue.unsettled == 0)
    assert first is not None
    assert await bench.storage.get(keys.answer(TENANT, "single-a", "c0")) == first


async def test_tenants_share_no_prefix_cache(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    salts: dict[str, str] = {}
    run = CountingEngine.run

    async def noting(self: CountingEngine, request: EngineRequest) -> EngineResponse:
        salts[str(request.body["messages"][0]["content"])] = request.cache_salt
        return await run(self, request)

    monkeypatch.setattr(CountingEngine, "run", noting)
    async with running(bench):
        for number, tenant in enumerate(("one", "one", "two")):
            message = Envelope(
                tenant=tenant,
                job=f"single-{number}",
                index=0,
                custom_id="c",
                url=Endpoint.CHAT,
                body={"model": "fake", "messages": [{"role": "user", "content": str(number)}]},
            )
            bench.queue.send(codec.encode(message))
        await until(lambda: bench.queue.unsettled == 0)
    assert salts["0"] == salts["1"] != salts["2"]
    assert all(salts.values())


async def test_the_book_of_jobs_stays_small(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backburner_worker.jobs._REMEMBERED", 3)
    book = JobBook(storage, 1.0)
    for number in range(10):
        await book.learn([(TENANT, f"batch_{number}")])
    assert len(book._known) == 3
