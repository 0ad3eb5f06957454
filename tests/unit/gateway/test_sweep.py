"""What the gateway's sweep removes, and what it leaves alone."""

import asyncio
import time
from contextlib import suppress

import pytest
from gateway import batch_lines, gateway_over

from backburner.gateway import sweep as sweeping
from backburner.gateway.files.file_store import FileStore
from backburner.gateway.sweep import GatewaySweep
from backburner.storage import Storage
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import StoreError

DAY_SECONDS = 24 * 3600.0


@pytest.fixture
async def gateway():
    async with FakeSystem() as system, gateway_over(system) as made:
        yield made


async def upload(client, **fields):
    answer = await client.post("/v1/files", files={"file": ("a", batch_lines(2))}, data={"purpose": "batch", **fields})
    return answer.json()["id"]


async def sweep(gateway, later=0.0):
    await GatewaySweep(gateway.storage, seconds=1.0, now=lambda: time.time() + later).sweep()


async def objects(gateway, prefix="tenants/default/"):
    found = [listed.key async for listed in gateway.storage.scan(prefix)]
    return {key for key in found if "/audit/" not in key}


HOUR = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}


async def test_a_file_goes_when_it_has_expired_and_not_before(gateway):
    client = await gateway.client()
    await upload(client, **HOUR)
    kept = await upload(client)
    before = await objects(gateway)
    await sweep(gateway, 3590)
    assert await objects(gateway) == before
    await sweep(gateway, 3610)
    assert [file["id"] for file in (await client.get("/v1/files")).json()["data"]] == [kept]
    assert await objects(gateway, keys.contents("default")) == {keys.content("default", kept)}
    assert len(await objects(gateway, keys.expiries("default"))) == 1


async def test_however_many_expired_some_are_held_at_a_time(gateway, monkeypatch):
    monkeypatch.setattr(sweeping, "_TOGETHER_COUNT", 3)
    client = await gateway.client()
    ids = [await upload(client, **HOUR) for _ in range(8)]
    wanted = {"input_file_id": ids[0], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    for _ in range(20):
        assert (await client.post("/v1/batches", json=wanted)).status_code == 200
    asked, needed = [], FileStore.needed

    async def seen(self, among):
        found = await needed(self, among)
        asked.append((len(among), set(found)))
        return found

    monkeypatch.setattr(FileStore, "needed", seen)
    await sweep(gateway, 3610)
    # Each time once before the files' entries go and once after, those that were needed the first time left out. Which
    # of them has the needed one goes by the second in which each was uploaded.
    before, after = asked[::2], asked[1::2]
    assert [count for count, _ in before] == [3, 3, 2]
    assert [count for count, _ in after] == [count - len(found) for count, found in before]
    assert [found for _, found in asked if found] == [{ids[0]}]
    assert await objects(gateway, keys.contents("default")) == {keys.content("default", ids[0])}


async def test_an_expired_file_stays_while_a_batch_needs_it(gateway):
    client = await gateway.client()
    file_id = await upload(client, **HOUR)
    wanted = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = (await client.post("/v1/batches", json=wanted)).json()
    await sweep(gateway, 3610)
    assert await objects(gateway, keys.contents("default")) == {keys.content("default", file_id)}
    await gateway.dispatch(batch["id"])
    await sweep(gateway, 3610)
    assert await objects(gateway, keys.contents("default")) == set()


async def delete(gateway, file_id):
    await (await gateway.client()).delete(f"/v1/files/{file_id}")


async def expire(gateway, file_id):
    await sweep(gateway, 3610)


async def batch_of(client, file_id, **more):
    wanted = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return await client.post("/v1/batches", json=wanted, **more)


def once_after(monkeypatch, name, then):
    """Do something else behind the first call of a method of `FileStore`, before its caller hears of it."""
    method, calls = getattr(FileStore, name), []

    async def first(self, *args):
        found = await method(self, *args)
        calls.append(args)
        if len(calls) == 1:
            await then()
        return found

    monkeypatch.setattr(FileStore, name, first)


@pytest.mark.parametrize("remove", [delete, expire])
async def test_a_file_that_goes_while_a_batch_is_made_of_it_is_put_back(gateway, monkeypatch, remove):
    client = await gateway.client()
    file_id = await upload(client, **HOUR)
    made = []

    async def make():
        made.append(await batch_of(client, file_id))

    once_after(monkeypatch, "needed", make)
    await remove(gateway, file_id)
    assert made[0].status_code == 200
    assert (await client.get(f"/v1/files/{file_id}")).status_code == 200
    await gateway.dispatch(made[0].json()["id"])
    await sweep(gateway, 3610)
    assert not await objects(gateway, keys.contents("default"))
    assert not await objects(gateway, keys.expiries("default"))


@pytest.mark.parametrize("remove", [delete, expire])
async def test_a_batch_of_a_file_that_goes_meanwhile_is_not_accepted(gateway, monkeypatch, remove):
    client = await gateway.client()
    file_id = await upload(client, **HOUR)
    once_after(monkeypatch, "find", lambda: remove(gateway, file_id))
    answer = await batch_of(client, file_id)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "file_not_found")
    assert [batch["status"] for batch in (await client.get("/v1/batches")).json()["data"]] == ["cancelling"]
    assert not await objects(gateway, keys.contents("default"))


async def test_a_batch_that_was_accepted_stays_so_when_its_call_comes_again_while_its_file_is_deleted(
    gateway, monkeypatch
):
    client = await gateway.client()
    file_id, real, answers = await upload(client), FileStore.needed, []

    async def needed(self, among):
        found = await real(self, among) if not answers else None
        # Between the first look and the second one, and behind that.
        answers.append(await batch_of(client, file_id, headers={"idempotency-key": "k"}))
        return await real(self, among) if found is None else found

    monkeypatch.setattr(FileStore, "needed", needed)
    await delete(gateway, file_id)
    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "validating")] * 2


@pytest.mark.parametrize("broken", [StoreError, asyncio.CancelledError])
async def test_a_file_whose_deletion_breaks_off_at_the_second_look_is_there_again(gateway, monkeypatch, broken):
    client = await gateway.client()
    file_id, real, looks = await upload(client), FileStore.needed, []

    async def needed(self, among):
        looks.append(among)
        if len(looks) > 1:
            raise broken
        return await real(self, among)

    monkeypatch.setattr(FileStore, "needed", needed)
    with suppress(broken):
        await FileStore(gateway.storage, "default").delete(file_id)
    assert (await client.get(f"/v1/files/{file_id}")).status_code == 200


async def test_bytes_whose_file_is_half_deleted_stay_while_a_batch_needs_them(gateway):
    client = await gateway.client()
    file_id = await upload(client)
    assert (await batch_of(client, file_id)).status_code == 200
    await gateway.storage.delete([keys.file("default", file_id)])
    await sweep(gateway, 2.1 * DAY_SECONDS)
    assert await objects(gateway, keys.contents("default")) == {keys.content("default", file_id)}


async def test_results_stay_until_their_batch_has_ended_and_their_time_is_over(gateway):
    client = await gateway.client()
    wanted = {"input_file_id": await upload(client), "endpoint": "/v1/chat/completions", "completion_window": "1h"}
    expiring = {**wanted, "output_expires_after": {"anchor": "created_at", "seconds": 3600}}
    job = (await client.post("/v1/batches", json=expiring)).json()["id"]
    # All was down behind the deadline, and nobody has said that the batch is over.
    await gateway.dispatch(job, seal=False)
    await sweep(gateway, 3.1 * 3600)
    assert await objects(gateway, keys.segments("default", job))
    await gateway.system.expire(job)
    await sweep(gateway, 3.1 * 3600)
    assert not await objects(gateway, keys.segments("default", job))


async def test_one_tenants_broken_object_stops_neither_its_own_sweep_nor_that_of_others(gateway):
    for tenant in ("a", "b"):
        client = await gateway.client(tenant)
        await upload(client, **HOUR)
        file_id = await upload(client)
        wanted = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        job = (await client.post("/v1/batches", json=wanted)).json()["id"]
        await gateway.storage.put(keys.manifest(tenant, job), b"{")
        assert (await client.delete(f"/v1/files/{file_id}")).status_code == 200
    await gateway.storage.put(keys.expiries("a") + "000000000001-batch_x", b"")
    await sweep(gateway, 3610)
    for tenant in ("a", "b"):
        assert await objects(gateway, keys.contents(tenant)) == set()


async def test_a_store_that_lists_in_no_order_loses_no_file(gateway, monkeypatch):
    client = await gateway.client()
    kept = {await upload(client) for _ in range(3)}
    scan = Storage.scan

    async def backwards(self, prefix, *, after=None):
        found = [one async for one in scan(self, prefix, after=after)]
        for one in reversed(found) if "/contents/" in prefix else found:
            yield one

    monkeypatch.setattr(Storage, "scan", backwards)
    await sweep(gateway, 3 * DAY_SECONDS)
    assert {key.rpartition("/")[2] for key in await objects(gateway, keys.contents("default"))} == kept


async def test_bytes_without_a_file_go_after_two_days(gateway):
    kept = await upload(await gateway.client())
    for name in (keys.new_file_id(), "zzz", "0"):
        await gateway.storage.put(keys.content("default", name), b"x")
    await sweep(gateway, 1.9 * DAY_SECONDS)
    assert len(await objects(gateway, keys.contents("default"))) == 4
    await sweep(gateway, 2.1 * DAY_SECONDS)
    assert await objects(gateway, keys.contents("default")) == {keys.content("default", kept)}


async def test_an_upload_that_was_given_up_goes_with_its_parts(gateway):
    client = await gateway.client()
    wanted = {"filename": "a", "bytes": 10, "purpose": "batch", "mime_type": "x"}
    made = (await client.post("/v1/uploads", json=wanted)).json()["id"]
    await client.post(f"/v1/uploads/{made}/parts", files={"data": ("upload", b"x" * 10)})
    await sweep(gateway, 3600)
    assert len(await objects(gateway, keys.uploads("default"))) == 2
    await sweep(gateway, 7210)
    assert await objects(gateway, keys.uploads("default")) == set()


async def test_results_go_when_their_batch_said_so(gateway):
    client = await gateway.client()
    wanted = {"input_file_id": await upload(client), "endpoint": "/v1/chat/completions", "completion_window": "1h"}
    expiring = {**wanted, "output_expires_after": {"anchor": "created_at", "seconds": 3600}}
    made = [(await client.post("/v1/batches", json=one)).json()["id"] for one in (wanted, expiring)]
    for job in made:
        await gateway.dispatch(job)
    await sweep(gateway, 3.1 * 3600)
    assert await objects(gateway, keys.segments("default", made[0]))
    assert not await objects(gateway, keys.segments("default", made[1]))
    assert (await client.get(f"/v1/batches/{made[1]}")).json()["status"] == "completed"


async def test_keys_of_calls_are_forgotten_after_a_day(gateway):
    await upload(await gateway.client(**{"idempotency-key": "k"}))
    await sweep(gateway, 0.9 * DAY_SECONDS)
    assert len(await objects(gateway, keys.idempotency_records("default"))) == 1
    await sweep(gateway, 1.1 * DAY_SECONDS)
    assert await objects(gateway, keys.idempotency_records("default")) == set()
