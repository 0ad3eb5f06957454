"""The pipeline on a queue in memory: what failed and is tried again, and what is given up."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from pipeline_harness import JOB, TENANT, Harness, MoodyEngine, ended, running
from waiting import until

from backburner.publishers.base import Message
from backburner.storage import Storage
from backburner_schemas import codec, keys
from backburner_schemas.envelope import AnswerMode, DeliveryFacts, Envelope
from backburner_schemas.errors import StoreDenied
from backburner_schemas.names import Lane
from backburner_worker.sources.fake.source import FakePublisher, FakeQueue


async def test_what_fails_for_now_is_tried_again_and_answered(storage: Storage) -> None:
    harness = Harness(storage, MoodyEngine(refusals=2))
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0, facts=DeliveryFacts(traceparent="00-ab-cd-01"))
        await until(harness.summary)
        await until(lambda: harness.queue.unsettled == 0)
    [record] = await harness.records()
    assert record.ok
    assert record.backburner.attempt == 3
    assert [message.facts.attempt for message in harness.queue.published] == [2, 3]
    for message in harness.queue.published:
        assert (message.lane, message.pool) == (Lane.RETRY, "fake")
        assert message.facts.traceparent == "00-ab-cd-01"
        assert message.facts.not_before is not None
        assert not message.facts.suspect
    assert len(harness.queue.settled) == 3
    assert harness.metric("retries_total", code="engine_busy") == 2
    assert harness.metric("deliveries_settled_total", outcome="retried", code="engine_busy") == 2
    assert await harness.letter() is None


async def test_results_are_counted_by_group_and_release_and_say_where_earlier_attempts_failed(
    storage: Storage,
) -> None:
    harness = Harness(
        storage, MoodyEngine(refusals=3), max_attempts=3, worker_group="canary", worker_release="77d0e1a9c4"
    )
    await harness.make_job(total=3)
    async with running(harness):
        harness.send(0)
        await until(lambda: len(harness.queue.settled) == 3)
        harness.send(1, "[[fail]]")
        harness.send(2, lane=Lane.RETRY, facts=DeliveryFacts(attempt=2, failed_at=("stable/3f9a1c20be",)))
        await until(harness.summary)
        await until(lambda: harness.queue.unsettled == 0)
    labels = {"pool": "fake", "group": "canary", "release": "77d0e1a9c4"}
    counts = {
        outcome: harness.metric("results_total", outcome=outcome, **labels)
        for outcome in ("ok", "failed", "retried", "refused")
    }
    assert counts == {"ok": 1, "failed": 1, "retried": 2, "refused": 1}
    found = {record.backburner.index: record.backburner for record in await harness.records()}
    here = "canary/77d0e1a9c4"
    assert [found[index].failed_at for index in range(3)] == [(here, here), None, ("stable/3f9a1c20be",)]
    assert {facts.release for facts in found.values()} == {"77d0e1a9c4"}


async def test_a_cancellation_that_the_engine_lets_out_is_a_failure_like_others(storage: Storage) -> None:
    """Nobody cancelled the task: without a record or a retry its partition would wait for ever, in silence."""
    harness = Harness(storage, MoodyEngine(refusals=1, refusal=asyncio.CancelledError))
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0)
        await until(harness.summary)
        await until(lambda: harness.queue.unsettled == 0)
    assert await harness.codes() == {0: None}
    assert harness.metric("retries_total", code="generation_aborted") == 1


async def test_a_cancellation_that_the_queue_lets_out_has_the_retry_published_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, calls = FakePublisher.publish, 0

    async def break_off_once(self: FakePublisher, messages: Sequence[Message]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        await publish(self, messages)

    monkeypatch.setattr(FakePublisher, "publish", break_off_once)
    harness = Harness(storage, MoodyEngine(refusals=1))
    async with running(harness):
        harness.send(0, job="single-a")
        await until(lambda: harness.queue.unsettled == 0)
    assert calls == 2
    assert harness.engine.answered == 1


async def test_what_fails_at_every_attempt_ends_as_dead_letter_and_error_record(storage: Storage) -> None:
    harness = Harness(storage, max_attempts=3)
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0, "[[retry]]")
        await until(harness.summary)
        await until(lambda: harness.queue.unsettled == 0)
    letter = await harness.letter()
    assert letter is not None
    assert letter.envelope is not None
    assert (letter.envelope.custom_id, letter.attempts, letter.code) == ("c0", 3, "engine_error")
    assert "given up after 3 attempts" in letter.message
    [record] = await harness.records()
    assert record.error is not None
    assert (record.error.code, record.error.message) == (letter.code, letter.message)
    assert record.backburner.attempt == 3


async def test_a_retry_is_not_begun_before_it_is_due(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backburner_worker.generation.runner.random.random", lambda: 1.0)
    harness = Harness(storage, MoodyEngine(refusals=1), retry_base_seconds=60.0)
    async with running(harness):
        harness.send(0, job="single-a")
        await until(lambda: harness.queue.published and len(harness.queue.settled) == 1)
        assert harness.queue.delayed == 1
        assert harness.engine.answered == 0
        harness.queue.advance(61)
        await until(lambda: harness.engine.answered == 1)


async def test_a_retry_that_would_come_after_the_deadline_is_a_dead_letter_at_once(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner_worker.generation.runner.random.random", lambda: 1.0)
    harness = Harness(storage, retry_base_seconds=60.0)
    async with running(harness):
        harness.send(0, "[[retry]]", job="single-a", deadline=harness.queue.now() + 30)
        await until(lambda: harness.queue.unsettled == 0)
    letter = await harness.letter(job="single-a")
    assert letter is not None
    assert letter.attempts == 1
    assert "deadline" in letter.message
    assert harness.queue.published == []


async def test_a_plain_line_is_put_back_with_its_address(storage: Storage) -> None:
    harness = Harness(storage, MoodyEngine(refusals=1))
    body = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
    line = {"custom_id": "mine", "method": "POST", "url": "/v1/chat/completions", "body": body}
    async with running(harness):
        harness.queue.send(json.dumps(line).encode(), Lane.HIGH)
        await until(lambda: harness.engine.answered == 1 and harness.queue.unsettled == 0)
    [message] = harness.queue.published
    [first, second] = harness.queue.settled
    assert message.envelope.address == first.address == second.address
    assert first.address is not None
    records = await harness.records(first.address.job)
    assert [(record.custom_id, record.backburner.index) for record in records] == [("mine", first.address.index)]


async def test_a_large_request_is_put_back_as_a_claim_check(storage: Storage) -> None:
    harness = Harness(storage, MoodyEngine(refusals=1))
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0, "x" * 1_000_000)
        await until(harness.summary)
    [message] = harness.queue.published
    assert message.envelope.body is None
    assert message.envelope.body_ref == keys.body(TENANT, JOB, 0)
    assert await harness.codes() == {0: None}


async def test_a_retry_that_its_topic_does_not_take_is_put_back_as_a_claim_check(storage: Storage) -> None:
    """As on a topic of 1 MB that somebody else made, or where numbers are longer than they came."""
    harness = Harness(storage, MoodyEngine(refusals=1), queue=FakeQueue(max_bytes=2_000))
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0, "x" * 5_000)
        await until(harness.summary)
    [message] = harness.queue.published
    assert message.envelope.body_ref == keys.body(TENANT, JOB, 0)
    assert await harness.codes() == {0: None}


@pytest.mark.parametrize("answer", AnswerMode)
async def test_a_retry_that_its_topic_never_takes_is_a_dead_letter_and_holds_up_nobody(
    storage: Storage, answer: AnswerMode
) -> None:
    harness = Harness(storage, MoodyEngine(refusals=1), queue=FakeQueue(max_bytes=100))
    async with running(harness):
        harness.send(0, "x" * 5_000, job="single-x", answer=answer)
        await until(lambda: harness.queue.unsettled == 0)
    assert harness.queue.published == []
    letter = await harness.letter(job="single-x")
    assert letter is not None
    assert letter.code == "message_too_large"
    assert letter.envelope is not None
    found = await storage.get(keys.answer(TENANT, "single-x", "c0"))
    assert (found is not None) is (answer is AnswerMode.OBJECT)


async def test_a_claim_check_is_put_back_as_it_came(storage: Storage) -> None:
    harness = Harness(storage, MoodyEngine(refusals=1))
    await harness.make_job(total=1)
    key = keys.body(TENANT, JOB, 0)
    body = {"model": "fake", "messages": [{"role": "user", "content": "long"}]}
    await storage.put(key, json.dumps(body).encode())
    claim = Envelope(tenant=TENANT, job=JOB, index=0, custom_id="c0", url="/v1/chat/completions", body_ref=key)
    async with running(harness):
        harness.queue.send(codec.encode(claim))
        await until(harness.summary)
    [message] = harness.queue.published
    assert message.envelope == claim
    assert await harness.codes() == {0: None}


@pytest.mark.parametrize("in_doubt", [False, True])
async def test_a_retry_waits_until_the_queue_takes_it(storage: Storage, in_doubt: bool) -> None:
    harness = Harness(storage, MoodyEngine(refusals=1))
    harness.queue.fail_publishes(2, in_doubt=in_doubt)
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0)
        await until(harness.summary)
        await until(lambda: harness.queue.unsettled == 0)
    # Those in doubt are there too: it ran more than once, and one record counts.
    assert len(harness.queue.published) == (3 if in_doubt else 1)
    summary = await harness.summary()
    assert summary is not None
    assert (summary.counts.completed, summary.counts.failed) == (1, 0)


async def test_the_original_is_not_settled_before_its_retry_is_on_the_queue(storage: Storage) -> None:
    harness = Harness(storage, MoodyEngine(refusals=1))
    harness.queue.refuse(lambda _: True)
    async with running(harness):
        harness.send(0, job="single-a")
        await until(lambda: harness.pipeline._settler._retries._waiting == 1)
        assert harness.queue.settled == []
        assert len(harness.source.held()) == 1
        harness.queue.refuse(None)
        await until(lambda: harness.queue.unsettled == 0)
    assert harness.engine.answered == 1


@pytest.mark.parametrize(("limit", "value"), [("_MAX_WAITING_RETRIES", 4), ("_MAX_WAITING_BYTES", 500)])
async def test_a_worker_that_cannot_retry_takes_in_no_more(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(f"backburner_worker.settlement.retries.{limit}", value)
    harness = Harness(storage, MoodyEngine(refusals=1000), concurrency=4)
    harness.queue.refuse(lambda _: True)
    async with running(harness):
        for number in range(50):
            harness.send(0, job=f"single-{number}")
        await until(lambda: not harness.pipeline._settler.has_room and harness.in_engine == 0)
        asked = harness.engine.asked
        for _ in range(100):
            await asyncio.sleep(0)
        assert harness.engine.asked == asked < 50
        harness.engine.refusals = 0
        harness.queue.refuse(None)
        await until(lambda: harness.queue.unsettled == 0)
    assert harness.engine.answered == 50


async def test_a_retry_that_the_queue_does_not_take_is_left_to_others_at_the_drain(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner_worker.pipeline._STORE_SECONDS", 0.1)
    harness = Harness(storage, MoodyEngine(refusals=1))
    async with running(harness) as task:
        harness.send(0, job="single-a")
        harness.queue.refuse(lambda _: True)
        await until(lambda: harness.pipeline._settler._retries._waiting == 1)
        harness.pipeline.stop()
        assert await ended(task) is None
    assert harness.queue.settled == []
    assert harness.queue.unsettled == 1


async def test_a_body_that_may_not_be_read_stops_the_worker_and_settles_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_self: Storage, _key: str, _length: int) -> bytes | None:
        raise StoreDenied

    harness = Harness(storage)
    monkeypatch.setattr(Storage, "head", refuse)
    key = keys.body(TENANT, "single-a", 0)
    claim = Envelope(tenant=TENANT, job="single-a", index=0, custom_id="c", url="/v1/completions", body_ref=key)
    async with running(harness, fails=True) as task:
        harness.queue.send(codec.encode(claim))
        error = await ended(task)
    assert isinstance(error, ExceptionGroup)
    assert harness.queue.settled == []
    assert harness.queue.unsettled == 1


async def test_only_what_failed_is_put_back(storage: Storage) -> None:
    harness = Harness(storage, max_attempts=2)
    await harness.make_job(total=10)
    async with running(harness):
        for index in range(10):
            harness.send(index, "[[busy]]" if index == 5 else "hi")
        await until(harness.summary)
    assert [_index(message) for message in harness.queue.published] == [5]
    assert {index for index, code in (await harness.codes()).items() if code} == {5}


def _index(message: Message) -> int | str:
    return message.envelope.index
