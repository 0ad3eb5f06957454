"""Whatever is stored in the place of a file, an upload or what a call made: callers get an error of ours."""

import json
from itertools import count

import pytest
from gateway import batch_lines, gateway_over
from hostile_objects import HOSTILE_BYTES, hostile_documents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backburner.storage import Storage
from backburner.testing import FakeSystem
from backburner_schemas import keys

TENANT = "default"
CHAT = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}
UPLOAD = {"filename": "a", "bytes": 10, "purpose": "batch", "mime_type": "x"}
EXAMPLES = min(15, settings.default.max_examples // 4)
INTERNAL_STATUS = 500
SHARED_FIXTURE = [HealthCheck.function_scoped_fixture]
keys_of_calls = (f"call-{number}" for number in count())


@pytest.fixture
async def gateway():
    async with FakeSystem() as system, gateway_over(system) as made:
        yield made


def once():
    """Headers of a call that may come twice, and of no other call."""
    return {"idempotency-key": next(keys_of_calls)}


async def file_of(client, headers):
    return await client.post(
        "/v1/files", files={"file": ("a", batch_lines(2))}, data={"purpose": "batch"}, headers=headers
    )


async def upload_of(client, headers):
    return await client.post("/v1/uploads", json=UPLOAD, headers=headers)


async def batch_of(client, headers):
    wanted = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "input_file_id": client.file_id}
    return await client.post("/v1/batches", json=wanted, headers=headers)


async def request_of(client, headers):
    return await client.post("/v1/async/chat/completions", json=CHAT, headers=headers)


async def ask_for_file(client, file_id):
    wanted = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "input_file_id": file_id}
    return [
        await client.get("/v1/files"),
        await client.get(f"/v1/files/{file_id}"),
        await client.get(f"/v1/files/{file_id}/content"),
        await client.post("/v1/batches", json=wanted),
        await client.delete(f"/v1/files/{file_id}"),
    ]


async def ask_for_upload(client, upload_id):
    return [
        await client.post(f"/v1/uploads/{upload_id}/parts", files={"data": ("upload", b"x" * 10)}),
        await client.post(f"/v1/uploads/{upload_id}/complete", json={"part_ids": ["part_" + "0" * 26]}),
        await client.post(f"/v1/uploads/{upload_id}/cancel"),
    ]


def check(answers):
    for answer in answers:
        assert answer.status_code != INTERNAL_STATUS, (answer.request.method, answer.request.url, answer.text)


async def changed(storage: Storage, key: str, data: st.DataObject) -> None:
    """Put something else in the place of that object."""
    valid = json.loads((await storage.get(key)).data)
    await storage.put(key, data.draw(hostile_documents(valid) | st.sampled_from([*HOSTILE_BYTES.values()])))


async def below_others(storage):
    return {one.key async for one in storage.scan("tenants/") if not one.key.startswith(f"tenants/{TENANT}/")}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SHARED_FIXTURE)
@given(data=st.data())
async def test_of_a_file_whatever_its_entry_says(gateway, data):
    client = await gateway.client()
    file_id = (await file_of(client, once())).json()["id"]
    await changed(gateway.storage, keys.file(TENANT, file_id), data)
    check(await ask_for_file(client, file_id))
    await gateway.storage.delete([keys.file(TENANT, file_id)])


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SHARED_FIXTURE)
@given(data=st.data(), ended=st.booleans())
async def test_of_an_upload_whatever_its_entry_and_its_end_say(gateway, data, ended):
    client = await gateway.client()
    upload_id = (await upload_of(client, once())).json()["id"]
    if ended:
        await client.post(f"/v1/uploads/{upload_id}/cancel")
    key = keys.upload_end(TENANT, upload_id) if ended else keys.upload_entry(TENANT, upload_id)
    await changed(gateway.storage, key, data)
    check(await ask_for_upload(client, upload_id))


@pytest.mark.parametrize("making", [file_of, upload_of, batch_of, request_of])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SHARED_FIXTURE)
@given(data=st.data())
async def test_of_a_call_that_comes_twice_whatever_is_kept_of_the_first(gateway, making, data):
    client, storage, headers = await gateway.client(), gateway.storage, once()
    client.file_id = (await file_of(client, {})).json()["id"]
    prefix = keys.idempotency_records(TENANT)
    before = {one.key async for one in storage.scan(prefix)}
    assert (await making(client, headers)).is_success
    new = [one.key async for one in storage.scan(prefix) if one.key not in before]
    (key,) = [one for one in new if (await storage.get(one)).data]
    if data.draw(st.booleans()):
        await changed(storage, key, data)
    else:
        # As it is, but for what was made.
        record = json.loads((await storage.get(key)).data)
        made = {"id": record["made"]} if making is request_of else json.loads(record["made"])
        record["made"] = data.draw(hostile_documents(made).map(bytes.decode) | st.just("../../x"))
        await storage.put(key, json.dumps(record).encode())
    others = await below_others(storage)
    check([await making(client, headers)])
    assert await below_others(storage) == others


@pytest.mark.parametrize(
    "change", [{"created_at": 1e308 * 10}, {"expires_at": -1}, {"id": "file-" + "0" * 26}, {"id": "../x"}]
)
async def test_a_file_that_none_can_be_is_not_there_and_others_are(gateway, change):
    client = await gateway.client()
    bad, good = [(await file_of(client, {})).json()["id"] for _ in range(2)]
    entry = json.loads((await gateway.storage.get(keys.file(TENANT, bad))).data)
    await gateway.storage.put(keys.file(TENANT, bad), json.dumps({**entry, **change}).encode())
    assert [one["id"] for one in (await client.get("/v1/files")).json()["data"]] == [good]
    assert (await client.get(f"/v1/files/{bad}")).status_code == 404


@pytest.mark.parametrize("change", [{"expires_at": 1e308 * 10}, {"id": "upload_" + "0" * 26}])
async def test_an_upload_that_none_can_be_is_told_so(gateway, change):
    client = await gateway.client()
    upload_id = (await upload_of(client, {})).json()["id"]
    entry = json.loads((await gateway.storage.get(keys.upload_entry(TENANT, upload_id))).data)
    await gateway.storage.put(keys.upload_entry(TENANT, upload_id), json.dumps({**entry, **change}).encode())
    assert (await client.post(f"/v1/uploads/{upload_id}/cancel")).status_code == 503


@pytest.mark.parametrize(
    ("making", "made"), [(request_of, "../../x"), (upload_of, "{"), (file_of, "{}"), (batch_of, "[]")]
)
async def test_what_no_call_makes_is_made_again_by_none(gateway, making, made):
    client, storage, headers = await gateway.client(), gateway.storage, once()
    client.file_id = (await file_of(client, {})).json()["id"]
    assert (await making(client, headers)).is_success
    (key,) = [one.key async for one in storage.scan(keys.idempotency_records(TENANT)) if one.size]
    record = json.loads((await storage.get(key)).data)
    await storage.put(key, json.dumps({**record, "made": made}).encode())
    assert (await making(client, headers)).status_code == 503
