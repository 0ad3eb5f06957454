"""The gateway on real parts: OpenAI's own package before it, dispatcher and workers behind it, and kills."""

import asyncio
import json
import re
import signal
import socket
from pathlib import Path

import httpx2
import pytest
from gateway import batch_lines
from live import lines
from stock_client import run
from waiting import PATIENCE, until

from backburner.gateway.auth.api_key_store import ApiKeyStore
from backburner.gateway.auth.principal import Scope
from backburner_schemas import keys

pytestmark = [pytest.mark.broker, pytest.mark.store]

PROGRAMS = Path(__file__).parent / "programs"
PAGE = Path(__file__).parents[2] / "docs" / "gateway.md"


@pytest.fixture(scope="module")
def dispatcher(_servers):
    """One that runs for all tests of this file."""
    return _servers.dispatcher()


@pytest.fixture(scope="module")
def served(_servers):
    """A gateway that runs for all tests of this file."""
    return _servers.gateway()


@pytest.fixture
async def gateway(stack, served, dispatcher):
    await stack.warm(served)
    return served


@pytest.fixture
async def secret(stack):
    made, _ = await ApiKeyStore(stack.storage()).create("default", "e2e", (Scope.READ, Scope.WRITE))
    return made


@pytest.fixture
async def http(gateway, secret):
    headers = {"authorization": f"Bearer {secret}"}
    async with httpx2.AsyncClient(base_url=gateway.url, headers=headers, timeout=PATIENCE) as client:
        yield client


async def test_the_stock_packages_async_client_finds_every_call_as_it_expects_it(gateway, secret, openai_python):
    variables = {"OPENAI_BASE_URL": f"{gateway.url}/v1", "OPENAI_API_KEY": secret}
    arguments = (PROGRAMS / "openai_async.py", "fake", "one", "two", "[[fail]]")
    found = json.loads(await asyncio.to_thread(run, openai_python, variables, *arguments))
    batch = found["batch"]
    assert (batch["status"], batch["request_counts"]) == ("completed", {"completed": 2, "failed": 1, "total": 3})
    assert sorted(line["custom_id"] for line in found["output_file_id"]) == ["r0", "r1"]
    (failed,) = found["error_file_id"]
    assert (failed["custom_id"], failed["error"]) == ("r2", None)
    assert failed["response"]["status_code"] >= 400
    assert found["gone"][:2] == ["file_not_found", "invalid_request_error"]
    assert found["gone"][2].startswith("req_")


async def test_every_call_that_the_page_shows_does_what_it_says(gateway, secret, openai_python, tmp_path):
    shown = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    program = tmp_path / "page.py"
    program.write_text("\n".join(shown))
    variables = {"OPENAI_BASE_URL": f"{gateway.url}/v1", "OPENAI_API_KEY": secret}
    said = (await asyncio.to_thread(run, openai_python, variables, program)).splitlines()
    assert sorted(line.partition(" ")[0] for line in said[:2]) == ["question-0", "question-1"]
    assert len(said) == 3


async def upload(http, data):
    answer = await http.post("/v1/files", files={"file": ("a.jsonl", data)}, data={"purpose": "batch"})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


async def test_a_file_that_no_engine_could_run_fails_with_its_errors_by_line(http):
    broken = batch_lines(3) + b'{"custom_id": "x"}\n' + batch_lines(1)
    wanted = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = (await http.post("/v1/batches", json={"input_file_id": await upload(http, broken), **wanted})).json()

    async def failed():
        found = (await http.get(f"/v1/batches/{batch['id']}")).json()
        return found if found["status"] == "failed" else None

    errors = (await until(failed, "a failed batch"))["errors"]["data"]
    assert [error["line"] for error in errors] == [4, 5]
    assert errors[1]["code"] == "duplicate_custom_id"


async def test_single_requests_are_answered_at_both_of_two_gateways(stack, gateway, http, secret):
    other = stack.gateway()
    await stack.warm(other)
    headers = {"authorization": f"Bearer {secret}"}
    body = {"model": "fake", "messages": [{"role": "user", "content": "Hello"}]}
    async with httpx2.AsyncClient(base_url=other.url, headers=headers, timeout=PATIENCE) as replica:
        made = await asyncio.gather(*(http.post("/v1/async/chat/completions", json=body) for _ in range(50)))
        assert {answer.status_code for answer in made} == {202}
        wait = {"prefer": "wait=60"}
        answers = await asyncio.gather(*(replica.get(one.headers["location"], headers=wait) for one in made))
    assert {answer.status_code for answer in answers} == {200}
    other.ask_to_stop()
    await until(lambda: other.exit_status is not None)
    assert other.exit_status == 0


class HalfAnUpload:
    """A connection on which a file is on its way."""

    def __init__(self, gateway, secret, data):
        body = (
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + data + b"\r\n--b--\r\n"
        )
        head = (
            "POST /v1/files HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {secret}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        port = int(gateway.url.rpartition(":")[2])
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        half = len(body) // 2
        self.connection.sendall(head.encode() + body[:half])
        self.rest = body[half:]

    def finish(self):
        self.connection.sendall(self.rest)
        found = b""
        while piece := self.connection.recv(65536):
            found += piece
        return found.decode()


async def test_an_upload_whose_gateway_is_killed_leaves_nothing_to_see(stack, http, secret):
    dying = stack.gateway()
    await stack.warm(dying)
    before = (await http.get("/v1/files")).json()["data"]
    data = batch_lines(150_000)
    half = await asyncio.to_thread(HalfAnUpload, dying, secret, data)
    storage = stack.storage()
    contents = {listed.key async for listed in storage.scan(keys.contents("default"))}
    dying.send(signal.SIGKILL)
    await until(lambda: dying.exit_status is not None)
    half.connection.close()
    assert (await http.get("/v1/files")).json()["data"] == before
    assert {listed.key async for listed in storage.scan(keys.contents("default"))} == contents


async def test_an_upload_that_runs_is_finished_before_a_gateway_stops(stack, http, secret):
    leaving = stack.gateway(BACKBURNER_DRAIN_SECONDS="60")
    await stack.warm(leaving)
    data = batch_lines(2_000)
    half = await asyncio.to_thread(HalfAnUpload, leaving, secret, data)
    await until(lambda: leaving.metric("backburner_gateway_requests_in_flight") == 1, "the upload")
    leaving.ask_to_stop()
    await until(lambda: leaving.page("/readyz")[0] == 503, "a gateway that takes no more")
    answer = await asyncio.to_thread(half.finish)
    assert " 200 " in answer.partition("\r\n")[0]
    made = json.loads(answer.partition("\r\n\r\n")[2])
    await until(lambda: leaving.exit_status is not None)
    assert leaving.exit_status == 0
    assert (await http.get(f"/v1/files/{made['id']}/content")).content == data


async def test_the_pages_of_the_process_tell_what_it_does(gateway, http):
    await http.get("/v1/models")
    await http.get("/v1/files/nowhere")
    assert gateway.page("/livez") == (200, "alive\n")
    assert gateway.page("/readyz") == (200, "ready\n")
    assert gateway.metric('backburner_gateway_requests_total{code="200",method="GET",route="/v1/models"}') >= 1
    missed = 'backburner_gateway_requests_total{code="404",method="GET",route="/v1/files/{file_id}"}'
    assert gateway.metric(missed) >= 1
    assert gateway.metric('backburner_dependency_up{dependency="store"}') == 1


async def test_a_job_of_the_sdk_can_be_read_as_a_batch(http, client):
    job = await client.submit(lines(3))
    await job.wait(timeout=PATIENCE)
    batch = (await http.get(f"/v1/batches/{job.id}")).json()
    assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", 3)
    content = await http.get(f"/v1/files/{batch['output_file_id']}/content")
    assert len(content.text.splitlines()) == 3
