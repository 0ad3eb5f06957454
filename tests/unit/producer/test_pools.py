"""The pools as the store tells of them: who lives, which adapters they serve, and where an adapter's name leads."""

import asyncio
import time

import pytest
from clock import Clock

from backburner.gateway.models.catalogue import ModelCatalogue
from backburner.pools import LIVE_SECONDS, PoolDirectory
from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import (
    ModelNotFound,
    PoolConflict,
    PoolError,
    PoolNotFound,
    StoredObjectBroken,
    StoreError,
)
from backburner_schemas.pool import PoolManifest, WorkerAnnouncement


@pytest.fixture
async def storage() -> Storage:
    storage = Storage.open(Settings(store_url="memory:///r"))
    for model in ("one", "two"):
        await PoolDirectory(storage).register(model)
    return storage


async def announce(storage: Storage, pool: str, worker: str, *adapters: str, ago: float = 0.0) -> None:
    now = time.time() - ago
    announced = WorkerAnnouncement(
        worker=worker,
        pool=pool,
        models=(pool,),
        adapters=adapters,
        group=pool,
        version="fake-1",
        started_at=now,
        seen_at=now,
    )
    await storage.put(keys.worker(pool, worker), announced.model_dump_json().encode())


GONE = LIVE_SECONDS + 60


async def test_a_pool_tells_the_adapters_of_its_live_workers(storage: Storage) -> None:
    await announce(storage, "one", "w1", "legal", "chat")
    await announce(storage, "one", "w2", "chat")
    await announce(storage, "one", "w3", "old", ago=GONE)
    one, two = await PoolDirectory(storage).read()
    assert (one.adapters, two.adapters) == (("chat", "legal"), ())


async def test_an_adapter_that_no_live_worker_has_any_more_leads_nowhere(storage: Storage) -> None:
    await announce(storage, "one", "w1", "legal", "dropped", ago=GONE)
    await announce(storage, "one", "w2", "legal")
    pools = PoolDirectory(storage)
    assert await pools.pool_for("legal") == "one"
    with pytest.raises(PoolNotFound, match="BACKBURNER_ADAPTERS"):
        await pools.pool_for("dropped")


async def test_adapters_of_a_pool_whose_workers_are_all_gone_come_back_with_them(storage: Storage) -> None:
    await announce(storage, "one", "w1", "legal", ago=GONE)
    assert await PoolDirectory(storage).pool_for("legal") == "one"


@pytest.mark.parametrize(("first", "second"), [("one", "two"), ("two", "one")])
@pytest.mark.parametrize("ago", [GONE, 0.0])
async def test_an_adapter_that_was_moved_leads_to_the_pool_that_announced_it_last(
    storage: Storage, first: str, second: str, ago: float
) -> None:
    await announce(storage, first, "w1", "legal", ago=ago + 30)
    await announce(storage, second, "w2", "legal", ago=ago)
    assert await PoolDirectory(storage).pool_for("legal") == second


async def test_a_base_model_comes_before_an_adapter_of_its_name(storage: Storage) -> None:
    await announce(storage, "one", "w1", "two")
    assert await PoolDirectory(storage).pool_for("two") == "two"


async def test_a_manifest_under_the_name_of_another_pool_is_passed_over_and_removing_it_leaves_that_pool(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    misplaced = PoolManifest(pool="two", model="three", created_at=0.0)
    await storage.put(keys.pool("three"), misplaced.model_dump_json().encode())
    pools = PoolDirectory(storage)
    assert [one.model for one in await pools.read()] == ["one", "two"]
    assert "backburner pools remove three" in caplog.text
    with pytest.raises(StoredObjectBroken, match=keys.pool("three")):
        await pools.register("three")
    assert (await pools.remove("three")).pool == "three"
    assert [one.key async for one in storage.scan(keys.POOLS)] == [keys.pool("one"), keys.pool("two")]


async def test_a_pool_whose_manifest_cannot_be_read_is_removed_by_its_slug(storage: Storage) -> None:
    await storage.put(keys.pool("two"), b"{")
    pools = PoolDirectory(storage)
    removed = await pools.remove("two")
    assert (removed.pool, removed.model) == ("two", "")
    assert await storage.modified(keys.pool("two")) is None
    for name in ("two", "../one", "one/workers/w"):
        with pytest.raises(PoolNotFound):
            await pools.remove(name)


async def test_a_worker_whose_clock_or_ours_is_off_keeps_its_pool(storage: Storage) -> None:
    await announce(storage, "two", "w1", ago=GONE)
    with pytest.raises(PoolConflict, match="live workers: w1"):
        await PoolDirectory(storage).remove("two")
    assert await storage.modified(keys.pool("two")) is not None


async def test_a_pool_that_changes_while_it_is_removed_stays(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def overtaken(key: str, data: bytes, etag: str | None) -> bool:
        return False

    monkeypatch.setattr(storage, "replace", overtaken)
    with pytest.raises(PoolConflict, match="changed or removed meanwhile"):
        await PoolDirectory(storage).remove("two")
    assert await storage.modified(keys.pool("two")) is not None


@pytest.fixture
def refreshing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read is old as soon as it is read."""
    monkeypatch.setattr("backburner.pools._REFRESH_SECONDS", -1.0)


@pytest.mark.usefixtures("refreshing")
async def test_without_a_model_it_is_that_of_the_pool_that_has_workers_now(storage: Storage) -> None:
    await announce(storage, "one", "w1")
    pools = PoolDirectory(storage)
    assert await pools.default_model(None) == "one"
    await announce(storage, "one", "w1", ago=GONE)
    await announce(storage, "two", "w2")
    assert await pools.default_model(None) == "two"


@pytest.mark.usefixtures("refreshing")
async def test_a_model_that_a_worker_has_begun_to_serve_is_not_refused(storage: Storage) -> None:
    await announce(storage, "one", "w1")
    pools = PoolDirectory(storage)
    await pools.read()
    with pytest.raises(ModelNotFound, match="serves 'legal'"):
        await pools.check_served("one", {"one", "legal"})
    await announce(storage, "one", "w1", "legal")
    await pools.check_served("one", {"one", "legal"})


async def test_nothing_is_refused_where_nobody_works_yet(storage: Storage) -> None:
    pools = PoolDirectory(storage)
    await pools.read()
    await pools.check_served("one", {"whatever"})
    assert "no live worker" in pools.warnings({"one"})[0]


@pytest.mark.usefixtures("refreshing")
async def test_an_alias_leads_to_its_pool_also_for_those_that_had_read_the_pools_before(storage: Storage) -> None:
    await announce(storage, "one", "w1")
    before = PoolDirectory(storage)
    await before.read()
    manifest = await PoolDirectory(storage).add_aliases("one", ["gpt-4o-mini", "o3", "gpt-4o-mini"])
    assert manifest.aliases == ("gpt-4o-mini", "o3")
    assert await before.pool_for("gpt-4o-mini") == "one"
    await before.check_served("one", {"gpt-4o-mini", "one"})
    assert (await before.read())[0].aliases == ("gpt-4o-mini", "o3")
    assert (await before.register("one")).aliases == manifest.aliases
    assert (await before.remove_aliases("one", ["gpt-4o-mini"])).aliases == ("o3",)
    with pytest.raises(PoolNotFound):
        await PoolDirectory(storage).pool_for("gpt-4o-mini")


async def test_an_alias_that_another_name_forbids_is_refused_and_changes_nothing(storage: Storage) -> None:
    await announce(storage, "two", "w1", "legal")
    pools = PoolDirectory(storage)
    await pools.add_aliases("two", ["taken"])
    for name in ("two", "TWO", "one", "legal", "taken", "Taken", "", " o3", "a\nb", "x" * 257):
        with pytest.raises(PoolConflict):
            await pools.add_aliases("one", ["fine", name])
    assert (await pools.add_aliases("one", ["One"])).aliases == ("One",)
    with pytest.raises(PoolError, match="no alias 'fine'; it has One"):
        await pools.remove_aliases("one", ["fine"])
    with pytest.raises(PoolConflict, match="is an alias of the pool two"):
        await pools.register("Taken")
    with pytest.raises(PoolConflict, match="more than 256"):
        await pools.add_aliases("one", [f"a{number}" for number in range(256)])


async def test_aliases_that_are_made_at_the_same_time_are_all_kept(storage: Storage) -> None:
    names = [f"a{number}" for number in range(4)]
    await asyncio.gather(*(PoolDirectory(storage).add_aliases("one", [name]) for name in names))
    assert sorted((await PoolDirectory(storage).read())[0].aliases) == names


@pytest.mark.usefixtures("refreshing")
async def test_while_the_store_is_away_what_was_known_counts(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    await announce(storage, "one", "w1")
    pools = PoolDirectory(storage)
    await pools.read()

    def away(*_: object) -> None:
        raise StoreError

    monkeypatch.setattr(Storage, "scan", away)
    with pytest.raises(ModelNotFound):
        await pools.check_served("one", {"legal"})
    assert await pools.default_model(None) == "one"
    with pytest.raises(StoreError):
        await PoolDirectory(storage).default_model(None)


async def test_pools_that_were_just_read_are_not_read_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    await announce(storage, "one", "w1")
    pools = PoolDirectory(storage)
    await pools.read()
    monkeypatch.delattr(Storage, "scan")
    assert await pools.default_model(None) == "one"
    with pytest.raises(ModelNotFound):
        await pools.check_served("one", {"legal"})


async def test_the_first_pool_is_there_for_whoever_has_just_seen_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backburner.pools.NONE_YET_SECONDS", -1.0)
    storage, clock = Storage.open(Settings(store_url="memory:///r")), Clock()
    pools = PoolDirectory(storage)
    catalogue = ModelCatalogue(pools, clock=clock)
    assert await catalogue.models() == []
    await PoolDirectory(storage).register("one")
    assert await pools.pool_for("one") == "one"
    clock.now += 1.0
    assert [model.id for model in await catalogue.models()] == ["one"]


async def test_a_worker_that_cannot_be_read_may_live_and_keeps_its_pool(storage: Storage) -> None:
    await storage.put(keys.worker("two", "newer"), b'{"v":2}')
    pools = PoolDirectory(storage)
    with pytest.raises(PoolConflict, match=keys.worker("two", "newer")):
        await pools.remove("two")
    assert await storage.modified(keys.pool("two")) is not None


async def test_a_pool_whose_manifest_cannot_be_read_is_kept_by_its_live_workers(storage: Storage) -> None:
    await storage.put(keys.pool("two"), b"{")
    await announce(storage, "two", "w1")
    pools = PoolDirectory(storage)
    with pytest.raises(PoolConflict, match="live workers: w1"):
        await pools.remove("two")
