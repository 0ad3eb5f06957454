"""The pipeline on a queue in memory: what a cancel and a deadline end, and when."""

import asyncio
import json

import pytest
from pipeline_harness import BOUND, JOB, TENANT, CountingEngine, Harness, running
from waiting import until

from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.codec import Origin
from backburner_schemas.envelope import AnswerMode, DeliveryFacts
from backburner_schemas.names import Lane
from backburner_worker.engine.base import EngineRequest, EngineResponse
from backburner_worker.generation.running_request import Abort, RunningRequest
from backburner_worker.policy import Run
from backburner_worker.scheduling.work import Work
from backburner_worker.sources.base import Delivery


async def test_a_cancelled_job_is_not_run_and_ends_cancelled(harness: Harness) -> None:
    await harness.make_job(total=3)
    await harness.storage.put(keys.cancelled(TENANT, JOB), b"")
    async with running(harness):
        await until(lambda: harness.worker.parts.jobs.facts((TENANT, JOB)).cancelled)
        for index in range(3):
            harness.send(index)
        await until(harness.summary)
    summary = await harness.summary()
    assert summary is not None
    assert summary.state == "cancelled"
    assert harness.engine.answered == 0


async def test_an_expired_request_is_not_run_and_its_job_ends_expired(harness: Harness) -> None:
    await harness.make_job(total=1, deadline=1.0)
    async with running(harness):
        harness.send(0)
        await until(harness.summary)
    summary = await harness.summary()
    assert summary is not None
    assert summary.state == "expired"
    assert harness.engine.answered == 0


async def test_what_is_done_of_a_job_is_stored_when_the_job_is_cancelled(storage: Storage) -> None:
    harness = Harness(storage, CountingEngine(), segment_min_age_seconds=60.0, segment_max_age_seconds=60.0)
    await harness.make_job(total=2)
    async with running(harness):
        harness.send(0)
        harness.send(1, "[[slow:3600]]")
        await until(lambda: harness.engine.answered == 1)
        assert await harness.records() == []
        await harness.storage.put(keys.cancelled(TENANT, JOB), b"")
        await until(harness.summary)
    assert await harness.codes() == {0: None, 1: "cancelled"}


async def test_what_is_cancelled_while_it_waits_for_room_never_reaches_the_engine(storage: Storage) -> None:
    harness = Harness(storage, CountingEngine(latency=3600, kv_tokens=100))
    await harness.make_job()
    async with running(harness):
        large = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000}
        # Each counts as half of the tokens that there are.
        harness.send(0, job="single-first", body=large)
        harness.send(0, job="single-second", body=large)
        await until(lambda: harness.in_engine == 2)
        first, second = harness.source.held()
        harness.send(0, body=large)
        await until(lambda: len(harness.source.held()) == 3)
        await harness.storage.put(keys.cancelled(TENANT, JOB), b"")
        await until(lambda: harness.pipeline._jobs.facts((TENANT, JOB)).cancelled)
        first.lease.lose()
        second.lease.lose()
        await until(harness.records)
    assert harness.engine.answered == 0
    [record] = await harness.records()
    assert record.error is not None
    assert record.error.code == "cancelled"


async def test_running_generations_of_a_cancelled_job_are_aborted_and_end_with_records(storage: Storage) -> None:
    harness = Harness(storage, concurrency=3)
    await harness.make_job(total=5)
    async with running(harness):
        for index in range(5):
            harness.send(index, "[[hang]]")
        await until(lambda: harness.in_engine == 3 and len(harness.source.held()) == 5)
        await storage.put(keys.cancelled(TENANT, JOB), b"")
        await until(harness.summary)
        await until(lambda: harness.queue.unsettled == 0)
        assert harness.in_engine == 0
        assert harness.engine._running == set()
    summary = await harness.summary()
    assert summary is not None
    assert summary.state == "cancelled"
    assert await harness.codes() == dict.fromkeys(range(5), "cancelled")
    assert harness.queue.published == []
    assert await harness.letter() is None


async def test_held_work_of_a_cancelled_job_does_not_wait_for_the_engine(storage: Storage) -> None:
    harness = Harness(storage, concurrency=1)
    await harness.make_job(total=5)
    async with running(harness):
        harness.send(0, "[[slow:3600]]", job="single-other")
        await until(lambda: harness.in_engine == 1)
        for index in range(5):
            harness.send(index)
        await until(lambda: len(harness.source.held()) == 6)
        await storage.put(keys.cancelled(TENANT, JOB), b"")
        await until(harness.summary)
        assert harness.in_engine == 1
        harness.source.held()[0].lease.lose()
    assert await harness.codes() == dict.fromkeys(range(5), "cancelled")


async def test_the_room_of_a_cancelled_generation_goes_to_others(storage: Storage) -> None:
    harness = Harness(storage, concurrency=1)
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0, "[[hang]]")
        await until(lambda: harness.in_engine == 1)
        harness.send(0, job="single-other")
        await storage.put(keys.cancelled(TENANT, JOB), b"")
        await until(lambda: harness.engine.answered == 1)
        await until(lambda: harness.queue.unsettled == 0)


async def test_a_job_that_was_frozen_before_it_was_cancelled_stays_as_it_is(storage: Storage) -> None:
    harness = Harness(storage, concurrency=1)
    await harness.make_job()
    async with running(harness):
        for index in range(3):
            harness.send(index, "[[hang]]")
        await until(lambda: harness.in_engine == 1 and len(harness.source.held()) == 3)
        harness.worker.parts.jobs.note_frozen((TENANT, JOB))
        await storage.put(keys.cancelled(TENANT, JOB), b"")
        await until(lambda: harness.queue.unsettled == 0)
    assert await harness.records() == []


async def test_what_needs_no_engine_does_not_wait_for_one(storage: Storage) -> None:
    harness = Harness(storage, concurrency=1)
    await harness.make_job()
    await storage.put(keys.cancelled(TENANT, "single-cancelled"), b"")
    async with running(harness):
        harness.send(0, "[[slow:3600]]", job="single-slow")
        await until(lambda: harness.in_engine == 1)
        harness.send(0, job="single-held")
        await until(lambda: len(harness.source.held()) == 2)
        await until(lambda: harness.worker.parts.jobs.facts((TENANT, "single-cancelled")).cancelled)
        harness.send(0, job="single-cancelled")
        harness.send(0, job="single-expired", deadline=1.0)
        refused = {"v": 1, "tenant": TENANT, "job": "single-refused", "index": 0, "url": "/v1/nowhere", "body": {}}
        harness.queue.send(json.dumps(refused).encode())
        harness.queue.send(b"junk")
        await until(lambda: len(harness.queue.settled) == 4)
        assert harness.in_engine == 1
        assert len(harness.pipeline._admitter._feeder) == 1
        harness.source.held()[0].lease.lose()
        await until(lambda: harness.engine.answered == 1)
    assert await harness.codes("single-cancelled") == {0: "cancelled"}
    assert await harness.codes("single-expired") == {0: "expired"}
    assert await harness.codes("single-refused") == {0: "invalid_request"}


async def test_what_expires_while_it_is_held_is_never_sent_to_the_engine(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(storage, concurrency=1)
    async with running(harness):
        harness.send(0, "[[slow:3600]]", job="single-slow")
        await until(lambda: harness.in_engine == 1)
        now = harness.queue.now()
        harness.send(0, job="single-expired", deadline=now + 3600)
        await until(lambda: len(harness.pipeline._admitter._feeder) == 1)
        monkeypatch.setattr("time.time", lambda: now + 7200)
        harness.source.held()[0].lease.lose()
        await until(lambda: len(harness.queue.settled) == 1)
    assert harness.engine.answered == 0
    assert await harness.codes("single-expired") == {0: "expired"}


async def test_what_expires_while_its_start_has_to_be_told_is_never_sent_to_the_engine(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue, or a suspect's store, can be away for longer than a request has."""
    async with running(harness):
        now = harness.queue.now()

        async def begin_late(_delivery: Delivery) -> None:
            monkeypatch.setattr("time.time", lambda: now + 7200)

        monkeypatch.setattr(harness.source, "begin", begin_late)
        harness.send(0, job="single-expired", deadline=now + 3600, facts=DeliveryFacts(suspect=True))
        await until(lambda: len(harness.queue.settled) == 1)
    assert harness.engine.answered == 0
    assert await harness.codes("single-expired") == {0: "expired"}
    assert await harness.marks() == []


def running_request(harness: Harness) -> RunningRequest:
    envelope = harness.envelope(0)
    delivery = Delivery(envelope, b"", Origin("q", "0-0", 0.0), Lane.NORMAL, DeliveryFacts(), token=None)
    return RunningRequest(Work(delivery, Run(envelope, AnswerMode.SEGMENT), tokens=1))


@pytest.mark.parametrize("before_its_first_step", [True, False])
async def test_an_abort_is_told_apart_from_the_end_of_the_task(harness: Harness, before_its_first_step: bool) -> None:
    one, began, why = running_request(harness), asyncio.Event(), []

    async def run() -> str:
        try:
            one.begin(asyncio.current_task())
            began.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            why.append(one.why())
        # The cancellation is over: what comes now is not broken off.
        await asyncio.sleep(0)
        return "stored"

    task = asyncio.create_task(run())
    if not before_its_first_step:
        await began.wait()
    one.abort(Abort.CANCELLED)
    one.abort(Abort.DRAIN)
    assert await task == "stored"
    assert why == [Abort.CANCELLED]
    assert task.cancelling() == 0


@pytest.mark.parametrize("aborted", [True, False])
async def test_the_end_of_the_task_is_not_taken_for_an_abort(harness: Harness, aborted: bool) -> None:
    one, began = running_request(harness), asyncio.Event()

    async def run() -> None:
        try:
            one.begin(asyncio.current_task())
            began.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            one.why()

    task = asyncio.create_task(run())
    await began.wait()
    if aborted:
        one.abort(Abort.LEASE_LOST)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_engine_that_lets_requests_wait_is_told_until_when(harness: Harness) -> None:
    seen = []
    run = harness.engine.run

    async def note(request: EngineRequest) -> EngineResponse:
        seen.append(request.deadline)
        return await run(request)

    harness.engine.run = note  # type: ignore[method-assign]
    until_when = asyncio.get_running_loop().time() + 3600
    async with running(harness):
        harness.send(0, job="single-a", deadline=harness.queue.now() + 3600)
        harness.send(0, job="single-b")
        await until(lambda: len(seen) == 2)
    # By the event loop's clock.
    assert seen == [pytest.approx(until_when, abs=BOUND), None]
