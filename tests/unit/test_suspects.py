"""The marks of suspects: who made one, who may take it away, and whom it convicts."""

import asyncio

import pytest
from pipeline_bench import Bench

from backburner.storage import Storage, Stored
from backburner_schemas import keys
from backburner_worker.suspects import Suspects


@pytest.fixture(autouse=True)
def _quick_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backburner_worker.suspects._LOOK_AGAIN_SECONDS", 0.05)


async def test_a_create_that_was_tried_twice_does_not_convict(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Storage.create

    async def create_and_forget(self: Storage, key: str, data: bytes) -> bool:
        """The answer of the first one got lost, so the client sends it again."""
        await create(self, key, data)
        return await create(self, key, data)

    monkeypatch.setattr(Storage, "create", create_and_forget)
    suspects = Suspects(storage, "w")
    address = Bench(storage).envelope(0).address
    assert await suspects.accuse(address)
    await suspects.give_up(address)
    assert await Bench(storage).marks() == []


async def test_giving_up_leaves_anothers_mark(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    address = Bench(storage).envelope(0).address
    ours, theirs = Suspects(storage, "ours"), Suspects(storage, "theirs")
    assert await theirs.accuse(address)
    reached = asyncio.Event()

    async def never(_self: Storage, _key: str, _data: bytes) -> bool:
        reached.set()
        return await asyncio.Event().wait()

    with monkeypatch.context() as slow:
        slow.setattr(Storage, "create", never)
        accusing = asyncio.create_task(ours.accuse(address))
        await reached.wait()
        accusing.cancel()
        await asyncio.wait([accusing])
    # It cannot know whether the mark that is there is its own until it looks.
    await ours.give_up(address)
    assert len(await Bench(storage).marks()) == 1
    await theirs.give_up(address)
    assert await Bench(storage).marks() == []


async def test_a_mark_that_goes_away_soon_convicts_nobody(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backburner_worker.suspects._LOOK_AGAIN_SECONDS", 0.3)
    address = Bench(storage).envelope(0).address
    ours, theirs = Suspects(storage, "ours"), Suspects(storage, "theirs")
    assert await theirs.accuse(address)
    looked, get = asyncio.Event(), Storage.get

    async def get_and_tell(self: Storage, key: str) -> Stored | None:
        found = await get(self, key)
        looked.set()
        return found

    monkeypatch.setattr(Storage, "get", get_and_tell)
    accusing = asyncio.create_task(ours.accuse(address))
    await looked.wait()
    await theirs.give_up(address)
    assert await accusing


@pytest.mark.parametrize(
    ("letter", "runs"),
    [
        (b'{"code":"poison"', False),
        (b'{"code":"engine_error"', True),
        (b'{"nothing":"of the kind"', True),
    ],
)
async def test_a_suspect_that_was_convicted_before_and_comes_again_does_not_run(
    storage: Storage, letter: bytes, runs: bool
) -> None:
    address = Bench(storage).envelope(0).address
    rest = b',"message":"m","attempts":2,"worker":"w","queue":"q","position":"0-1","failed_at":1}'
    await storage.put(keys.dead_letter(address.tenant, address.job, address.index), letter + rest)
    assert await Suspects(storage, "w").accuse(address) is runs
