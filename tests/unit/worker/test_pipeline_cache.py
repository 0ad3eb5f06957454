"""The result cache in the pipeline: the same repeatable request runs once, within a tenant, and says so."""

import json
from pathlib import Path
from typing import Any

import pytest
from pipeline_harness import TENANT, CountingEngine, Harness, running
from waiting import until

from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.request import Endpoint

GREEDY = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}


@pytest.fixture
def harness(storage: Storage) -> Harness:
    return Harness(storage, result_cache_seconds=60)


async def asked(harness: Harness, index: int, body: dict[str, Any], **more: Any) -> None:
    """Send one and wait until it is settled."""
    settled = len(harness.queue.settled)
    harness.send(index, body=body, **more)
    await until(lambda: len(harness.queue.settled) > settled)


async def kept(harness: Harness, count: int = 1) -> list[str]:
    async def found() -> list[str] | None:
        listed = [listed.key async for listed in harness.storage.scan(keys.CACHE)]
        return listed if len(listed) >= count else None

    await until(found)
    return await found() or []


async def test_the_same_request_runs_once_and_its_record_says_where_the_answer_came_from(harness: Harness) -> None:
    async with running(harness):
        await asked(harness, 0, GREEDY, job="stream-q")
        await kept(harness)
        await asked(harness, 1, {**GREEDY, "temperature": 0.0, "user": "somebody"}, job="stream-q")
    assert harness.engine.answered == 1
    first, second = sorted(await harness.records("stream-q"), key=lambda record: str(record.backburner.index))
    assert (first.backburner.cached, second.backburner.cached) == (False, True)
    assert first.response is not None
    assert second.response is not None
    assert second.response.body == first.response.body
    assert second.custom_id == "c1"
    assert second.backburner.engine_s is None
    assert harness.metric("result_cache_lookups_total", result="hit") == 1
    assert harness.metric("result_cache_lookups_total", result="miss") == 1


@pytest.mark.parametrize("other", [{"temperature": 0.7}, {"max_tokens": 3}])
async def test_another_request_runs(harness: Harness, other: dict[str, Any]) -> None:
    async with running(harness):
        await asked(harness, 0, GREEDY)
        await kept(harness)
        await asked(harness, 1, {**GREEDY, **other})
    assert harness.engine.answered == 2


async def test_no_tenant_sees_what_another_was_answered(harness: Harness) -> None:
    async with running(harness):
        await asked(harness, 0, GREEDY)
        await kept(harness)
        harness.queue.send(
            b'{"v":1,"tenant":"other","job":"single-x","index":0,"custom_id":"c","url":"/v1/chat/completions","body":'
            b'{"model":"fake","messages":[{"role":"user","content":"hi"}],"temperature":0}}'
        )
        await until(lambda: len(harness.queue.settled) == 2)
        found = await kept(harness, 2)
    assert harness.engine.answered == 2
    assert {key.split("/")[1] for key in found} == {"default", "other"}


async def test_nothing_is_kept_unless_it_was_asked_for(storage: Storage) -> None:
    harness = Harness(storage)
    async with running(harness):
        await asked(harness, 0, GREEDY)
        await asked(harness, 1, GREEDY)
    assert harness.engine.answered == 2
    assert [listed async for listed in storage.scan(keys.CACHE)] == []


async def test_an_old_answer_does_not_count(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(storage, result_cache_seconds=60)
    async with running(harness):
        await asked(harness, 0, GREEDY)
        await kept(harness)
        monkeypatch.setattr("time.time", lambda: 4e9)
        await asked(harness, 1, GREEDY)
    assert harness.engine.answered == 2


def answer_of(**fields: Any) -> bytes:
    answer = {"stored_at": 4e9, "status_code": 200, "prompt_tokens": 1, "completion_tokens": 1, "body": {}}
    return json.dumps({**answer, **fields}).encode()


@pytest.mark.parametrize(
    "spoiled",
    [
        b"",
        b"{}",
        b'{"stored_at": 4e9, "body": 3}',
        b"\xff",
        # Sums of what does not fit a segment's name would hide the segment from all readers.
        answer_of(prompt_tokens=10**18),
        answer_of(completion_tokens=10**4299),
        answer_of(status_code=500),
    ],
    ids=["nothing", "empty", "no body", "no text", "19 digits", "4,300 digits", "no success"],
)
async def test_a_spoiled_answer_is_none(harness: Harness, spoiled: bytes) -> None:
    async with running(harness):
        await asked(harness, 0, GREEDY)
        [key] = await kept(harness)
        await harness.storage.put(key, spoiled)
        await asked(harness, 1, GREEDY)
    assert harness.engine.answered == 2
    assert harness.metric("result_cache_lookups_total", result="error") == 1


async def test_a_store_that_fails_costs_the_saving_and_nothing_else(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = harness.storage.get

    async def refusing(key: str, **limits: int) -> Any:
        if key.startswith(keys.CACHE):
            raise StoreError
        return await get(key, **limits)

    async with running(harness):
        await asked(harness, 0, GREEDY)
        await kept(harness)
        monkeypatch.setattr(harness.storage, "get", refusing)
        await asked(harness, 1, GREEDY, job="stream-q")
    assert [record.ok for record in await harness.records("stream-q")] == [True]
    assert harness.engine.answered == 2


async def test_a_failure_is_not_kept(harness: Harness) -> None:
    failing = {**GREEDY, "messages": [{"role": "user", "content": "[[fail]]"}]}
    async with running(harness):
        await asked(harness, 0, failing)
        await asked(harness, 1, failing)
    assert [listed async for listed in harness.storage.scan(keys.CACHE)] == []


async def test_an_adapter_that_was_trained_anew_answers_anew_and_the_base_model_does_not(
    storage: Storage, tmp_path: Path
) -> None:
    weights = tmp_path / "adapter_model.safetensors"
    answered = []
    for held in (b"first", b"again", b"again"):
        weights.write_bytes(held)
        engine = CountingEngine(adapters=["legal"])
        harness = Harness(storage, engine, result_cache_seconds=60, adapters=f"legal={tmp_path}")
        async with running(harness):
            for index, model in enumerate(("fake", "legal")):
                await asked(harness, index, {**GREEDY, "model": model}, job=f"stream-{len(answered)}")
            await kept(harness, 2 if held == b"first" else 3)
        answered.append(engine.answered)
    assert answered == [2, 1, 0]


async def test_answers_of_an_adapter_whose_files_nobody_knows_are_not_kept(storage: Storage, tmp_path: Path) -> None:
    engine = CountingEngine(adapters=["legal", "chat"])
    harness = Harness(storage, engine, result_cache_seconds=60, adapters=f"chat={tmp_path}")
    await harness.build()
    cache = harness.worker.parts.cache
    assert cache is not None
    found = {model: cache.key(TENANT, Endpoint.CHAT, {**GREEDY, "model": model}) for model in ("fake", "chat", "legal")}
    assert found["legal"] is None
    assert None not in (found["fake"], found["chat"])
