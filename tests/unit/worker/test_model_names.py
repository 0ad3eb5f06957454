"""What requests may call a worker's model: the engine's names, and aliases that the pool is given while it runs."""

import asyncio

import pytest
from pipeline_harness import Harness, running
from waiting import until

from backburner.pools import PoolDirectory
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import ModelNotFound, StoreError
from backburner_worker.generation.model_names import ModelNames

CHAT = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def names(storage: Storage) -> ModelNames:
    await PoolDirectory(storage).register("fake")
    return ModelNames(storage, "fake", "fake", ("fake", "legal"))


async def test_an_alias_that_is_made_while_the_worker_runs_is_known_at_its_first_request(
    storage: Storage, names: ModelNames
) -> None:
    assert await names.resolve("legal") == "legal"
    with pytest.raises(ModelNotFound, match="serves fake, legal, not 'gpt-4o-mini'"):
        await names.resolve("gpt-4o-mini")
    await PoolDirectory(storage).add_aliases("fake", ["gpt-4o-mini"])
    assert await names.resolve("gpt-4o-mini") == "fake"


async def test_an_alias_that_is_taken_away_is_gone_with_the_next_turn(storage: Storage, names: ModelNames) -> None:
    await PoolDirectory(storage).add_aliases("fake", ["o3"])
    await names.refresh()
    assert await names.resolve("o3") == "fake"
    await PoolDirectory(storage).remove_aliases("fake", ["o3"])
    await names.refresh()
    with pytest.raises(ModelNotFound):
        await names.resolve("o3")


async def test_many_unknown_names_share_a_read(
    storage: Storage, names: ModelNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    get = storage.get

    async def counted(key: str, **limits: int) -> object:
        nonlocal reads
        reads += 1
        return await get(key, **limits)

    monkeypatch.setattr(storage, "get", counted)
    found = await asyncio.gather(*(names.resolve(f"x{number}") for number in range(50)), return_exceptions=True)
    assert all(isinstance(one, ModelNotFound) for one in found)
    assert reads == 1


async def test_an_unknown_name_is_not_refused_while_the_store_is_away(
    storage: Storage, names: ModelNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    await PoolDirectory(storage).add_aliases("fake", ["o3"])
    get, asked = storage.get, asyncio.Event()

    async def away(key: str, **limits: int) -> object:
        if not asked.is_set():
            asked.set()
            raise StoreError
        return await get(key, **limits)

    monkeypatch.setattr(storage, "get", away)
    async with asyncio.timeout(10):
        assert await names.resolve("o3") == "fake"


async def test_a_registration_that_cannot_be_read_leaves_the_aliases_that_were_known(
    storage: Storage, names: ModelNames
) -> None:
    await PoolDirectory(storage).add_aliases("fake", ["o3"])
    await names.refresh()
    await storage.put(keys.pool("fake"), b"{")
    await names.refresh()
    assert await names.resolve("o3") == "fake"


async def test_a_request_by_an_alias_is_answered_by_the_model_and_its_record_names_both(storage: Storage) -> None:
    await PoolDirectory(storage).register("fake")
    await PoolDirectory(storage).add_aliases("fake", ["gpt-4o-mini"])
    harness = Harness(storage, result_cache_seconds=60)
    async with running(harness):
        for index, model in enumerate(("gpt-4o-mini", "fake")):
            settled = len(harness.queue.settled)
            harness.send(index, body={"model": model, "messages": CHAT, "temperature": 0}, job="stream-q")
            await until(lambda: len(harness.queue.settled) > settled)  # noqa: B023 - called at once
            await until(lambda: _cached(storage))
    first, second = sorted(await harness.records("stream-q"), key=lambda record: str(record.backburner.index))
    assert first.response is not None
    assert first.response.body["model"] == "fake"
    assert (first.backburner.model, first.backburner.requested_model) == ("fake", "gpt-4o-mini")
    assert (second.backburner.model, second.backburner.requested_model) == ("fake", None)
    # The cache knows the served model alone.
    assert second.backburner.cached


async def _cached(storage: Storage) -> bool:
    return bool([one async for one in storage.scan(keys.CACHE)])


async def test_a_read_that_is_given_up_refuses_nobody_who_waits_for_it(
    storage: Storage, names: ModelNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    await names.refresh()
    await PoolDirectory(storage).add_aliases("fake", ["o3"])
    get, back, reading = storage.get, asyncio.Event(), asyncio.Event()

    async def held(key: str, **limits: int) -> object:
        reading.set()
        await back.wait()
        return await get(key, **limits)

    monkeypatch.setattr(storage, "get", held)
    first, second = (asyncio.create_task(names.resolve("o3")) for _ in range(2))
    await reading.wait()
    first.cancel()
    await asyncio.wait([first])
    back.set()
    assert await second == "fake"
