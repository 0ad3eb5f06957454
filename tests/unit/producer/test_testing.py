"""The fake of the whole system, as users' own tests use it."""

import pytest

from backburner import Endpoint, JobState, RequestFailed
from backburner.settings import Settings
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import ContextLengthExceeded


def line(custom_id):
    return {
        "custom_id": custom_id,
        "url": "/v1/chat/completions",
        "body": {"model": "fake", "messages": [{"role": "user", "content": "hello"}]},
    }


async def test_the_same_request_has_the_same_answer():
    texts = []
    for _ in range(2):
        async with FakeSystem() as system:
            texts.append((await (await system.client.enqueue("hello")).result(timeout=5)).text)
            other = (await (await system.client.enqueue("goodbye")).result(timeout=5)).text
            assert other != texts[0]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("endpoint", list(Endpoint))
async def test_each_endpoint_has_its_form(endpoint):
    async with FakeSystem() as system:
        body = {"messages": [], "prompt": "a", "input": "a", "text_1": "a", "text_2": "b"}
        handle = await system.client.enqueue(body=body, endpoint=endpoint)
        found = (await handle.result(timeout=5)).response.body
        assert found["model"] == "fake"
        assert found["usage"]["total_tokens"] > 0
        held = {Endpoint.RESPONSES: "output", Endpoint.CHAT: "choices", Endpoint.COMPLETIONS: "choices"}
        assert found[held.get(endpoint, "data")]


async def test_answers_can_be_given():
    def answer(envelope):
        if envelope.custom_id == "c":
            return ContextLengthExceeded()
        if envelope.custom_id == "b":
            return {"choices": [{"message": {"content": "a whole body"}}]}
        return envelope.body["messages"][0]["content"].upper()

    async with FakeSystem(answer) as system:
        job = await system.client.submit([line("a"), line("b"), line("c")])
        records = {record.custom_id: record async for record in job.results()}
    assert records["a"].text == "HELLO"
    assert records["b"].text == "a whole body"
    assert records["c"].error.code == "context_length_exceeded"


async def test_chosen_requests_fail():
    async with FakeSystem() as system:
        system.fail(["a"])
        system.fail(lambda envelope: envelope.custom_id.endswith("9"), ContextLengthExceeded("too long"))
        job = await system.client.submit([line("a"), line("b"), line("x9")])
        status = await job.wait(timeout=5)
        assert (status.status, status.request_counts.failed) == (JobState.COMPLETED, 2)
        codes = {record.custom_id: record.error and record.error.code async for record in job.results()}
    assert codes == {"a": "engine_error", "b": None, "x9": "context_length_exceeded"}


async def test_requests_are_held_back_and_released_in_order():
    async with FakeSystem() as system:
        system.hold()
        job = await system.client.submit([line(f"r{number}") for number in range(10)])
        assert system.waiting == 10
        assert await system.release(3) == 3
        assert {record.custom_id async for record in job.results(follow=False)} == {"r0", "r1", "r2"}
        assert await system.release() == 7
        assert (await job.wait(timeout=5)).status is JobState.COMPLETED
        handle = await system.client.enqueue("not held any more")
        assert (await handle.result(timeout=5)).ok


async def test_requests_of_a_cancelled_job_are_dropped_with_a_record():
    async with FakeSystem() as system:
        system.hold()
        job = await system.client.submit([line("a"), line("b")])
        await system.storage.put(keys.cancelled("default", job.id), b"")
        await system.release()
        assert [record.error.code async for record in job.results()] == ["cancelled", "cancelled"]


async def test_an_expired_job_drops_its_waiting_requests():
    async with FakeSystem() as system:
        system.hold()
        job = await system.client.submit([line("a")])
        single = await system.client.enqueue("hello")
        assert await system.expire(job.id) is JobState.EXPIRED
        assert system.waiting == 1
        await system.release()
        assert (await single.result(timeout=5)).ok


async def test_without_workers_nothing_is_answered():
    async with FakeSystem(workers=False) as system:
        handle = await system.client.enqueue("hello")
        assert await handle.peek() is None
        await system.release()
        assert (await handle.result(timeout=5)).ok


async def test_large_bodies_reach_the_answer_whole():
    async with FakeSystem(lambda envelope: str(len(envelope.body["messages"][0]["content"]))) as system:
        handle = await system.client.enqueue("x" * 2_000_000)
        assert (await handle.result(timeout=5)).text == "2000000"


async def test_a_single_request_that_fails():
    async with FakeSystem() as system:
        system.fail("bad")
        with pytest.raises(RequestFailed):
            await (await system.client.enqueue("hello", custom_id="bad")).result(timeout=5)


def test_the_blocking_client_needs_a_with():
    with pytest.raises(RuntimeError, match="with"):
        _ = FakeSystem().sync_client


async def test_what_the_shell_is_set_to_changes_nothing(monkeypatch):
    monkeypatch.setenv("BACKBURNER_POOL", "elsewhere")
    monkeypatch.setenv("BACKBURNER_MAX_BODY_BYTES", "1024")
    async with FakeSystem() as system:
        assert (system.settings.pool, system.settings.max_body_bytes) == (
            None,
            Settings.model_fields["max_body_bytes"].default,
        )
        assert (await (await system.client.enqueue("x" * 2000)).result(timeout=5)).ok
