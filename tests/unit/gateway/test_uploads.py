"""Uploads in parts: one file in the order that was named, or nothing."""

import asyncio
import hashlib
import json

import pytest
from gateway import batch_lines, gateway_over

from backburner.storage import Storage
from backburner.testing import FakeSystem
from backburner_schemas import keys

DATA = batch_lines(9)


@pytest.fixture
async def gateway():
    async with FakeSystem() as system, gateway_over(system, gateway_max_file_bytes=4096) as made:
        yield made


async def begin(client, size=None, **more):
    size = len(DATA) if size is None else size
    wanted = {"filename": "a.jsonl", "bytes": size, "purpose": "batch", "mime_type": "application/jsonl", **more}
    answer = await client.post("/v1/uploads", json=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def add(client, upload, data):
    return await client.post(f"/v1/uploads/{upload['id']}/parts", files={"data": ("upload", data)})


async def complete(client, upload, parts, **more):
    return await client.post(f"/v1/uploads/{upload['id']}/complete", json={"part_ids": parts, **more})


async def objects(gateway, prefix):
    return [listed.key async for listed in gateway.storage.scan(prefix)]


async def test_parts_become_one_file_in_the_order_that_was_named(gateway):
    client = await gateway.client()
    upload = await begin(client, expires_after={"anchor": "created_at", "seconds": 7200})
    assert (upload["status"], upload["bytes"], upload["expires_at"] - upload["created_at"]) == (
        "pending",
        len(DATA),
        3600,
    )
    last, first = [(await add(client, upload, piece)).json() for piece in (DATA[500:], DATA[:500])]
    assert (last["object"], last["upload_id"]) == ("upload.part", upload["id"])
    done = (await complete(client, upload, [first["id"], last["id"]], md5=hashlib.md5(DATA).hexdigest())).json()
    assert (done["status"], done["file"]["bytes"], done["file"]["filename"]) == ("completed", len(DATA), "a.jsonl")
    assert done["file"]["expires_at"] - done["file"]["created_at"] == 7200
    assert (await client.get(f"/v1/files/{done['file']['id']}/content")).content == DATA
    assert await objects(gateway, keys.upload_part("default", upload["id"], "")) == []
    assert (await complete(client, upload, [first["id"], last["id"]])).json() == done
    assert len((await client.get("/v1/files")).json()["data"]) == 1


async def test_completing_again_does_not_bring_a_deleted_file_back_empty(gateway):
    client = await gateway.client()
    upload = await begin(client)
    part = (await add(client, upload, DATA)).json()["id"]
    done = (await complete(client, upload, [part])).json()
    await client.delete(f"/v1/files/{done['file']['id']}")
    assert (await complete(client, upload, [part])).status_code == 409
    assert (await client.get("/v1/files")).json()["data"] == []


@pytest.mark.parametrize("lost", ["/end.json", "/files/"])
async def test_nothing_is_acknowledged_where_the_store_lets_nobody_win(gateway, monkeypatch, lost):
    client = await gateway.client()
    upload = await begin(client)
    part = (await add(client, upload, DATA)).json()["id"]
    create = Storage.create

    async def refusing(self, key, data):
        return False if lost in key else await create(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "create", refusing)
        assert (await complete(client, upload, [part])).status_code == 503
    done = await complete(client, upload, [part])
    assert (await client.get(f"/v1/files/{done.json()['file']['id']}/content")).content == DATA


async def test_completing_at_the_same_moment_makes_one_file(gateway):
    client = await gateway.client()
    upload = await begin(client)
    part = (await add(client, upload, DATA)).json()["id"]
    answers = await asyncio.gather(*(complete(client, upload, [part]) for _ in range(4)), return_exceptions=True)
    made = {answer.json()["file"]["id"] for answer in answers if answer.status_code == 200}
    assert len(made) == 1
    assert len((await client.get("/v1/files")).json()["data"]) == 1


async def test_parts_that_are_not_what_was_announced_make_no_file(gateway):
    client = await gateway.client()
    upload = await begin(client)
    one, two = [(await add(client, upload, piece)).json()["id"] for piece in (DATA[:500], DATA[500:])]
    for parts, param in (
        ([one], "part_ids"),
        ([one, one], "part_ids"),
        ([one, "part_" + "0" * 26], "part_ids"),
        ([one, "../../x"], "part_ids"),
    ):
        answer = await complete(client, upload, parts)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    answer = await complete(client, upload, [one, two], md5="0" * 32)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "md5")
    # In the wrong order a line is broken.
    assert (await complete(client, upload, [two, one])).status_code == 400
    assert await objects(gateway, keys.contents("default")) == []
    assert (await complete(client, upload, [one, two])).status_code == 200


async def test_a_cancelled_upload_leaves_no_parts_and_takes_no_more(gateway):
    client = await gateway.client()
    upload = await begin(client)
    part = (await add(client, upload, DATA)).json()["id"]
    for _ in range(2):
        assert (await client.post(f"/v1/uploads/{upload['id']}/cancel")).json()["status"] == "cancelled"
    assert await objects(gateway, keys.upload_part("default", upload["id"], "")) == []
    assert (await add(client, upload, DATA)).status_code == 409
    assert (await complete(client, upload, [part])).status_code == 409


async def test_a_completed_upload_is_not_cancelled(gateway):
    client = await gateway.client()
    upload = await begin(client)
    part = (await add(client, upload, DATA)).json()["id"]
    await complete(client, upload, [part])
    assert (await client.post(f"/v1/uploads/{upload['id']}/cancel")).status_code == 409


async def test_an_expired_upload_is_gone(gateway):
    client = await gateway.client()
    upload = await begin(client)
    key = keys.upload_entry("default", upload["id"])
    stored = json.loads((await gateway.storage.get(key)).data)
    await gateway.storage.put(key, json.dumps({**stored, "expires_at": 1.0}).encode())
    assert (await add(client, upload, DATA)).status_code == 404


async def test_no_more_is_taken_than_twice_what_was_announced(gateway, monkeypatch):
    monkeypatch.setattr("backburner.gateway.uploads.upload_store.PART_LIMIT_BYTES", 100)
    client = await gateway.client()
    upload = await begin(client, size=100)
    answers = [(await add(client, upload, b"x" * 100)).status_code for _ in range(4)]
    assert answers == [200, 200, 200, 413]
    assert (await add(client, upload, b"x" * 101)).status_code == 413


async def test_parts_that_are_sent_at_once_are_no_more_than_may_lie_there(gateway, monkeypatch):
    monkeypatch.setattr("backburner.gateway.uploads.upload_store.PART_LIMIT_BYTES", 100)
    client = await gateway.client()
    upload = await begin(client, size=100)
    answers = await asyncio.gather(*(add(client, upload, b"x" * 100) for _ in range(8)))
    assert {answer.status_code for answer in answers} <= {200, 413}
    kept = [answer.json()["id"] for answer in answers if answer.status_code == 200]
    prefix = keys.upload_part("default", upload["id"], "")
    assert sorted(await objects(gateway, prefix)) == sorted(prefix + part for part in kept)
    assert len(kept) <= 3


async def test_an_upload_has_no_more_parts_than_can_be_named(gateway, monkeypatch):
    monkeypatch.setattr("backburner.gateway.uploads.upload_store.MAX_PARTS", 2)
    client = await gateway.client()
    upload = await begin(client)
    assert [(await add(client, upload, b"x")).status_code for _ in range(3)] == [200, 200, 413]
    upload = await begin(client)
    await asyncio.gather(*(add(client, upload, b"x") for _ in range(8)))
    assert len(await objects(gateway, keys.upload_part("default", upload["id"], ""))) <= 2


@pytest.mark.parametrize(
    "change",
    [{"purpose": "vision"}, {"bytes": 0}, {"filename": ""}, {"colour": "red"}, {"expires_after": {"seconds": 1}}],
)
async def test_an_argument_that_cannot_be_is_refused(gateway, change):
    wanted = {"filename": "a", "bytes": 1, "purpose": "batch", "mime_type": "x", **change}
    assert (await (await gateway.client()).post("/v1/uploads", json=wanted)).status_code == 400


async def test_a_file_over_the_limit_is_refused_before_its_first_part(gateway):
    wanted = {"filename": "a", "bytes": 4097, "purpose": "batch", "mime_type": "x"}
    assert (await (await gateway.client()).post("/v1/uploads", json=wanted)).status_code == 413


async def test_the_same_key_begins_one_upload(gateway):
    client = await gateway.client(**{"idempotency-key": "k"})
    assert (await begin(client))["id"] == (await begin(client))["id"]


async def test_an_id_that_was_never_given_out_is_not_found(gateway):
    client = await gateway.client()
    for upload_id in ("upload_x", keys.new_upload_id(), "..%2f..", "x" * 300):
        assert (await add(client, {"id": upload_id}, DATA)).status_code == 404
        assert (await complete(client, {"id": upload_id}, ["part_x"])).status_code == 404
        assert (await client.post(f"/v1/uploads/{upload_id}/cancel")).status_code == 404
