"""The marks of suspects: who made one, who may take it away, and whom it convicts."""

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_harness import BOUND, Harness
from waiting import until

from backburner.storage import Storage, Stored
from backburner_schemas import keys
from backburner_schemas.envelope import MAX_AMONG_COUNT
from backburner_schemas.errors import StoreError
from backburner_schemas.letter import code_of
from backburner_worker.settlement.suspects import Marking, Suspects, _count

RENEW_SECONDS = 0.02


@pytest.fixture(autouse=True)
def _quick_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backburner_worker.settlement.suspects._RENEW_SECONDS", RENEW_SECONDS)


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
    address = Harness(storage).envelope(0).address
    assert await suspects.mark(address) is Marking.OURS
    await suspects.give_up(address)
    assert await Harness(storage).marks() == []


async def test_giving_up_leaves_anothers_mark(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    address = Harness(storage).envelope(0).address
    ours, theirs = Suspects(storage, "ours"), Suspects(storage, "theirs")
    assert await theirs.mark(address) is Marking.OURS
    reached, answered = asyncio.Event(), asyncio.Event()

    async def late(_self: Storage, _key: str, _data: bytes) -> bool:
        reached.set()
        await answered.wait()
        return False

    with monkeypatch.context() as slow:
        slow.setattr(Storage, "create", late)
        marking = asyncio.create_task(ours.mark(address))
        await reached.wait()
        marking.cancel()
        await asyncio.wait([marking])
    answered.set()
    # It cannot know whether the mark that is there is its own until it looks.
    await ours.give_up(address)
    assert len(await Harness(storage).marks()) == 1
    await theirs.give_up(address)
    assert await Harness(storage).marks() == []


async def test_a_mark_that_goes_away_soon_convicts_nobody(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backburner_worker.settlement.suspects._RENEW_SECONDS", 0.1)
    address = Harness(storage).envelope(0).address
    ours, theirs = Suspects(storage, "ours"), Suspects(storage, "theirs")
    assert await theirs.mark(address) is Marking.OURS
    looked, get = asyncio.Event(), Storage.get

    async def get_and_tell(self: Storage, key: str, **limits: int) -> Stored | None:
        found = await get(self, key, **limits)
        looked.set()
        return found

    monkeypatch.setattr(Storage, "get", get_and_tell)
    marking = asyncio.create_task(ours.mark(address))
    await looked.wait()
    await theirs.give_up(address)
    assert await marking is Marking.OURS


@pytest.mark.parametrize("end", ["give_up", "clear"])
async def test_a_mark_that_comes_late_does_not_outlive_who_made_it(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """A request that was sent is not called back by cancelling: left over, its mark would convict an innocent."""
    create = Storage.create
    sent, arrives = asyncio.Event(), asyncio.Event()
    requests: list[asyncio.Task[bool]] = []

    async def create_late(self: Storage, key: str, data: bytes) -> bool:
        async def on_the_way() -> bool:
            await arrives.wait()
            return await create(self, key, data)

        requests.append(asyncio.create_task(on_the_way()))
        sent.set()
        return await asyncio.shield(requests[0])

    monkeypatch.setattr(Storage, "create", create_late)
    suspects = Suspects(storage, "w")
    address = Harness(storage).envelope(0).address
    marking = asyncio.create_task(suspects.mark(address))
    await sent.wait()
    marking.cancel()
    await asyncio.wait([marking])
    ending = asyncio.create_task(getattr(suspects, end)(address))
    # Time enough to look and find nothing, for one that does not wait for its own request.
    await asyncio.wait([ending], timeout=0.2)
    arrives.set()
    await asyncio.wait([ending, *requests])
    assert await Harness(storage).marks() == []
    assert suspects._writing == {}


async def test_clearing_one_copys_mark_does_not_forget_anothers(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry whose publish was in doubt is there twice, and the second may begin while the first is being stored."""
    suspects = Suspects(storage, "w")
    address = Harness(storage).envelope(0).address
    assert await suspects.mark(address) is Marking.OURS
    delete, marked = Storage.delete, asyncio.Event()

    async def delete_and_wait(self: Storage, gone: Iterable[str]) -> None:
        await delete(self, gone)
        await marked.wait()

    with monkeypatch.context() as slow:
        slow.setattr(Storage, "delete", delete_and_wait)
        clearing = asyncio.create_task(suspects.clear(address))
        await until(lambda: _no_marks(storage))
        assert await suspects.mark(address) is Marking.OURS
        marked.set()
        await clearing
    await suspects.close()
    assert await Harness(storage).marks() == []


async def _no_marks(storage: Storage) -> bool:
    return await Harness(storage).marks() == []


@pytest.mark.parametrize(
    ("letter", "marking"),
    [
        (b'{"code":"poison"', Marking.CONVICTED),
        (b'{"code":"engine_error"', Marking.OURS),
        (b'{"nothing":"of the kind"', Marking.OURS),
    ],
)
async def test_a_suspect_that_was_convicted_before_and_comes_again_does_not_run(
    storage: Storage, letter: bytes, marking: Marking
) -> None:
    address = Harness(storage).envelope(0).address
    rest = b',"message":"m","attempts":2,"worker":"w","queue":"q","position":"0-1","failed_at":1}'
    await storage.put(keys.dead_letter(address.tenant, address.job, address.index), letter + rest)
    assert await Suspects(storage, "w").mark(address) is marking


@pytest.mark.parametrize(("code", "marking"), [("poison", Marking.CONVICTED), ("engine_error", Marking.OURS)])
async def test_of_a_letter_of_any_size_the_code_alone_is_read(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, code: str, marking: Marking
) -> None:
    """Whoever may write below the tenant may make it as large as it likes; so may an honest producer's request."""
    address = Harness(storage).envelope(0).address
    letter = b'{"v":1,"code":"%b","message":"%b"}' % (code.encode(), b"x" * 1_000_000)
    await storage.put(keys.dead_letter(address.tenant, address.job, address.index), letter)
    read, head = list[int](), Storage.head

    async def seen(self: Storage, key: str, length: int) -> bytes | None:
        found = await head(self, key, length)
        read.append(len(found or b""))
        return found

    async def never(*_: object, **__: object) -> None:
        raise AssertionError("the letter was read whole")

    monkeypatch.setattr(Storage, "head", seen)
    monkeypatch.setattr(Storage, "get", never)
    assert await Suspects(storage, "w").mark(address) is marking
    assert read == [1024]


@given(
    st.binary(max_size=40)
    | st.sampled_from([b'{"code":1}', b"[" * 1024, b'{"code":"poison_', b'{"v":1,"code":"x', b'"'])
)
def test_what_stands_in_the_place_of_a_letter_has_a_code_or_none(head: bytes) -> None:
    assert isinstance(code_of(head), str | None)
    assert code_of(b'{"v":1,"code":"poison","message":"' + head.replace(b'"', b"") + b"\xff") in {
        None,
        "poison",
    }


@pytest.mark.parametrize("left_cleanly", [False, True])
async def test_a_suspect_that_a_living_worker_runs_is_neither_convicted_nor_waited_for(
    storage: Storage, left_cleanly: bool
) -> None:
    """A copy of a suspect, or a member that was cut off, may run it while another worker gets it too."""
    address = Harness(storage).envelope(0).address
    ours, theirs = Suspects(storage, "ours"), Suspects(storage, "theirs")
    assert await theirs.mark(address) is Marking.OURS
    renewing = asyncio.create_task(theirs.renew())
    async with asyncio.timeout(BOUND):
        assert await ours.mark(address, left_cleanly=left_cleanly) is Marking.ELSEWHERE
    renewing.cancel()
    # Theirs, which has to show if it dies.
    await ours.give_up(address)
    assert len(await Harness(storage).marks()) == 1


async def test_a_mark_that_is_not_renewed_convicts_at_the_second_time(storage: Storage) -> None:
    address = Harness(storage).envelope(0).address
    died, vanished, next_one = (Suspects(storage, name) for name in ("died", "vanished", "next"))
    assert await died.mark(address) is Marking.OURS
    assert await vanished.mark(address) is Marking.OURS
    assert await next_one.mark(address) is Marking.CONVICTED
    # Of the one that vanished: it is cleared once the letter is there.
    assert len(await Harness(storage).marks()) == 1


async def test_a_store_that_takes_seconds_keeps_nobody_looking_at_a_mark_for_ever(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = Harness(storage).envelope(0).address
    assert await Suspects(storage, "died").mark(address) is Marking.OURS
    create = Storage.create

    async def slowly(self: Storage, key: str, data: bytes) -> bool:
        await asyncio.sleep(1.2 * RENEW_SECONDS)
        return await create(self, key, data)

    monkeypatch.setattr(Storage, "create", slowly)
    async with asyncio.timeout(BOUND):
        assert await Suspects(storage, "next").mark(address) is Marking.OURS


async def test_while_the_store_is_away_nobody_can_renew_a_mark_and_nobody_is_convicted(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = Harness(storage).envelope(0).address
    died, alive = Suspects(storage, "died"), Suspects(storage, "alive")
    assert await died.mark(address) is Marking.OURS
    assert await alive.mark(address) is Marking.OURS
    create, asked = Storage.create, 0
    renewing: list[asyncio.Task[None]] = []

    async def once_it_is_back(self: Storage, key: str, data: bytes) -> bool:
        nonlocal asked
        asked += 1
        if asked <= 6:
            await asyncio.sleep(6 * RENEW_SECONDS)
        elif not renewing:
            renewing.append(asyncio.create_task(alive.renew()))
        return await create(self, key, data)

    monkeypatch.setattr(Storage, "create", once_it_is_back)
    async with asyncio.timeout(BOUND):
        assert await Suspects(storage, "next").mark(address) is Marking.ELSEWHERE
    renewing[0].cancel()


async def test_a_suspect_that_ended_well_begins_anew(storage: Storage) -> None:
    address = Harness(storage).envelope(0).address
    died, survived, later, last = (Suspects(storage, name) for name in ("died", "survived", "later", "last"))
    assert await died.mark(address) is Marking.OURS
    assert await survived.mark(address) is Marking.OURS
    await survived.clear(address)
    assert await later.mark(address) is Marking.OURS
    assert await last.mark(address) is Marking.OURS
    # So it does with a worker that had counted a death of it.
    await last.clear(address)
    assert await last.mark(address) is Marking.OURS
    assert await Suspects(storage, "one more").mark(address) is Marking.OURS


async def test_what_a_worker_saw_of_a_suspect_convicts_it_though_that_worker_dies_too(storage: Storage) -> None:
    address = Harness(storage).envelope(0).address
    witness = Suspects(storage, "witness")
    assert await witness.mark(address) is Marking.OURS
    await witness.convict(address)
    await witness.close()
    assert await Suspects(storage, "next").mark(address) is Marking.CONVICTED


@pytest.mark.parametrize("content", [b"", b"junk", b"[]", b'{"deaths": "9"}', b'{"worker": "w", "renewed": 1.0}'])
async def test_a_mark_that_counts_nothing_counts_as_the_first(storage: Storage, content: bytes) -> None:
    address = Harness(storage).envelope(0).address
    await storage.put(keys.suspect(address.tenant, address.job, address.index), content)
    assert await Suspects(storage, "next").mark(address) is Marking.OURS
    assert await Suspects(storage, "last").mark(address) is Marking.CONVICTED


async def test_a_mark_that_was_left_convicts_nobody_where_the_queue_shows_that_nobody_died(storage: Storage) -> None:
    address = Harness(storage).envelope(0).address
    left, next_one = Suspects(storage, "left"), Suspects(storage, "next")
    assert await left.mark(address) is Marking.OURS
    assert await next_one.mark(address, left_cleanly=True) is Marking.OURS
    # It has a mark of its own now, which shows its death.
    third = Suspects(storage, "third")
    assert await third.mark(address) is Marking.OURS
    await next_one.give_up(address)
    assert len(await Harness(storage).marks()) == 1
    assert await Suspects(storage, "fourth").mark(address) is Marking.CONVICTED


async def test_a_renewal_that_comes_late_leaves_no_mark(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    address = Harness(storage).envelope(0).address
    suspects = Suspects(storage, "w")
    assert await suspects.mark(address) is Marking.OURS
    put, sent, arrives = Storage.put, asyncio.Event(), asyncio.Event()

    async def put_late(self: Storage, key: str, data: bytes) -> None:
        sent.set()
        await arrives.wait()
        await put(self, key, data)

    monkeypatch.setattr(Storage, "put", put_late)
    renewing = asyncio.create_task(suspects.renew())
    await sent.wait()
    renewing.cancel()
    clearing = asyncio.create_task(suspects.clear(address))
    await asyncio.wait([clearing], timeout=0.2)
    arrives.set()
    await clearing
    assert await Harness(storage).marks() == []


async def test_renewing_goes_on_when_the_store_is_back(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    address = Harness(storage).envelope(0).address
    suspects = Suspects(storage, "w")
    assert await suspects.mark(address) is Marking.OURS
    put, asked = Storage.put, 0

    async def put_once_it_is_back(self: Storage, key: str, data: bytes) -> None:
        nonlocal asked
        asked += 1
        if asked <= 3:
            raise StoreError
        await put(self, key, data)

    monkeypatch.setattr(Storage, "put", put_once_it_is_back)
    renewing = asyncio.create_task(suspects.renew())
    await until(lambda: asked > 4 or renewing.done())
    assert not renewing.done()
    renewing.cancel()


async def test_a_mark_says_with_how_many_it_runs_also_where_another_was_there_at_first(storage: Storage) -> None:
    address = Harness(storage).envelope(0).address
    first, second, third = (Suspects(storage, name) for name in ("first", "second", "third"))
    assert await first.mark(address, together=6) is Marking.OURS
    # The first left in order while the store was away; the second vanished with six.
    assert await second.mark(address, together=6, left_cleanly=True) is Marking.OURS
    assert await third.mark(address, together=6) == 6


async def test_a_witness_convicts_also_where_the_queue_shows_a_clean_end(storage: Storage) -> None:
    address = Harness(storage).envelope(0).address
    witness = Suspects(storage, "witness")
    assert await witness.mark(address) is Marking.OURS
    await witness.convict(address)
    assert await Suspects(storage, "next").mark(address, left_cleanly=True) is Marking.CONVICTED


async def test_a_convicts_mark_convicts_though_its_trial_had_room_for_more(storage: Storage) -> None:
    address = Harness(storage).envelope(0).address
    witness = Suspects(storage, "witness")
    assert await witness.mark(address, together=6) is Marking.OURS
    await witness.convict(address)
    await witness.close()
    assert await Suspects(storage, "next").mark(address) is Marking.CONVICTED


@pytest.mark.parametrize("mark", [b"[" * 4096, b"7", b"\xff"])
def test_a_mark_that_cannot_be_read_counts_nothing(mark: bytes) -> None:
    assert _count(mark, "deaths") == 0


def test_what_a_mark_counts_is_believed_within_bounds() -> None:
    assert _count(b'{"deaths": ' + b"9" * 4000 + b"}", "deaths") == MAX_AMONG_COUNT
    assert _count(b'{"deaths": -1}', "deaths") == 0
