"""Keys, quotas and the audit log as callers meet them, over HTTP."""

import json
from contextlib import AsyncExitStack

import pytest
from gateway import batch_lines, gateway_over

from backburner.gateway.auth.principal import Scope
from backburner.testing import FakeSystem


@pytest.fixture
async def make_gateway(tmp_path):
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(FakeSystem())

        async def make(quotas="", **settings):
            file = tmp_path / "quotas.toml"
            file.write_text(quotas)
            return await stack.enter_async_context(gateway_over(system, quotas_file=str(file), **settings))

        yield make


async def upload(client, count=2):
    return await client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("in.jsonl", batch_lines(count))})


async def create(client, file_id, **headers):
    body = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return await client.post("/v1/batches", json=body, headers=headers)


def code_of(answer):
    return answer.status_code, answer.json()["error"]["code"]


async def test_a_caller_over_its_rate_is_told_when_to_come_back(make_gateway):
    gateway = await make_gateway('[default.each_caller]\nrequests = "2/hour"')
    client, other = await gateway.client(), await gateway.client()
    first, second, third = [await client.get("/v1/models") for _ in range(3)]
    assert [one.headers["x-ratelimit-remaining-requests"] for one in (first, second, third)] == ["1", "0", "0"]
    assert code_of(third) == (429, "rate_limit_exceeded")
    assert int(third.headers["retry-after"]) >= 1
    assert int(third.headers["retry-after-ms"]) >= 1
    assert (await other.get("/v1/models")).status_code == 200


async def test_a_tenant_has_no_more_batches_than_its_quota(make_gateway):
    gateway = await make_gateway("[tenants.acme]\njobs = 1")
    client = await gateway.client("acme")
    file = (await upload(client)).json()["id"]
    assert (await create(client, file)).status_code == 200
    refused = await create(client, file)
    assert code_of(refused) == (429, "insufficient_quota")
    other = await gateway.client("other")
    for _ in range(2):
        assert (await create(other, (await upload(other)).json()["id"])).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"x-stainless-retry-count": "1"}, {"idempotency-key": "k"}], ids=["stock package", "own key"]
)
async def test_what_the_quota_refused_is_refused_when_it_is_called_again(make_gateway, headers):
    gateway = await make_gateway("[default]\njobs = 1")
    client = await gateway.client()
    first, second = [(await upload(client)).json()["id"] for _ in range(2)]
    assert (await create(client, first)).status_code == 200
    assert code_of(await create(client, second, **(headers if "idempotency-key" in headers else {})))[0] == 429
    assert code_of(await create(client, second, **headers)) == (429, "insufficient_quota")
    assert len((await client.get("/v1/batches")).json()["data"]) == 1


async def test_what_is_over_the_quota_is_not_kept(make_gateway):
    gateway = await make_gateway("[default]\nstored_bytes = 2_000")
    client = await gateway.client("acme")
    assert (await upload(client)).status_code == 200
    before = {one.key async for one in gateway.storage.scan("tenants/acme/")}
    assert code_of(await upload(client, 100)) == (429, "insufficient_quota")
    assert {one.key async for one in gateway.storage.scan("tenants/acme/")} == before


async def test_parts_of_an_upload_are_held_to_the_quota_whatever_was_announced(make_gateway):
    gateway = await make_gateway("[default]\nstored_bytes = 2_000")
    client = await gateway.client()
    wanted = {"filename": "a", "purpose": "batch", "mime_type": "x"}

    async def add(size):
        place = f"/v1/uploads/{made.json()['id']}/parts"
        return await client.post(place, files={"data": ("upload", b"x" * size)})

    assert code_of(await client.post("/v1/uploads", json={**wanted, "bytes": 3_000})) == (429, "insufficient_quota")
    made = await client.post("/v1/uploads", json={**wanted, "bytes": 1_500})
    assert (await add(1_500)).status_code == 200
    before = {one.key async for one in gateway.storage.scan("tenants/default/")}
    assert code_of(await add(1_000)) == (429, "insufficient_quota")
    assert {one.key async for one in gateway.storage.scan("tenants/default/")} == before


async def test_a_key_without_the_scope_is_refused_and_recorded(make_gateway):
    gateway = await make_gateway()
    reader, writer = await gateway.client("acme", (Scope.READ,)), await gateway.client("acme", (Scope.WRITE,))
    assert code_of(await upload(reader)) == (403, "permission_denied")
    assert code_of(await writer.get("/v1/files")) == (403, "permission_denied")
    assert (await reader.get("/v1/files")).status_code == 200
    refused = [one for one in await audited(gateway) if one["action"] == "refused"]
    assert [(one["reason"], one["count"]) for one in refused] == [("scope", 1), ("scope", 1)]


async def test_what_callers_did_is_recorded_and_no_key_is_anywhere(make_gateway):
    gateway = await make_gateway()
    secret = await gateway.secret("acme")
    client = await gateway.client("acme")
    client.headers["authorization"] = f"Bearer {secret}"
    file = (await upload(client)).json()["id"]
    batch = (await create(client, file)).json()["id"]
    await client.get(f"/v1/files/{file}/content")
    await client.post(f"/v1/batches/{batch}/cancel")
    await client.delete(f"/v1/files/{file}")
    found = await audited(gateway)
    assert [(one["action"], one["target"]) for one in found] == [
        ("file.uploaded", file),
        ("batch.created", batch),
        ("file.downloaded", file),
        ("batch.cancelled", batch),
        ("file.deleted", file),
    ]
    assert {one["subject"][:4] for one in found} == {"key_"}
    async for one in gateway.storage.scan(""):
        assert secret[9:].encode() not in (await gateway.storage.get(one.key)).data


async def audited(gateway, tenant="acme"):
    await gateway.parts.audit.flush()
    return [
        json.loads(line)
        async for one in gateway.storage.scan(f"tenants/{tenant}/audit/")
        for line in (await gateway.storage.get(one.key)).data.splitlines()
    ]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "127.0.0.1:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "localhost"}, 200),
        ({"host": "attacker.test:8000"}, 400),
        ({"host": "127.0.0.1.attacker.test"}, 400),
        ({"host": "[::1"}, 400),
        ({"host": ""}, 400),
        ({"origin": "https://attacker.test"}, 400),
        ({"origin": "null"}, 400),
        ({"origin": "http://127.0.0.1:8000"}, 400),
    ],
    ids=str,
)
async def test_without_keys_web_pages_are_not_served(make_gateway, headers, status):
    gateway = await make_gateway(gateway_anonymous_tenant="local", gateway_listen_host="127.0.0.1")
    client = await gateway.client()
    client.headers = {"host": "localhost:8000", **headers}
    assert (await client.get("/v1/models")).status_code == status
    # Who has a key is somebody.
    client.headers["authorization"] = f"Bearer {await gateway.secret()}"
    assert (await client.get("/v1/models")).status_code == 200
