"""Files at the gateway: uploaded whole or not at all, listed in order, and each tenant's own."""

import asyncio
import json
from contextlib import AsyncExitStack

import pytest
from gateway import batch_lines, gateway_over
from waiting import until

from backburner.gateway.limits.upload_places import UploadPlaces
from backburner.storage import Storage
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import Overloaded


@pytest.fixture
async def gateway():
    async with FakeSystem() as system, gateway_over(system, gateway_max_file_bytes=4096) as made:
        yield made


async def upload(client, data, *, name="prompts.jsonl", **fields):
    return await client.post("/v1/files", files={"file": (name, data)}, data={"purpose": "batch", **fields})


async def objects(gateway, prefix="tenants/"):
    return sorted([listed.key async for listed in gateway.storage.scan(prefix)])


def error(answer):
    return answer.json()["error"]


async def test_an_uploaded_file_is_given_back_to_the_byte(gateway):
    client, data = await gateway.client(), batch_lines(3)
    made = (await upload(client, data)).json()
    assert (made["object"], made["bytes"], made["filename"], made["purpose"]) == (
        "file",
        len(data),
        "prompts.jsonl",
        "batch",
    )
    assert made["expires_at"] - made["created_at"] == 30 * 24 * 3600
    assert (await client.get(f"/v1/files/{made['id']}")).json() == made
    content = await client.get(f"/v1/files/{made['id']}/content")
    assert content.content == data
    assert content.headers["content-length"] == str(len(data))


async def test_the_parts_of_the_form_may_come_in_any_order(gateway):
    client, data = await gateway.client(), batch_lines(2)
    fields = [("purpose", b"batch"), ("expires_after[anchor]", b"created_at"), ("expires_after[seconds]", b"3600")]
    parts = [*((f'name="{name}"', value) for name, value in fields), ('name="file"; filename="a.jsonl"', data)]
    for order in (parts, parts[::-1]):
        body = b"".join(
            b"--b\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + value + b"\r\n"
            for head, value in order
        )
        answer = await client.post(
            "/v1/files", content=body + b"--b--\r\n", headers={"content-type": "multipart/form-data; boundary=b"}
        )
        made = answer.json()
        assert answer.status_code == 200, made
        assert made["expires_at"] - made["created_at"] == 3600
        assert (await client.get(f"/v1/files/{made['id']}/content")).content == data


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no request"),
        (b"\n \r\n\n", "no request"),
        (b'{"a":1}\nnonsense\n', "line 2"),
        (b'{"a":1}\n["b"]\n', "line 2"),
        (b'{"a":\n1}\n', "line 1"),
        (b'{"a":"\xff"}\n', "UTF-8"),
        (b'{"a":1}\n{"a":"\xc3', "UTF-8"),
        (b'{"a":"' + b"x" * 2000 + b'"}\n', "line 1"),
        (b"\n\n" + b'{"a":"' + b"x" * 2000, "line 3"),
    ],
)
async def test_what_is_no_batch_file_is_refused_with_its_line_and_leaves_nothing(data, told):
    async with FakeSystem() as system, gateway_over(system, max_body_bytes=1024) as gateway:
        before = await objects(gateway)
        answer = await upload(await gateway.client(), data)
        assert answer.status_code == 400
        assert told in error(answer)["message"]
        assert [key for key in await objects(gateway) if key not in before] == []


@pytest.mark.parametrize(
    "data", [b"\xef\xbb\xbf" + batch_lines(1), batch_lines(1).replace(b"\n", b"\r\n"), batch_lines(1).rstrip()]
)
async def test_marks_and_line_ends_of_other_systems_are_taken(gateway, data):
    assert (await upload(await gateway.client(), data)).status_code == 200


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_file_over_the_limit_is_refused_and_leaves_nothing(gateway, chunked):
    client = await gateway.client()
    request = client.build_request(
        "POST", "/v1/files", files={"file": ("a", batch_lines(600))}, data={"purpose": "batch"}
    )
    body = request.read()

    async def pieces():
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    content = pieces() if chunked else body
    answer = await client.post("/v1/files", content=content, headers={"content-type": request.headers["content-type"]})
    assert answer.status_code == 413
    assert error(answer)["code"] == "call_too_large"
    assert await objects(gateway, "tenants/default/contents/") == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"colour": "red"}, "colour"),
        ({"expires_after[anchor]": "created_at"}, "expires_after"),
        ({"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "expires_after"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"}, "expires_after"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "2592001"}, "expires_after"),
        ({"expires_after[anchor]": "created_at", "expires_after[seconds]": "²"}, "expires_after"),
    ],
)
async def test_fields_that_cannot_be_are_refused_by_name_and_leave_nothing(gateway, fields, param):
    answer = await upload(await gateway.client(), batch_lines(1), **fields)
    assert (answer.status_code, error(answer)["param"]) == (400, param)
    assert await objects(gateway, "tenants/default/contents/") == []


def _form(*heads):
    parts = (b"--b\r\nContent-Disposition: form-data" + head + b"\r\n\r\n{}\r\n" for head in heads)
    return b"".join(parts) + b"--b--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        _form(b'; name="purpose"'),
        _form(b'; name="file"').removesuffix(b"--b--\r\n"),
        b"nonsense",
        _form(b'; name="file"', b'; name="file"'),
        _form(b""),
        _form(b'; name="file"\r\nContent-Transfer-Encoding: base64'),
    ],
)
async def test_a_form_without_exactly_one_file_is_refused(gateway, body):
    answer = await (await gateway.client()).post(
        "/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"}
    )
    assert answer.status_code == 400
    assert await objects(gateway, "tenants/default/contents/") == []


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.jsonl", "a.jsonl"),
        ("..", "upload"),
        ("a\x1b[31m.jsonl", "a_[31m.jsonl"),
        ("x" * 400, "x" * 255),
        ("größe.jsonl", "größe.jsonl"),
    ],
)
async def test_a_files_name_is_kept_without_what_a_path_or_a_terminal_takes_as_its_own(gateway, name, kept):
    client = await gateway.client()
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="'
        + name.replace("\\", "\\\\").encode()
        + b'"\r\n\r\n'
        + batch_lines(1)
        + b"\r\n--b--\r\n"
    )
    answer = await client.post("/v1/files", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.json()["filename"] == kept
    content = await client.get(f"/v1/files/{answer.json()['id']}/content")
    assert content.headers["content-disposition"].isascii()


async def test_files_are_listed_in_pages_newest_first_or_oldest_first(gateway):
    client = await gateway.client()
    made = [(await upload(client, batch_lines(1), name=f"{number}")).json()["id"] for number in range(5)]
    for order, wanted in (("desc", sorted(made)), ("asc", sorted(made, reverse=True))):
        found, after = [], None
        while True:
            page = (
                await client.get(
                    "/v1/files", params={"limit": 2, "order": order, **({"after": after} if after else {})}
                )
            ).json()
            found += [file["id"] for file in page["data"]]
            assert len(page["data"]) <= 2
            if not page["has_more"]:
                break
            after = page["last_id"]
        assert found == wanted
    assert len((await client.get("/v1/files", params={"purpose": "batch"})).json()["data"]) == 5
    assert (await client.get("/v1/files", params={"purpose": "batch_output"})).json()["data"] == []
    assert (await client.get("/v1/files", params={"after": "../x"})).status_code == 400


async def test_an_expired_file_is_gone(gateway):
    client = await gateway.client()
    made = (await upload(client, batch_lines(1))).json()
    key = keys.file("default", made["id"])
    stored = json.loads((await gateway.storage.get(key)).data)
    await gateway.storage.put(key, json.dumps({**stored, "expires_at": 1.0}).encode())
    for answer in (await client.get(f"/v1/files/{made['id']}"), await client.get(f"/v1/files/{made['id']}/content")):
        assert answer.status_code == 404
    assert (await client.get("/v1/files")).json()["data"] == []


async def test_a_deleted_file_leaves_nothing(gateway):
    client = await gateway.client()
    before = await objects(gateway)
    made = (await upload(client, batch_lines(1))).json()
    assert (await client.delete(f"/v1/files/{made['id']}")).json() == {
        "id": made["id"],
        "object": "file",
        "deleted": True,
    }
    assert await objects(gateway) == before
    assert (await client.delete(f"/v1/files/{made['id']}")).status_code == 404


@pytest.mark.parametrize(
    "file_id",
    [
        "file-x",
        "file-7ybqewzgp0a41csqjex5p4gzba",
        "file-batch_x-output",
        "..%2f..%2fx",
        "%2e%2e",
        "file-%00",
        "x" * 3000,
        "a%0d%0ab",
    ],
)
async def test_an_id_that_was_never_given_out_is_not_found(gateway, file_id):
    client = await gateway.client()
    for answer in (
        await client.get(f"/v1/files/{file_id}"),
        await client.get(f"/v1/files/{file_id}/content"),
        await client.delete(f"/v1/files/{file_id}"),
    ):
        assert answer.status_code == 404


async def test_the_same_upload_with_the_same_key_is_one_file(gateway):
    client = await gateway.client(**{"idempotency-key": "k"})
    first, again = (await upload(client, batch_lines(2))).json(), (await upload(client, batch_lines(2))).json()
    assert first == again
    other = await upload(client, batch_lines(3))
    assert (other.status_code, error(other)["code"]) == (409, "idempotency_conflict")
    assert other.headers["x-should-retry"] == "false"
    assert len(await objects(gateway, "tenants/default/contents/")) == 1


async def test_a_key_whose_file_was_deleted_does_not_bring_it_back_empty(gateway):
    client = await gateway.client(**{"idempotency-key": "k"})
    made = (await upload(client, batch_lines(2))).json()
    assert (await client.delete(f"/v1/files/{made['id']}")).status_code == 200
    assert (await upload(client, batch_lines(2))).status_code == 409
    assert (await client.get("/v1/files")).json()["data"] == []


@pytest.mark.parametrize("moment", ["before it looks", "before it writes", "after it wrote", "behind it"])
async def test_an_upload_that_comes_again_while_its_file_is_deleted_leaves_no_file_without_bytes(
    gateway, monkeypatch, moment
):
    client = await gateway.client(**{"idempotency-key": "k"})
    made = (await upload(client, batch_lines(2))).json()["id"]
    entry, content = keys.file("default", made), keys.content("default", made)
    deleting, delete, go_on, create = None, Storage.delete, asyncio.Event(), Storage.create

    async def in_two_steps(self, names):
        """A deletion that has removed what is known of the file, and not yet its bytes."""
        if content in names and asyncio.current_task() is deleting:
            reached.set()
            await go_on.wait()
        await delete(self, names)

    async def writing(self, key, data):
        if key != entry:
            return await create(self, key, data)
        if moment == "before it writes":
            await end()
        written = await create(self, key, data)
        if moment == "after it wrote":
            await end()
        return written

    async def end():
        go_on.set()
        await deleting

    reached = asyncio.Event()
    monkeypatch.setattr(Storage, "delete", in_two_steps)
    monkeypatch.setattr(Storage, "create", writing)
    deleting = asyncio.create_task(gateway.parts.files("default").delete(made))
    await reached.wait()
    if moment == "before it looks":
        await end()
    # Behind it: the file was there, and was deleted then.
    assert (await upload(client, batch_lines(2))).status_code == (200 if moment == "behind it" else 409)
    await end()
    assert await gateway.storage.modified(entry) is await gateway.storage.modified(content) is None


async def test_uploads_beyond_the_places_wait_for_one():
    async with FakeSystem() as system, gateway_over(system, gateway_max_uploads=1) as gateway:
        client = await gateway.client()
        async with gateway.parts.upload_places.one("other", 1.0):
            waiting = asyncio.create_task(upload(client, batch_lines(1)))
            await until(lambda: gateway.parts.upload_places._all._waiters)
            assert (await client.get("/v1/files")).status_code == 200
        assert (await waiting).status_code == 200
        assert (await upload(client, b"")).status_code == 400
        assert (await upload(client, batch_lines(1))).status_code == 200


async def test_an_upload_that_gets_no_place_in_time_is_told_when_to_come_again():
    async with FakeSystem() as system, gateway_over(system, gateway_max_uploads=1, gateway_answer_seconds=1) as gateway:
        client = await gateway.client()
        await client.get("/v1/files")
        async with gateway.parts.upload_places.one("other", 1.0):
            answer = await upload(client, batch_lines(1))
        assert (answer.status_code, error(answer)["code"]) == (503, "overloaded")
        assert int(answer.headers["retry-after"]) > 0
        assert await objects(gateway, keys.contents("default")) == []


async def test_the_uploads_of_one_tenant_leave_places_to_the_others():
    places = UploadPlaces(4)
    async with AsyncExitStack() as slow:
        for _ in range(3):
            await slow.enter_async_context(places.one("slow", 1.0))
        with pytest.raises(Overloaded):
            await slow.enter_async_context(places.one("slow", 0.0))
        async with places.one("other", 1.0):
            pass
    async with AsyncExitStack() as again:
        for _ in range(3):
            await again.enter_async_context(places.one("slow", 1.0))
