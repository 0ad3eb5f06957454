"""The result cache in the pipeline: the same repeatable request runs once, within a tenant, and says so."""

from pathlib import Path
from typing import Any

import pytest
from pipeline_bench import TENANT, Bench, CountingEngine, running, until

from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.request import Endpoint

GREEDY = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}


@pytest.fixture
def bench(storage: Storage) -> Bench:
    return Bench(storage, result_cache_seconds=60)


async def asked(bench: Bench, index: int, body: dict[str, Any], **more: Any) -> None:
    """Send one and wait until it is settled."""
    settled = len(bench.queue.settled)
    bench.send(index, body=body, **more)
    await until(lambda: len(bench.queue.settled) > settled)


async def kept(bench: Bench, count: int = 1) -> list[str]:
    async def found() -> list[str] | None:
        listed = [listed.key async for listed in bench.storage.scan(keys.CACHE)]
        return listed if len(listed) >= count else None

    await until(found)
    return await found() or []


async def test_the_same_request_runs_once_and_its_record_says_where_the_answer_came_from(bench: Bench) -> None:
    async with running(bench):
        await asked(bench, 0, GREEDY, job="stream-q")
        await kept(bench)
        await asked(bench, 1, {**GREEDY, "temperature": 0.0, "user": "somebody"}, job="stream-q")
    assert bench.engine.answered == 1
    first, second = sorted(await bench.records("stream-q"), key=lambda record: str(record.backburner.index))
    assert (first.backburner.cached, second.backburner.cached) == (False, True)
    assert first.response is not None
    assert second.response is not None
    assert second.response.body == first.response.body
    assert second.custom_id == "c1"
    assert second.backburner.engine_s is None
    assert bench.metric("result_cache_looks_total", found="hit") == 1
    assert bench.metric("result_cache_looks_total", found="miss") == 1


@pytest.mark.parametrize("other", [{"temperature": 0.7}, {"max_tokens": 3}])
async def test_another_request_runs(bench: Bench, other: dict[str, Any]) -> None:
    async with running(bench):
        await asked(bench, 0, GREEDY)
        await kept(bench)
        await asked(bench, 1, {**GREEDY, **other})
    assert bench.engine.answered == 2


async def test_no_tenant_sees_what_another_was_answered(bench: Bench) -> None:
    async with running(bench):
        await asked(bench, 0, GREEDY)
        await kept(bench)
        bench.queue.send(
            b'{"v":1,"tenant":"other","job":"single-x","index":0,"custom_id":"c","url":"/v1/chat/completions","body":'
            b'{"model":"fake","messages":[{"role":"user","content":"hi"}],"temperature":0}}'
        )
        await until(lambda: len(bench.queue.settled) == 2)
        found = await kept(bench, 2)
    assert bench.engine.answered == 2
    assert {key.split("/")[1] for key in found} == {"default", "other"}


async def test_nothing_is_kept_unless_it_was_asked_for(storage: Storage) -> None:
    bench = Bench(storage)
    async with running(bench):
        await asked(bench, 0, GREEDY)
        await asked(bench, 1, GREEDY)
    assert bench.engine.answered == 2
    assert [listed async for listed in storage.scan(keys.CACHE)] == []


async def test_an_old_answer_does_not_count(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(storage, result_cache_seconds=60)
    async with running(bench):
        await asked(bench, 0, GREEDY)
        await kept(bench)
        monkeypatch.setattr("backburner_worker.generation.cache.time.time", lambda: 4e9)
        await asked(bench, 1, GREEDY)
    assert bench.engine.answered == 2


@pytest.mark.parametrize("spoiled", [b"", b"{}", b'{"stored_at": 4e9, "body": 3}', b"\xff"])
async def test_a_spoiled_answer_is_none(bench: Bench, spoiled: bytes) -> None:
    async with running(bench):
        await asked(bench, 0, GREEDY)
        [key] = await kept(bench)
        await bench.storage.put(key, spoiled)
        await asked(bench, 1, GREEDY)
    assert bench.engine.answered == 2
    assert bench.metric("result_cache_looks_total", found="error") == 1


async def test_a_store_that_fails_costs_the_saving_and_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = bench.storage.get

    async def refusing(key: str) -> Any:
        if key.startswith(keys.CACHE):
            raise StoreError
        return await get(key)

    async with running(bench):
        await asked(bench, 0, GREEDY)
        await kept(bench)
        monkeypatch.setattr(bench.storage, "get", refusing)
        await asked(bench, 1, GREEDY, job="stream-q")
    assert [record.ok for record in await bench.records("stream-q")] == [True]
    assert bench.engine.answered == 2


async def test_a_failure_is_not_kept(bench: Bench) -> None:
    failing = {**GREEDY, "messages": [{"role": "user", "content": "[[fail]]"}]}
    async with running(bench):
        await asked(bench, 0, failing)
        await asked(bench, 1, failing)
    assert [listed async for listed in bench.storage.scan(keys.CACHE)] == []


async def test_an_adapter_that_was_trained_anew_answers_anew_and_the_base_model_does_not(
    storage: Storage, tmp_path: Path
) -> None:
    weights = tmp_path / "adapter_model.safetensors"
    answered = []
    for held in (b"first", b"again", b"again"):
        weights.write_bytes(held)
        engine = CountingEngine(adapters=["legal"])
        bench = Bench(storage, engine, result_cache_seconds=60, adapters=f"legal={tmp_path}")
        async with running(bench):
            for index, model in enumerate(("fake", "legal")):
                await asked(bench, index, {**GREEDY, "model": model}, job=f"stream-{len(answered)}")
            await kept(bench, 2 if held == b"first" else 3)
        answered.append(engine.answered)
    assert answered == [2, 1, 0]


async def test_answers_of_an_adapter_whose_files_nobody_knows_are_not_kept(storage: Storage, tmp_path: Path) -> None:
    engine = CountingEngine(adapters=["legal", "chat"])
    bench = Bench(storage, engine, result_cache_seconds=60, adapters=f"chat={tmp_path}")
    await bench.build()
    cache = bench.worker._cache
    assert cache is not None
    found = {model: cache.key(TENANT, Endpoint.CHAT, {**GREEDY, "model": model}) for model in ("fake", "chat", "legal")}
    assert found["legal"] is None
    assert None not in (found["fake"], found["chat"])
