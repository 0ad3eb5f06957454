"""Batches at the gateway: made once, shown as they are, and their results in exactly one of two files."""

import asyncio
import json
import time
from collections import Counter
from dataclasses import replace

import obstore
import pytest
import segments
from gateway import batch_lines, gateway_over

from backburner.gateway.answer_memory import AnswerMemory
from backburner.gateway.batches.batch_store import BatchStore
from backburner.gateway.batches.results import ResultFile, ResultKind
from backburner.inputs.line_blocks import BOM, is_blank
from backburner.inputs.located_lines import locate_lines
from backburner.storage import Storage
from backburner.storage.clock import OwnClock
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import ContextLengthExceeded, EngineError, StoreError
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import Counts, InputError, JobState, Summary

CHAT = "/v1/chat/completions"


@pytest.fixture
async def gateway():
    async with FakeSystem() as system, gateway_over(system) as made:
        yield made


async def upload(client, data):
    answer = await client.post("/v1/files", files={"file": ("a.jsonl", data)}, data={"purpose": "batch"})
    return answer.json()["id"]


def wanted(file_id, **more):
    return {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **more}


async def make(client, data, **more):
    answer = await client.post("/v1/batches", json=wanted(await upload(client, data), **more))
    assert answer.status_code == 200, answer.text
    return answer.json()


def failed(index):
    return segments.failed(index, EngineError())


async def retrieve(client, batch):
    return (await client.get(f"/v1/batches/{batch['id']}")).json()


async def lines(client, file_id):
    answer = await client.get(f"/v1/files/{file_id}/content")
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def error(answer):
    return answer.json()["error"]


async def test_a_batch_runs_from_validating_to_completed_with_all_that_openai_says_of_it(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(3), metadata={"team": "a"}, output_expires_after={"seconds": 3600})
    assert (batch["status"], batch["endpoint"], batch["completion_window"]) == ("validating", CHAT, "24h")
    assert batch["expires_at"] - batch["created_at"] == 24 * 3600
    assert batch["metadata"]["team"] == "a"
    assert batch["metadata"]["backburner_waiting"] == "dispatcher"
    await gateway.dispatch(batch["id"])
    done = await retrieve(client, batch)
    assert (done["status"], done["request_counts"]) == ("completed", {"total": 3, "completed": 3, "failed": 0})
    assert done["metadata"] == {"team": "a"}
    assert done["error_file_id"] is None
    assert done["in_progress_at"] <= done["finalizing_at"] <= done["completed_at"]
    assert done["usage"]["total_tokens"] == done["usage"]["input_tokens"] + done["usage"]["output_tokens"] > 0
    output = (await client.get(f"/v1/files/{done['output_file_id']}")).json()
    assert (output["purpose"], output["object"]) == ("batch_output", "file")
    assert output["expires_at"] - done["completed_at"] == 3600
    found = await lines(client, done["output_file_id"])
    assert sorted(line["custom_id"] for line in found) == ["r0", "r1", "r2"]
    assert all(line["response"]["status_code"] == 200 and line["error"] is None for line in found)


async def test_every_request_is_in_exactly_one_of_the_two_files(gateway):
    client = await gateway.client()
    gateway.system.fail(["r1"], ContextLengthExceeded())
    gateway.system.fail(["r2"], EngineError())
    batch = await make(client, batch_lines(5))
    await gateway.dispatch(batch["id"])
    done = await retrieve(client, batch)
    assert done["request_counts"] == {"total": 5, "completed": 3, "failed": 2}
    output, errors = await lines(client, done["output_file_id"]), await lines(client, done["error_file_id"])
    assert sorted(line["custom_id"] for line in output) == ["r0", "r3", "r4"]
    assert {line["custom_id"]: line["response"]["status_code"] for line in errors} == {"r1": 400, "r2": 500}
    assert all(line["error"] is None for line in errors)
    assert errors[0]["response"]["body"]["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(("how", "code"), [("expired", "batch_expired"), ("cancelled", "batch_cancelled")])
async def test_what_never_ran_is_in_the_error_file_under_its_own_name(gateway, how, code):
    client = await gateway.client()
    batch = await make(client, b"\n" + batch_lines(5) + b"\n")
    await gateway.dispatch(batch["id"], only=2)
    if how == "cancelled":
        assert (await client.post(f"/v1/batches/{batch['id']}/cancel")).json()["status"] in {"cancelling", "cancelled"}
    await gateway.system.expire(batch["id"])
    done = await retrieve(client, batch)
    assert (done["status"], done["request_counts"]) == (how, {"total": 5, "completed": 2, "failed": 3})
    assert done[f"{how}_at"]
    errors = await lines(client, done["error_file_id"])
    assert [(line["custom_id"], line["response"], line["error"]["code"]) for line in errors] == [
        (f"r{number}", None, code) for number in (2, 3, 4)
    ]
    assert len(await lines(client, done["output_file_id"])) == 2


@pytest.mark.parametrize(
    "data",
    [BOM + b"\n" + batch_lines(3), BOM + batch_lines(3), BOM + b" \r\n\n" + batch_lines(3).rstrip()],
    ids=["alone on its line", "before a request", "before blanks"],
)
async def test_requests_behind_a_byte_order_mark_are_named_as_the_dispatcher_counts_them(gateway, monkeypatch, data):
    batch = await make(await gateway.client(), data)
    results, file = gateway.parts.results("default"), ResultFile(batch["id"], ResultKind.ERRORS)
    await gateway.system.expire(batch["id"])

    async def in_pieces(_, key):
        for start in range(0, len(data), 100):
            yield data[start : start + 100]

    monkeypatch.setattr(Storage, "stream", in_pieces)
    counted = [
        json.loads(text)["custom_id"]
        async for block in locate_lines(in_pieces(None, None), max_bytes=1 << 20)
        for text in block.texts
        if not is_blank(text)
    ]
    key = keys.summary("default", batch["id"])
    summary = Summary.model_validate_json((await gateway.storage.get(key)).data)
    missing = summary.model_copy(update={"missing": IndexSet.below(3), "counts": Counts(total=3, failed=3)})
    await gateway.storage.put(key, missing.model_dump_json().encode())
    view = await results.find(file)
    found = b"".join([data async for data in results.lines(file, view, AnswerMemory(seconds=1.0))])
    assert [json.loads(line)["custom_id"] for line in found.splitlines()] == counted == ["r0", "r1", "r2"]


async def test_errors_that_are_read_while_the_batch_ends_have_their_names(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(3))
    await gateway.dispatch(batch["id"], only=1)
    results, file = gateway.parts.results("default"), ResultFile(batch["id"], ResultKind.ERRORS)
    running = await results.find(file)
    await gateway.system.expire(batch["id"])
    for view, names in ((running, []), (await results.find(file), ["r1", "r2"])):
        data = b"".join([data async for data in results.lines(file, view, AnswerMemory(seconds=1.0))])
        assert [json.loads(line)["custom_id"] for line in data.splitlines()] == names


@pytest.fixture
async def read(monkeypatch):
    """The segments that were read whole; each takes most of the time of a call."""
    names, loop, ahead = [], asyncio.get_running_loop(), 0.0
    now, view = loop.time, Storage.view

    async def slow(self, key, **more):
        nonlocal ahead
        names.append(key.rpartition("/")[2])
        ahead += 6.0
        return await view(self, key, **more)

    monkeypatch.setattr(Storage, "view", slow)
    monkeypatch.setattr(loop, "time", lambda: now() + ahead)
    return names


async def stored(gateway, batch, *parts):
    """Put segments into the batch, each of these records; their names."""
    return [
        await segments.store(gateway.system, part, job=batch["id"], writer="0" * 26, sequence=sequence)
        for sequence, part in enumerate(parts)
    ]


async def test_for_the_errors_only_those_segments_are_read_that_have_some(gateway, read):
    client = await gateway.client()
    batch = await make(client, batch_lines(5))
    names = await stored(gateway, batch, *([segments.answered(number)] for number in range(4)), [failed(4)])
    errors = await lines(client, f"file-{batch['id']}-errors")
    assert [line["custom_id"] for line in errors] == ["r4"]
    assert read == names[4:]


async def test_who_asks_for_the_head_of_a_file_has_none_of_it_read(gateway, read, monkeypatch):
    client = await gateway.client()
    batch = await make(client, batch_lines(3))
    await gateway.dispatch(batch["id"])
    whole = [
        await client.get(f"/v1/files/{name}/content") for name in (f"file-{batch['id']}-output", batch["input_file_id"])
    ]
    read.clear()

    async def unread(_, key):
        read.append(key)
        yield b""

    monkeypatch.setattr(Storage, "stream", unread)
    for answer in whole:
        head = await client.head(answer.request.url)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-type", "content-disposition", "content-length"):
            assert head.headers.get(name) == answer.headers.get(name)
    assert read == []
    assert (await client.head("/v1/files/file-x/content")).status_code == 404


async def test_the_first_line_may_come_late_as_long_as_each_step_is_in_time(gateway, read):
    client = await gateway.client()
    batch = await make(client, batch_lines(5))
    await stored(gateway, batch, *([failed(number)] for number in range(4)), [segments.answered(4)])
    assert [line["custom_id"] for line in await lines(client, f"file-{batch['id']}-output")] == ["r4"]
    assert len(read) == 5


async def test_an_error_in_a_segment_whose_name_knows_none_is_in_the_error_file_once_the_batch_has_ended(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(3))
    _, lying = await stored(gateway, batch, [segments.answered(0), failed(1)], [failed(2)])
    prefix = keys.segments("default", batch["id"])
    named = replace(keys.SegmentName.parse(lying), ok=1, failed=0)
    await gateway.storage.put(prefix + str(named), (await gateway.storage.get(prefix + lying)).data)
    await gateway.storage.delete([prefix + lying])
    await gateway.dispatch(batch["id"], only=0)
    await gateway.system.expire(batch["id"])
    done = await retrieve(client, batch)
    assert done["request_counts"] == {"total": 3, "completed": 1, "failed": 2}
    assert [line["custom_id"] for line in await lines(client, done["error_file_id"])] == ["r1", "r2"]


async def test_an_error_that_a_response_superseded_is_in_neither_file(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(3))
    await stored(gateway, batch, [failed(0), failed(1)], [segments.answered(0)], [segments.answered(2)])
    await gateway.dispatch(batch["id"], only=0)
    await gateway.system.expire(batch["id"])
    done = await retrieve(client, batch)
    assert [line["custom_id"] for line in await lines(client, done["error_file_id"])] == ["r1"]
    assert sorted(line["custom_id"] for line in await lines(client, done["output_file_id"])) == ["r0", "r2"]


async def test_the_results_can_be_read_while_the_batch_runs_and_grow(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(4))
    output, errors = f"file-{batch['id']}-output", f"file-{batch['id']}-errors"
    assert await lines(client, output) == await lines(client, errors) == []
    await gateway.dispatch(batch["id"], only=2)
    running = await retrieve(client, batch)
    assert (running["status"], running["output_file_id"]) == ("in_progress", output)
    assert len(await lines(client, output)) == 2
    await gateway.dispatch(batch["id"])
    assert len(await lines(client, output)) == 4
    assert (await client.get(f"/v1/files/{errors}")).status_code == 404


async def test_a_request_that_was_delivered_twice_counts_once_so_that_counts_never_fall(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(4))
    seen = []
    for only in (2, 2, 3, 3):
        await gateway.dispatch(batch["id"], only=only)
        for running in (await retrieve(client, batch), (await client.get("/v1/batches")).json()["data"][0]):
            assert running["status"] == "in_progress"
            seen.append(running["request_counts"]["completed"])
    await gateway.dispatch(batch["id"])
    seen.append((await retrieve(client, batch))["request_counts"]["completed"])
    assert seen == [2, 2, 2, 2, 3, 3, 3, 3, 4]


async def test_a_batch_whose_input_was_refused_shows_what_is_wrong_by_line(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(1))
    summary = Summary(
        state=JobState.FAILED,
        counts={},
        finalized_at=time.time(),
        errors=(InputError(code="invalid_json", message="not JSON", line=3),),
    )
    await gateway.storage.put(keys.summary("default", batch["id"]), summary.model_dump_json().encode())
    failed = await retrieve(client, batch)
    assert failed["status"] == "failed"
    assert failed["failed_at"]
    assert failed["errors"] == {
        "object": "list",
        "data": [{"code": "invalid_json", "message": "not JSON", "line": 3, "param": None}],
    }
    assert failed["output_file_id"] is failed["error_file_id"] is None


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"endpoint": "nonsense"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "31d"}, "completion_window"),
        ({"completion_window": "0h"}, "completion_window"),
        ({"completion_window": "99999999999h"}, "completion_window"),
        ({"input_file_id": None}, "input_file_id"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"metadata": {"k": "x" * 513}}, "metadata.k"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}}, "output_expires_after.seconds"),
        ({"colour": "red"}, "colour"),
        ({"priority": "urgent"}, "priority"),
        ({"window": {"start": "25:00", "end": "06:00"}}, "window.start"),
        ({"window": {"start": "22:00", "end": "06:00", "timezone": "Mars/Base"}}, "window.timezone"),
    ],
)
async def test_an_argument_that_cannot_be_is_refused_by_name_and_nothing_is_made(gateway, change, param):
    client = await gateway.client()
    answer = await client.post("/v1/batches", json={**wanted(await upload(client, batch_lines(1))), **change})
    assert (answer.status_code, error(answer)["param"]) == (400, param)
    assert (await client.get("/v1/batches")).json()["data"] == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"\xff", b"null", b"[" * 100_000, b'{"seconds": ' + b"9" * 5_000 + b"}"],
    ids=["nothing", "half", "list", "text", "bytes", "null", "deep", "long number"],
)
async def test_a_body_that_is_no_object_is_refused_with_what_to_send(gateway, body):
    headers = {"content-type": "application/json"}
    answer = await (await gateway.client()).post("/v1/batches", content=body, headers=headers)
    assert answer.status_code == 400
    assert "Content-Type: application/json" in error(answer)["message"]


async def test_very_many_fields_are_refused_by_their_number(gateway):
    body = {f"field{number}": 0 for number in range(101)}
    answer = await (await gateway.client()).post("/v1/batches", json=body)
    assert answer.status_code == 400
    assert error(answer)["message"] == "the body must have 100 items at most, and has 101"


async def test_a_body_that_is_sent_as_something_else_is_refused_with_what_to_send(gateway):
    answer = await (await gateway.client()).post("/v1/batches", content=json.dumps(wanted("file-x")).encode())
    assert answer.status_code == 400
    assert "Content-Type: application/json" in error(answer)["message"]


async def test_a_file_with_too_many_requests_or_that_is_not_there_makes_no_batch():
    async with FakeSystem() as system, gateway_over(system, gateway_max_batch_requests=2) as gateway:
        client = await gateway.client()
        answer = await client.post("/v1/batches", json=wanted(await upload(client, batch_lines(3))))
        assert (answer.status_code, error(answer)["param"]) == (400, "input_file_id")
        answer = await client.post("/v1/batches", json=wanted("file-nowhere"))
        assert (answer.status_code, error(answer)["code"]) == (404, "file_not_found")


async def test_a_window_and_a_priority_reach_the_dispatcher(gateway):
    client = await gateway.client()
    window = {"start": "22:00", "end": "06:00", "timezone": "Europe/Berlin"}
    batch = await make(client, batch_lines(1), window=window, priority="low")
    manifest = json.loads((await gateway.storage.get(keys.manifest("default", batch["id"]))).data)
    assert (manifest["window"], manifest["priority"]) == (window, "low")
    assert await gateway.storage.modified(keys.pending("default", batch["id"])) is not None


async def test_batches_are_listed_newest_first_in_pages(gateway):
    client = await gateway.client()
    file_id = await upload(client, batch_lines(1))
    made = [(await client.post("/v1/batches", json=wanted(file_id))).json()["id"] for _ in range(5)]
    found, after = [], {}
    while True:
        page = (await client.get("/v1/batches", params={"limit": 2, **after})).json()
        found += [batch["id"] for batch in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    assert found == sorted(made)
    assert len((await client.get("/v1/batches")).json()["data"]) == 5
    for limit in ("0", "101", "x"):
        assert (await client.get("/v1/batches", params={"limit": limit})).status_code == 400


async def test_creates_that_broke_off_hide_no_batch_behind_them(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(1))
    for _ in range(3):
        await gateway.storage.put(keys.batch("default", keys.new_job_id()), b"")
    page = (await client.get("/v1/batches", params={"limit": 1})).json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == ([batch["id"]], False)


async def test_a_page_costs_one_listing_and_two_reads_for_each_batch_that_it_shows(gateway, monkeypatch):
    client = await gateway.client()
    file_id = await upload(client, batch_lines(1))
    for _ in range(12):
        await gateway.dispatch((await client.post("/v1/batches", json=wanted(file_id))).json()["id"])
    asked = Counter()

    def counted(name):
        call = getattr(obstore, name)

        def counting(*arguments, **options):
            asked[name] += 1
            return call(*arguments, **options)

        monkeypatch.setattr(obstore, name, counting)

    # The caller's key is known by now.
    await client.get("/v1/models")
    for name in ("get_async", "get_range_async", "head_async", "list", "list_with_delimiter_async", "put_async"):
        counted(name)
    page = (await client.get("/v1/batches", params={"limit": 5})).json()
    assert (len(page["data"]), page["has_more"]) == (5, True)
    assert asked == {"list": 1, "get_async": 10}


async def test_a_batch_that_has_ended_is_not_cancelled(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(1))
    await gateway.dispatch(batch["id"])
    answer = await client.post(f"/v1/batches/{batch['id']}/cancel")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (409, "false")
    assert await gateway.storage.modified(keys.cancelled("default", batch["id"])) is None


async def test_a_cancelled_batch_may_be_cancelled_again(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(1))
    for _ in range(2):
        answer = await client.post(f"/v1/batches/{batch['id']}/cancel")
        assert answer.status_code == 200
        assert answer.json()["cancelling_at"]


async def test_a_file_that_a_batch_reads_or_writes_is_not_deleted(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(2))
    output = f"file-{batch['id']}-output"
    for file_id in (batch["input_file_id"], output):
        assert (await client.delete(f"/v1/files/{file_id}")).status_code == 400
    await gateway.dispatch(batch["id"])
    assert (await client.delete(f"/v1/files/{batch['input_file_id']}")).status_code == 200


async def test_nothing_is_read_for_a_caller_that_has_gone_before_the_first_line(gateway, monkeypatch):
    client, secret = await gateway.client(), await gateway.secret()
    batch = await make(client, batch_lines(30))
    for index in range(30):
        await segments.store(
            gateway.system, [segments.failed(index, EngineError())], job=batch["id"], writer="0" * 26, sequence=index
        )
    gone, asked, real, read = asyncio.Event(), [], Storage.view, []

    async def view(self, key, **options):
        read.append(key)
        gone.set()
        # Each piece takes a moment, in which the caller's end can be heard.
        for _ in range(20):
            await asyncio.sleep(0)
        return await real(self, key, **options)

    async def receive():
        asked.append(1)
        if len(asked) == 1:
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    monkeypatch.setattr(Storage, "view", view)
    path = f"/v1/files/file-{batch['id']}-output/content"
    headers = [(b"host", b"gateway"), (b"authorization", f"Bearer {secret}".encode())]
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET"}
    scope |= {"path": path, "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": b""}
    scope |= {"headers": headers, "client": ("127.0.0.1", 1), "server": ("gateway", 80)}
    await gateway.app(scope, receive, send)
    assert len(read) < 3


async def test_results_that_were_deleted_are_gone_for_good(gateway):
    client = await gateway.client()
    gateway.system.fail(["r1"], ContextLengthExceeded())
    batch = await make(client, batch_lines(2))
    await gateway.dispatch(batch["id"])
    done = await retrieve(client, batch)
    segments = keys.segments("default", batch["id"])
    assert (await client.delete(f"/v1/files/{done['output_file_id']}")).status_code == 200
    assert (await client.get(f"/v1/files/{done['output_file_id']}/content")).status_code == 404
    assert len(await lines(client, done["error_file_id"])) == 1
    assert (await client.delete(f"/v1/files/{done['error_file_id']}")).status_code == 200
    assert [listed async for listed in gateway.storage.scan(segments)] == []
    assert (await retrieve(client, batch))["status"] == "completed"


async def test_results_expire_when_their_batch_said_so(gateway):
    client = await gateway.client()
    batch = await make(client, batch_lines(1), output_expires_after={"anchor": "created_at", "seconds": 3600})
    await gateway.dispatch(batch["id"])
    key = keys.summary("default", batch["id"])
    stored = json.loads((await gateway.storage.get(key)).data)
    await gateway.storage.put(key, json.dumps({**stored, "finalized_at": time.time() - 3601}).encode())
    assert (await client.get(f"/v1/files/file-{batch['id']}-output")).status_code == 404


async def test_the_list_of_files_has_those_that_batches_gave(gateway):
    client = await gateway.client()
    gateway.system.fail(["r1"], ContextLengthExceeded())
    batch = await make(client, batch_lines(2))
    await gateway.dispatch(batch["id"])
    later = await upload(client, batch_lines(1))
    wanted_ids = [later, f"file-{batch['id']}-errors", f"file-{batch['id']}-output", batch["input_file_id"]]
    for size in (1, 2, 3, 4):
        found, after = [], {}
        while True:
            page = (await client.get("/v1/files", params={"limit": size, **after})).json()
            found += [file["id"] for file in page["data"]]
            if not page["has_more"]:
                break
            after = {"after": page["last_id"]}
        assert found == wanted_ids, size
    given = (await client.get("/v1/files", params={"purpose": "batch_output"})).json()["data"]
    assert [file["id"] for file in given] == wanted_ids[1:3]


async def test_batches_without_results_hide_none_of_those_behind_them(gateway):
    client = await gateway.client()
    older = await upload(client, batch_lines(1))
    done = [await make(client, batch_lines(1)) for _ in range(2)]
    for batch in done:
        await gateway.dispatch(batch["id"])
    for _ in range(3):
        await client.post("/v1/batches", json=wanted(older))
    newest_first = [
        found for batch in reversed(done) for found in (f"file-{batch['id']}-output", batch["input_file_id"])
    ]
    for order, expected in (("desc", [*newest_first, older]), ("asc", [older, *reversed(newest_first)])):
        found, after = [], {}
        while True:
            page = (await client.get("/v1/files", params={"limit": 1, "order": order, **after})).json()
            found += [file["id"] for file in page["data"]]
            if not page["has_more"]:
                break
            after = {"after": page["last_id"]}
        assert found == expected, order


# --- calls that come twice ------------------------------------------------------------------------------------------


async def test_the_stock_packages_retry_finds_the_batch_that_is_there(gateway):
    client = await gateway.client()
    body = wanted(await upload(client, batch_lines(1)))

    async def call(count, **change):
        headers = {"x-stainless-retry-count": str(count)}
        return (await client.post("/v1/batches", json={**body, **change}, headers=headers)).json()["id"]

    first = await call(0)
    assert await call(1) == await call(2) == first
    assert await call(1, metadata={"a": "b"}) != first
    assert await call(0) != first
    assert len((await client.get("/v1/batches")).json()["data"]) == 3


async def test_a_retry_is_told_from_another_callers(gateway):
    one, other = await gateway.client(), await gateway.client()
    body = wanted(await upload(one, batch_lines(1)))
    first = (await one.post("/v1/batches", json=body)).json()["id"]
    again = await other.post("/v1/batches", json=body, headers={"x-stainless-retry-count": "1"})
    assert again.json()["id"] != first


async def test_retries_at_the_same_moment_make_one_batch(gateway):
    client = await gateway.client()
    body = wanted(await upload(client, batch_lines(1)))
    retry = {"x-stainless-retry-count": "1"}
    answers = await asyncio.gather(*(client.post("/v1/batches", json=body, headers=retry) for _ in range(8)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len((await client.get("/v1/batches")).json()["data"]) == 1


async def test_the_same_key_gives_the_same_batch_and_refuses_another(gateway):
    client = await gateway.client()
    body, key = wanted(await upload(client, batch_lines(1))), {"idempotency-key": "k-1"}
    answers = await asyncio.gather(*(client.post("/v1/batches", json=body, headers=key) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 1
    await gateway.dispatch(answers[0].json()["id"])
    assert (await client.post("/v1/batches", json=body, headers=key)).json()["status"] == "completed"
    other = await client.post("/v1/batches", json={**body, "completion_window": "48h"}, headers=key)
    assert (other.status_code, other.headers["x-should-retry"]) == (409, "false")
    assert len((await client.get("/v1/batches")).json()["data"]) == 1
    for bad in ("", "x" * 256):
        answer = await client.post("/v1/batches", json=body, headers={"idempotency-key": bad})
        assert answer.status_code == 400


async def test_a_create_that_broke_off_is_completed_by_its_retry(gateway):
    client = await gateway.client()
    body, key = wanted(await upload(client, batch_lines(1))), {"idempotency-key": "k"}
    batch = (await client.post("/v1/batches", json=body, headers=key)).json()
    # As if the gateway had died behind its first write.
    names = "default", batch["id"]
    await gateway.storage.delete(
        [keys.pending(*names), keys.manifest(*names), keys.open_job(*names), keys.batch(*names)]
    )
    again = (await client.post("/v1/batches", json=body, headers=key)).json()
    assert again["id"] == batch["id"]
    assert await gateway.storage.modified(keys.pending(*names)) is not None
    assert len((await client.get("/v1/batches")).json()["data"]) == 1


@pytest.mark.parametrize("headers", [{"idempotency-key": "k"}, {"x-stainless-retry-count": "1"}], ids=["key", "retry"])
async def test_a_create_that_broke_off_has_its_whole_time_from_its_retry_on(gateway, monkeypatch, headers):
    client, put = await gateway.client(), Storage.put
    body = wanted(await upload(client, batch_lines(1)), completion_window="5m", output_expires_after={"seconds": 3600})

    async def broken(self, key, data):
        if key.startswith(keys.batches("default")):
            raise StoreError
        await put(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "put", broken)
        assert (await client.post("/v1/batches", json=body, headers=headers)).status_code == 503
    now = int(time.time()) + 400
    for name in ("now", "trusted_now"):
        monkeypatch.setattr(OwnClock, name, lambda _: now)
    answers = await asyncio.gather(*(client.post("/v1/batches", json=body, headers=headers) for _ in range(3)))
    (batch,) = {json.dumps(answer.json(), sort_keys=True) for answer in answers}
    batch = json.loads(batch)
    assert (batch["status"], batch["created_at"], batch["expires_at"]) == ("validating", now, now + 300)
    noted = keys.expiry("default", now + 300 + 3600 + 3600, f"file-{batch['id']}-output")
    assert await gateway.storage.modified(noted) is not None


async def test_a_retry_that_came_before_the_batch_was_there_finds_it_even_when_it_has_ended(gateway, monkeypatch):
    client = await gateway.client()
    body, key = wanted(await upload(client, batch_lines(1))), {"idempotency-key": "k"}
    batch = (await client.post("/v1/batches", json=body, headers=key)).json()
    await gateway.dispatch(batch["id"])

    async def not_yet(*_):
        return None

    monkeypatch.setattr(BatchStore, "made", not_yet)
    again = await client.post("/v1/batches", json=body, headers=key)
    assert (again.json()["id"], again.json()["status"]) == (batch["id"], "completed")


async def test_a_create_that_broke_off_makes_no_batch_of_a_file_that_is_gone(gateway):
    client = await gateway.client()
    body, key = wanted(await upload(client, batch_lines(1))), {"idempotency-key": "k"}
    batch = (await client.post("/v1/batches", json=body, headers=key)).json()
    names = "default", batch["id"]
    made = keys.pending(*names), keys.manifest(*names), keys.open_job(*names), keys.batch(*names)
    await gateway.storage.delete(made)
    await client.delete(f"/v1/files/{body['input_file_id']}")
    assert (await client.post("/v1/batches", json=body, headers=key)).status_code == 404
    assert await gateway.storage.modified(keys.manifest(*names)) is None


async def test_a_call_whose_caller_has_gone_makes_no_batch_beside_that_of_its_retry(gateway):
    client = await gateway.client()
    body = json.dumps(wanted(await upload(client, batch_lines(1)))).encode()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive():
        return next(messages, {"type": "http.disconnect"})

    async def send(_):
        return None

    headers = {**client.headers, "content-type": "application/json", "content-length": str(len(body))}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/batches",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await gateway.app(scope, receive, send)
    assert (await client.get("/v1/batches")).json()["data"] == []
