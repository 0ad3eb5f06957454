"""Every route of the gateway against the objects of another tenant: it sees none, and changes none."""

import re

import pytest
from gateway import batch_lines, gateway_over

from backburner.gateway.api import routes
from backburner.testing import FakeSystem
from backburner_schemas.request import Endpoint

CALLS = sorted(
    (method.upper(), path)
    for path, found in routes().openapi()["paths"].items()
    for method in found
    if method != "parameters"
)
ABOUT_ONE = [(method, path) for method, path in CALLS if "{" in path and "{model}" not in path]
BODIES = {"/v1/uploads/{upload_id}/complete": {"part_ids": ["part_" + "0" * 26]}}
NONE_OF_A_TENANT = {"/v1/models", "/v1/models/{model}"}
MADE = {"/v1/files", "/v1/batches", "/v1/uploads", *(url.replace("/v1", "/v1/async", 1) for url in Endpoint)}


class Victim:
    """A tenant with one of everything."""

    def __init__(self, gateway, client):
        self.gateway, self.client = gateway, client
        self.ids = {}

    async def fill(self):
        file = (
            await self.client.post("/v1/files", files={"file": ("a", batch_lines(2))}, data={"purpose": "batch"})
        ).json()
        wanted = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = (await self.client.post("/v1/batches", json=wanted)).json()
        await self.gateway.dispatch(batch["id"], "victim", only=1)
        upload = {"filename": "a", "bytes": 4, "purpose": "batch", "mime_type": "x"}
        upload = (await self.client.post("/v1/uploads", json=upload)).json()
        part = await self.client.post(f"/v1/uploads/{upload['id']}/parts", files={"data": ("upload", b"{}\n\n")})
        single = {"model": "fake", "messages": []}
        single = (await self.client.post("/v1/async/chat/completions", json=single)).json()
        self.ids = {
            "file_id": [file["id"], f"file-{batch['id']}-output", f"file-{batch['id']}-errors"],
            "batch_id": [batch["id"]],
            "upload_id": [upload["id"]],
            "request_id": [single["id"]],
        }
        BODIES["/v1/uploads/{upload_id}/complete"]["part_ids"] = [part.json()["id"]]

    async def objects(self):
        found = {}
        for prefix in ("tenants/victim/", "open/victim/", "pending/victim/", "markers/"):
            async for listed in self.gateway.storage.scan(prefix):
                if "/audit/" not in listed.key:
                    found[listed.key] = (await self.gateway.storage.get(listed.key)).data
        return found


@pytest.fixture
async def victim():
    async with FakeSystem() as system, gateway_over(system) as gateway:
        one = Victim(gateway, await gateway.client("victim"))
        await one.fill()
        yield one


async def attack(client, method, path):
    if path.endswith("/parts"):
        return await client.request(method, path, files={"data": ("upload", b"{}\n\n")})
    body = next(
        (body for route, body in BODIES.items() if re.fullmatch(route.replace("{upload_id}", ".*"), path)), None
    )
    return await client.request(method, path, **({} if body is None else {"json": body}))


def test_the_matrix_covers_every_route():
    assert {path for _, path in ABOUT_ONE} | NONE_OF_A_TENANT | MADE == {path for _, path in CALLS}


@pytest.mark.parametrize(("method", "path"), ABOUT_ONE)
async def test_another_tenants_object_is_not_found_and_stays_as_it_is(victim, method, path):
    attacker = await victim.gateway.client("attacker")
    before = await victim.objects()
    (name,) = re.findall(r"\{(\w+)\}", path)
    for guess in victim.ids[name]:
        answer = await attack(attacker, method, path.replace(f"{{{name}}}", guess))
        assert answer.status_code == 404, (guess, answer.text)
        assert answer.json()["error"]["type"] == "invalid_request_error"
    assert await victim.objects() == before
    # The same calls find it for its owner: the matrix knows what it is asking for.
    found = [await attack(victim.client, method, path.replace(f"{{{name}}}", guess)) for guess in victim.ids[name]]
    assert all(answer.status_code != 404 for answer in found)


async def test_no_list_shows_another_tenants_objects(victim):
    attacker = await victim.gateway.client("attacker")
    for path in ("/v1/files", "/v1/batches"):
        assert (await attacker.get(path)).json()["data"] == []
        for after in (ids[0] for ids in victim.ids.values()):
            answer = await attacker.get(path, params={"after": after})
            assert answer.status_code == 400 or answer.json()["data"] == []


async def test_nothing_is_made_of_another_tenants_file_or_parts(victim):
    attacker = await victim.gateway.client("attacker")
    wanted = {"input_file_id": victim.ids["file_id"][0], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert (await attacker.post("/v1/batches", json=wanted)).status_code == 404
    for output in victim.ids["file_id"][1:]:
        assert (await attacker.post("/v1/batches", json={**wanted, "input_file_id": output})).status_code == 404
    upload = {"filename": "a", "bytes": 4, "purpose": "batch", "mime_type": "x"}
    upload = (await attacker.post("/v1/uploads", json=upload)).json()
    answer = await attacker.post(
        f"/v1/uploads/{upload['id']}/complete", json=BODIES["/v1/uploads/{upload_id}/complete"]
    )
    assert answer.status_code == 400
    traversal = f"../../../victim/uploads/{victim.ids['upload_id'][0]}/parts/part_x"
    answer = await attacker.post(f"/v1/uploads/{upload['id']}/complete", json={"part_ids": [traversal]})
    assert answer.status_code == 400


async def test_another_tenants_key_of_a_call_means_nothing(victim):
    key = {"idempotency-key": "shared"}
    one, other = await victim.gateway.client("victim"), await victim.gateway.client("attacker")
    upload = {"filename": "a", "bytes": 4, "purpose": "batch", "mime_type": "x"}
    first = (await one.post("/v1/uploads", json=upload, headers=key)).json()["id"]
    assert (await other.post("/v1/uploads", json=upload, headers=key)).json()["id"] != first
