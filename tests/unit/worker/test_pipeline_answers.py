"""The pipeline on a queue in memory: single requests, each answered in an object of its own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from pipeline_harness import TENANT, Harness, running
from waiting import until

from backburner.storage import Storage, Stored
from backburner.storage.storage import MAX_DOCUMENT_BYTES
from backburner_schemas import codec, keys
from backburner_schemas.envelope import AnswerMode, Envelope
from backburner_schemas.request import Endpoint
from backburner_schemas.result import ResultRecord


async def test_a_single_request_is_answered_in_its_own_object(harness: Harness) -> None:
    job = keys.new_single_job_id()
    async with running(harness):
        harness.send(0, job=job, answer=AnswerMode.OBJECT)
        await until(lambda: harness.storage.get(keys.answer(TENANT, job, "c0")))
    assert await harness.records(job) == []


async def test_an_answer_object_of_another_index_is_left_alone(harness: Harness) -> None:
    async with running(harness):
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
            harness.queue.send(codec.encode(message))
            await until(lambda: harness.queue.unsettled == 0)
    stored = await harness.storage.get(keys.answer(TENANT, "single-a", "same"))
    assert stored is not None
    assert ResultRecord.model_validate_json(stored.data).backburner.index == 0
    assert [record.backburner.index for record in await harness.records("single-a")] == [1]


async def test_an_answer_object_that_is_too_large_for_an_error_is_left_alone_without_reading_it(
    harness: Harness,
) -> None:
    key = keys.answer(TENANT, "single-a", "c0")
    await harness.storage.put(key, b"[" + b"[]," * MAX_DOCUMENT_BYTES)
    async with running(harness):
        harness.send(0, job="single-a", answer=AnswerMode.OBJECT)
        with limited_reads(harness.storage, key) as asked:
            await until(lambda: harness.queue.unsettled == 0)
    assert asked == [MAX_DOCUMENT_BYTES]
    assert [record.backburner.index for record in await harness.records("single-a")] == [0]


@contextmanager
def limited_reads(storage: Storage, key: str) -> Iterator[list[int]]:
    """How many bytes each read of that object allows."""
    asked: list[int] = []

    async def get(name: str, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Stored | None:
        if name == key:
            asked.append(max_bytes)
        return await Storage.get(storage, name, max_bytes=max_bytes)

    with patch.object(storage, "get", get):
        yield asked


async def test_a_response_replaces_an_error_of_its_index(harness: Harness) -> None:
    async with running(harness):
        harness.send(0, "[[fail]]", job="single-a", answer=AnswerMode.OBJECT)
        await until(lambda: harness.queue.unsettled == 0)
        harness.send(0, "hi", job="single-a", answer=AnswerMode.OBJECT)
        await until(lambda: harness.queue.unsettled == 0)
        harness.send(0, "[[fail]]", job="single-a", answer=AnswerMode.OBJECT)
        await until(lambda: harness.queue.unsettled == 0)
    stored = await harness.storage.get(keys.answer(TENANT, "single-a", "c0"))
    assert stored is not None
    assert ResultRecord.model_validate_json(stored.data).ok


async def test_a_refused_single_request_is_answered_where_its_sender_looks(harness: Harness) -> None:
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
    async with running(harness):
        harness.queue.send(json.dumps(envelope).encode())
        await until(lambda: harness.storage.get(keys.answer(TENANT, "single-x", "c0")))


async def test_an_answer_object_asked_for_inside_a_job_does_not_keep_the_job_from_ending(harness: Harness) -> None:
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0, answer=AnswerMode.OBJECT)
        await until(harness.summary)
    summary = await harness.summary()
    assert summary is not None
    assert summary.counts.completed == 1


async def test_a_later_error_does_not_replace_an_error(harness: Harness) -> None:
    async with running(harness):
        harness.send(0, "[[fail]]", job="single-a", answer=AnswerMode.OBJECT)
        await until(lambda: harness.queue.unsettled == 0)
        first = await harness.storage.get(keys.answer(TENANT, "single-a", "c0"))
        harness.send(0, "[[retry]]", job="single-a", answer=AnswerMode.OBJECT)
        await until(lambda: harness.queue.unsettled == 0)
    assert first is not None
    assert await harness.storage.get(keys.answer(TENANT, "single-a", "c0")) == first
