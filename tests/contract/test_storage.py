"""The storage adapter: what every other part relies on, held by each kind of store that can be had here.

`BACKBURNER_TEST_STORE_URL` names a store to be judged instead (docs/certify.md): then the id is `outside`.
"""

import asyncio
import math
import os
import secrets
import time
from contextlib import ExitStack, suppress
from functools import partial

import azurite
import pytest
from node_package import NodePackageMissing
from shifted_store import ShiftedStore

from backburner.doctor.finding import Level
from backburner.doctor.store import examine_store
from backburner.local.programs import store as local_store
from backburner.process.clock_keeper import ClockKeeper
from backburner.process.readiness import Readiness
from backburner.settings import Settings
from backburner.storage import Storage
from backburner.storage.errors import ObjectReplaced
from backburner_schemas.errors import SettingsError, StoreDenied, StoreError
from measuring.store_requests import counted_requests

OUTSIDE = os.environ.get("BACKBURNER_TEST_STORE_URL", "")
ENDPOINT = "BACKBURNER_TEST_STORE_ENDPOINT"


@pytest.fixture(scope="module")
def server(tmp_path_factory, missing_server):
    if OUTSIDE:
        pytest.skip("no server is started while an outside store is judged; this one runs without it")
    try:
        local_store.find_weed()
    except SettingsError as error:
        missing_server(str(error))
    with local_store.start(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="module")
def azure(missing_server):
    with ExitStack() as stack:
        try:
            running = stack.enter_context(azurite.start())
        except NodePackageMissing as error:
            missing_server(str(error))
        yield running


@pytest.fixture(params=["outside"] if OUTSIDE else ["memory", "file", "s3", "az"])
async def storage(request, tmp_path, monkeypatch):
    if request.param == "outside":
        # A root of its own for each test; everything below it is deleted afterwards.
        url, endpoint = f"{OUTSIDE.rstrip('/')}/certify-{secrets.token_hex(4)}", os.environ.get(ENDPOINT)
        opened = Storage.open(Settings(store_url=url, store_endpoint=endpoint))
        yield opened
        await opened.delete([each.key async for each in opened.scan("")])
        return
    if request.param == "s3":
        running = request.getfixturevalue("server")
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield Storage.open(Settings(store_url=f"s3://backburner/{tmp_path.name}", store_endpoint=running.endpoint))
        return
    if request.param == "az":
        running = request.getfixturevalue("azure")
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield Storage.open(
            Settings(store_url=f"az://{azurite.CONTAINER}/{tmp_path.name}", store_endpoint=running.endpoint)
        )
        return
    url = "memory:///root" if request.param == "memory" else f"file://{tmp_path}/root"
    yield Storage.open(Settings(store_url=url))


async def test_what_was_put_is_there(storage):
    await storage.put("a/b.json", b"one")
    stored = await storage.get("a/b.json")
    assert stored.data == b"one"
    assert stored.etag
    assert stored.modified == pytest.approx(await storage.modified("a/b.json"), abs=1)
    assert await storage.size("a/b.json") == 3


async def test_what_is_missing_is_none(storage):
    assert await storage.get("nowhere") is None
    assert await storage.head("nowhere", 10) is None
    assert await storage.modified("nowhere") is None
    assert await storage.size("nowhere") is None
    await storage.delete(["nowhere"])
    with pytest.raises(StoreError):
        _ = [piece async for piece in storage.stream("nowhere")]


async def test_a_put_replaces(storage):
    await storage.put("k", b"one")
    await storage.put("k", b"two")
    assert (await storage.get("k")).data == b"two"


async def test_of_many_creators_one_wins(storage):
    created = await asyncio.gather(*(storage.create("k", str(number).encode()) for number in range(16)))
    assert created.count(True) == 1
    assert (await storage.get("k")).data == str(created.index(True)).encode()


async def test_a_replace_needs_the_tag_of_what_is_there(storage):
    await storage.put("k", b"one")
    before = (await storage.get("k")).etag
    assert await storage.replace("k", b"two", before)
    assert not await storage.replace("k", b"three", before)
    assert (await storage.get("k")).data == b"two"


async def test_a_replace_of_what_is_missing_writes_nothing(storage):
    assert not await storage.replace("k", b"one", '"tag"')
    assert await storage.get("k") is None


@pytest.mark.parametrize(("length", "expected"), [(3, b"012"), (10, b"0123456789"), (100, b"0123456789")])
async def test_a_head_is_as_long_as_asked_or_as_the_object(storage, length, expected):
    await storage.put("k", b"0123456789")
    assert await storage.head("k", length) == expected


async def test_an_empty_object_is_an_object(storage):
    await storage.put("k", b"")
    assert (await storage.get("k")).data == b""
    assert await storage.modified("k") is not None


async def test_a_large_object_streams_whole(storage):
    data = bytes(range(256)) * 8192
    await storage.put("k", data)
    assert b"".join([piece async for piece in storage.stream("k")]) == data


async def test_a_reader_that_is_slower_than_a_request_may_last_gets_the_object_whole(storage, monkeypatch):
    monkeypatch.setattr("backburner.storage.storage._STREAMED_SECONDS", 0.0)
    data = bytes(range(256)) * 8192
    await storage.put("k", data)
    with counted_requests() as count:
        pieces = [piece async for piece in storage.stream("k")]
    assert b"".join(pieces) == data
    assert count.reads == len(pieces)


async def test_an_object_that_is_replaced_while_it_is_streamed_is_never_mixed_with_the_new_one(storage, monkeypatch):
    monkeypatch.setattr("backburner.storage.storage._STREAMED_SECONDS", 0.0)
    await storage.put("k", b"1" * 2_000_000)
    stream = storage.stream("k")
    assert set(await anext(stream)) == set(b"1")
    await storage.put("k", b"2" * 2_000_000)
    with suppress(ObjectReplaced):
        async for piece in stream:
            assert set(piece) == set(b"1")


async def test_a_part_of_an_object_is_read_by_its_place(storage):
    await storage.put("k", b"0123456789")
    assert bytes(await storage.part("k", 3, 4)) == b"3456"
    assert bytes(await storage.part("k", 9, 1)) == b"9"
    with pytest.raises(StoreError):
        await storage.part("none", 0, 1)


async def test_a_part_of_an_object_that_was_replaced_is_refused(storage):
    await storage.put("f/k", b"0123456789")
    (listed,) = [one async for one in storage.scan("f")]
    assert listed.etag is not None
    assert bytes(await storage.part("f/k", 0, 2, listed.etag)) == b"01"
    await storage.put("f/k", b"another text")
    with pytest.raises(ObjectReplaced):
        await storage.part("f/k", 0, 2, listed.etag)


async def test_what_is_written_in_pieces_exists_whole_at_the_end_and_not_before(storage):
    pieces = [bytes([number]) * 700_000 for number in range(30)]
    async with storage.writer("k") as writer:
        for piece in pieces:
            await writer.write(piece)
            assert await storage.modified("k") is None
    assert b"".join([piece async for piece in storage.stream("k")]) == b"".join(pieces)


@pytest.mark.parametrize("count", [1, 30])
async def test_a_write_in_pieces_that_breaks_off_changes_nothing(storage, count):
    await storage.put("k", b"before")

    async def write(key):
        async with storage.writer(key) as writer:
            for _ in range(count):
                await writer.write(b"x" * 700_000)
            raise asyncio.CancelledError

    for key in ("k", "new"):
        with pytest.raises(asyncio.CancelledError):
            await write(key)
    assert [listed.key async for listed in storage.scan("")] == ["k"]
    assert (await storage.get("k")).data == b"before"


async def test_nothing_written_in_pieces_is_an_empty_object(storage):
    async with storage.writer("k"):
        pass
    assert (await storage.get("k")).data == b""


async def test_a_scan_gives_every_key_below_the_prefix_and_no_other(storage):
    wanted = [f"a/{number:04}.json" for number in range(1100)]
    await asyncio.gather(*(storage.put(key, b"x") for key in [*wanted, "ab/other", "b/other"]))
    found = [listed async for listed in storage.scan("a/")]
    assert sorted(listed.key for listed in found) == wanted
    assert {listed.size for listed in found} == {1}
    assert [listed.key async for listed in storage.scan("nothing/")] == []


async def test_a_scan_is_in_key_order_from_the_place_where_it_begins(storage):
    names = [f"n/{number * 37 % 101:03d}" for number in range(40)]
    for name in names:
        await storage.put(name, b"x")
    assert [listed.key async for listed in storage.scan("n/")] == sorted(names)
    assert [listed.key async for listed in storage.scan("n/", after=sorted(names)[9])] == sorted(names)[10:]


async def test_folders_are_the_names_one_level_down(storage):
    for key in ("jobs/b/1", "jobs/a/1", "jobs/a/2/3", "other/c/1"):
        await storage.put(key, b"x")
    assert await storage.folders("jobs/") == ["a", "b"]
    assert await storage.folders("jobs/", after="a") == ["b"]


async def test_what_is_deleted_is_gone(storage):
    for key in ("a", "b", "c"):
        await storage.put(key, b"x")
    await storage.delete(["a", "b"])
    assert [listed.key async for listed in storage.scan("")] == ["c"]


async def test_what_is_not_there_any_more_keeps_nothing_else_from_being_deleted(storage):
    there, gone = [f"there/{number:02d}" for number in range(40)], [f"gone/{number:02d}" for number in range(40)]
    for name in there:
        await storage.put(name, b"x")
    await storage.delete([name for pair in zip(gone, there, strict=True) for name in pair])
    assert [listed.key async for listed in storage.scan("there/")] == []


async def test_percent_signs_in_keys_are_kept(storage):
    await storage.put("answers/a%2Fb.json", b"x")
    assert [listed.key async for listed in storage.scan("answers/")] == ["answers/a%2Fb.json"]
    assert (await storage.get("answers/a%2Fb.json")).data == b"x"


async def test_wrong_credentials_are_told_at_once(server, monkeypatch):
    for name, value in {**server.environment, "AWS_SECRET_ACCESS_KEY": "wrong"}.items():
        monkeypatch.setenv(name, value)
    denied = Storage.open(Settings(store_url="s3://backburner/x", store_endpoint=server.endpoint))
    with pytest.raises(StoreDenied, match="AWS_SECRET_ACCESS_KEY"):
        await denied.get("k")


def test_missing_credentials_are_told_before_anything_is_asked(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match="AWS_ACCESS_KEY_ID"):
        Storage.open(Settings(store_url="s3://backburner/x", store_endpoint="http://127.0.0.1:9"))


@pytest.mark.parametrize("url", ["", "s3://", "ftp://host/x", "nonsense"])
def test_a_url_that_is_not_understood_is_told_with_the_right_form(url):
    with pytest.raises(SettingsError, match="BACKBURNER_STORE_URL"):
        Storage.open(Settings(store_url=url))


# --- its clock ---


async def test_the_clock_of_a_store_can_be_measured(storage):
    clock = await storage.measure_clock(anew=True)
    assert clock.trusted
    assert clock.now() == pytest.approx(time.time(), abs=15)


class _Offset:
    seconds = 0.0

    def clock_offset(self, seconds):
        self.seconds = seconds


@pytest.mark.parametrize("shift", [120.0, -3_600.0])
async def test_a_store_whose_clock_is_off_is_noticed_and_judges_nothing(server, tmp_path, monkeypatch, caplog, shift):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with ShiftedStore(server.endpoint, shift) as proxy:
        storage = Storage.open(Settings(store_url=f"s3://backburner/{tmp_path.name}", store_endpoint=proxy.endpoint))
        readiness, offset = Readiness(), _Offset()
        keeper = ClockKeeper(storage.clock, partial(storage.measure_clock, anew=True), readiness, offset)
        readiness.join()
        await storage.measure_clock()
        keeper.look()
        assert offset.seconds == pytest.approx(shift, abs=15)
        assert storage.clock.trusted_now() == -math.inf
        assert "this machine's clock is" in readiness.line
        assert "ending and deleting nothing" in caplog.text
        await storage.put("listed/a", b"")
        [listed] = [one async for one in storage.scan("listed/")]
        assert listed.modified == pytest.approx(time.time() + shift, abs=15)
        proxy.shift_seconds = 0.0
        await storage.measure_clock(anew=True)
        keeper.look()
        assert readiness.line == "ready"


@pytest.mark.parametrize(("shift", "says"), [(120.0, "behind"), (-120.0, "ahead of")])
async def test_the_doctor_finds_a_clock_that_is_two_minutes_off(server, tmp_path, monkeypatch, shift, says):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    with ShiftedStore(server.endpoint, shift) as proxy:
        storage = Storage.open(Settings(store_url=f"s3://backburner/{tmp_path.name}", store_endpoint=proxy.endpoint))
        found = {one.subject: one async for one in examine_store(storage)}
    assert found["store"].level is Level.OK
    assert found["clock"].level is Level.WRONG
    assert f"s {says} the object store's" in found["clock"].message
