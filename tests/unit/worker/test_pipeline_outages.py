"""The pipeline on a queue in memory: what waits while the store or the queue is away."""

import asyncio
from typing import Any

import pytest
from pipeline_harness import BOUND, JOB, TENANT, Harness, running, settings
from waiting import until

from backburner.runtime.failure import reasons
from backburner.storage import Storage, Stored
from backburner.storage.errors import ImpossibleKey
from backburner_schemas import keys
from backburner_schemas.envelope import AnswerMode, DeliveryFacts, Envelope
from backburner_schemas.errors import StoreDenied, StoreError, StoreFull


async def test_nothing_is_settled_before_it_is_stored(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    away = True
    put = Storage.put

    async def put_or_fail(self: Storage, key: str, data: bytes) -> None:
        if away and "/segments/" in key:
            raise StoreError
        await put(self, key, data)

    monkeypatch.setattr(Storage, "put", put_or_fail)
    await harness.make_job(total=5)
    async with running(harness):
        for index in range(5):
            harness.send(index)
        await until(lambda: len(harness.source.held()) == 5 and harness.engine.answered == 5)
        assert harness.queue.settled == []
        away = False
        await until(lambda: len(harness.queue.settled) == 5)


@pytest.mark.parametrize(("bound", "most"), [("_MAX_WAITING_OUTCOMES", 10), ("_MAX_WAITING_BYTES", 5_000)])
async def test_an_outage_is_back_pressure_for_single_requests_too(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    away = True
    create = Storage.create

    async def create_or_fail(self: Storage, key: str, data: bytes) -> bool:
        if away and "/answers/" in key:
            raise StoreError
        return await create(self, key, data)

    monkeypatch.setattr(Storage, "create", create_or_fail)
    monkeypatch.setattr(f"backburner_worker.settlement.results.{bound}", most)
    harness.settings = settings(concurrency=5)
    async with running(harness):
        for number in range(100):
            harness.send(0, job=f"single-{number}", answer=AnswerMode.OBJECT)
        pipeline = harness.pipeline
        await until(lambda: not pipeline._settler.has_room and harness.in_engine == 0)
        answered = harness.engine.answered
        for _ in range(100):
            await asyncio.sleep(0)
        assert harness.engine.answered == answered < 100
        away = False
        await until(lambda: harness.queue.unsettled == 0)


async def test_one_tenants_trouble_does_not_keep_anothers_job_from_ending(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Storage.get

    async def get_or_fail(self: Storage, key: str, **limits: int) -> Stored | None:
        if key.startswith("tenants/alpha/"):
            raise StoreError
        return await get(self, key, **limits)

    monkeypatch.setattr(Storage, "get", get_or_fail)
    await harness.storage.put(keys.open_job("alpha", "batch_a"), b"")
    await harness.make_job(total=0)
    async with running(harness):
        await until(harness.summary)


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, part: str, error: StoreError) -> None:
    """Have the store refuse that method for keys with that part."""
    original = getattr(Storage, method)

    async def refused(self: Storage, key: str, *arguments: Any, **limits: Any) -> Any:
        if part in key:
            raise error
        return await original(self, key, *arguments, **limits)

    monkeypatch.setattr(Storage, method, refused)


REFUSALS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a segment": ("put", "/segments/", {}),
    "an answer": ("create", "/answers/", {"job": "single-x", "answer": AnswerMode.OBJECT}),
    "a letter": ("put", "/dead/", {"facts": DeliveryFacts(attempt=5), "prompt": "[[busy]]"}),
    "a suspect's mark": ("create", keys.SUSPECTS, {"facts": DeliveryFacts(suspect=True)}),
    "a body": ("head", "/bodies/", {"body": None, "body_ref": keys.body(TENANT, JOB, 0)}),
    "a job": ("get", "job.json", {}),
}


@pytest.mark.parametrize("error", [StoreDenied, StoreFull])
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_whatever_the_store_refuses_the_worker_ends_and_settles_nothing(
    harness: Harness,
    monkeypatch: pytest.MonkeyPatch,
    refusal: tuple[str, str, dict[str, Any]],
    error: type[StoreError],
) -> None:
    method, part, message = refusal
    await harness.make_job(total=1)
    refuse(monkeypatch, method, part, error())
    async with running(harness, fails=True) as task:
        harness.send(0, **message)
        await asyncio.wait([task], timeout=BOUND)
    told = task.exception()
    assert told is not None
    assert [type(reason) for reason in reasons(told)] == [error]
    assert harness.queue.settled == []
    assert harness.queue.unsettled == 1


async def test_a_body_that_no_store_can_have_is_its_own_requests_trouble(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.make_job(total=2)
    refuse(monkeypatch, "head", "/bodies/", ImpossibleKey())
    async with running(harness):
        harness.send(0, body=None, body_ref=keys.body(TENANT, JOB, 0))
        harness.send(1)
        await until(harness.summary)
    assert await harness.codes() == {0: ImpossibleKey.code, 1: None}


async def test_a_segment_that_is_refused_is_told_once_and_not_for_each_of_its_records(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await harness.make_job(total=200)
    refuse(monkeypatch, "put", "/segments/", StoreFull())
    async with running(harness, fails=True) as task:
        for index in range(200):
            harness.send(index)
        await asyncio.wait([task], timeout=BOUND)
    told = task.exception()
    assert told is not None
    assert len(reasons(told)) == 1


async def test_a_delivery_that_waits_for_the_store_holds_no_text_and_keeps_its_address(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, away = Storage.put, asyncio.Event()

    async def put_later(self: Storage, key: str, data: bytes) -> None:
        if "/segments/" in key:
            await away.wait()
        await put(self, key, data)

    monkeypatch.setattr(Storage, "put", put_later)
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0)
        await until(lambda: harness.metric("deliveries_in_flight", stage="storing") == 1)
        (delivery,) = harness.source.held()
        assert delivery.raw == b""
        assert not isinstance(delivery.message, Envelope)
        assert delivery.job == (TENANT, JOB)
        away.set()
        await until(harness.summary)
