"""The gateway behind an ingress: under a path, cut off or not, with bodies that the proxy buffers or passes on."""

import asyncio
import hashlib
import socket

import httpx2
import pytest
from gateway import batch_lines, served
from hypothesis import given
from hypothesis import strategies as st
from reverse_proxy import reverse_proxy
from waiting import PATIENCE

from backburner.gateway.http.root_path import RootPath
from backburner.gateway.settings import GatewaySettings
from backburner_schemas.errors import SettingsError

ROOT = "/llm"
KEEP_ALIVE_SECONDS = 1


@pytest.fixture(scope="module")
def gateway():
    with served(gateway_root_path=ROOT, gateway_keep_alive_seconds=KEEP_ALIVE_SECONDS) as made:
        yield made


@pytest.fixture(scope="module", params=[True, False], ids=["stripped", "kept"])
def strips(request):
    return request.param


@pytest.fixture(scope="module", params=[True, False], ids=["buffered", "streamed"])
def proxy(request, gateway, strips):
    with reverse_proxy(gateway.port, ROOT, strips=strips, buffers=request.param) as made:
        yield made


@pytest.fixture
def client(proxy, gateway):
    headers = {"authorization": f"Bearer {gateway.secret}"}
    with httpx2.Client(base_url=proxy.url, headers=headers, timeout=PATIENCE) as made:
        yield made


def test_a_large_upload_passes_and_comes_back_whole(client):
    # Of few long lines: it is the bytes that proxies buffer, and each line has to be read.
    data = batch_lines(1_000).replace(b"prompt", b"prompt" * 2_000)
    assert len(data) > 12_000_000
    made = client.post("/v1/files", files={"file": ("a.jsonl", data)}, data={"purpose": "batch"}).json()
    assert made["bytes"] == len(data)
    content = client.get(f"/v1/files/{made['id']}/content").content
    assert hashlib.sha256(content).digest() == hashlib.sha256(data).digest()


def test_the_place_of_an_answer_is_one_that_the_caller_reaches(client):
    body = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
    asked = client.post("/v1/async/chat/completions", json=body)
    place = asked.headers["location"]
    assert place == f"{ROOT}/v1/async/{asked.json()['id']}"
    found = client.get(str(client.base_url.join(place)), headers={"Prefer": "wait=30"})
    assert found.status_code == 200


def test_the_document_says_where_the_service_is(client):
    document = httpx2.get(f"{client.base_url}openapi.json").json()
    assert document["servers"] == [{"url": ROOT}]
    assert "/v1/files" in document["paths"]


def test_the_gateway_still_asks_who_calls(proxy):
    assert httpx2.get(f"{proxy.url}/v1/files").status_code == 401
    assert httpx2.get(f"{proxy.url}/v1/files", headers={"authorization": "Bearer x.y.z"}).status_code == 401


def test_without_a_root_path_the_document_names_no_server():
    with served() as plain:
        assert "servers" not in httpx2.get(f"{plain.url}/openapi.json").json()
        assert httpx2.get(f"{plain.url}{ROOT}/openapi.json").status_code == 401


def test_an_idle_connection_ends_when_the_settings_say(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: gateway\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert received.startswith(b"HTTP/1.1 200")


def seen(root, path):
    """The path that the application behind finds."""
    found = []

    async def app(scope, receive, send):
        found.append(scope["path"])

    asyncio.run(RootPath(app, root)({"type": "http", "path": path}, None, None))
    return found[0]


@pytest.mark.parametrize(
    ("root", "path", "inside"),
    [
        ("/llm", "/llm/v1/files", "/v1/files"),
        ("/llm", "/v1/files", "/v1/files"),
        ("/llm", "/llm/openapi.json", "/openapi.json"),
        ("/llm", "/llm/llm/v1/files", "/llm/llm/v1/files"),
        ("/llm", "/llmx/v1/files", "/llmx/v1/files"),
        ("/llm", "/other/v1/files", "/other/v1/files"),
        ("/llm", "/llm", "/llm"),
        ("/a/b", "/a/b/v1/models/x", "/v1/models/x"),
        ("/v1", "/v1/files", "/v1/files"),
        ("/v1", "/v1/v1/files", "/v1/files"),
    ],
)
def test_the_root_is_cut_off_where_a_path_of_the_api_is_left(root, path, inside):
    assert seen(root, path) == inside


@given(st.text("/llmv1.%files", max_size=40))
def test_what_is_cut_off_never_makes_a_path_outside_of_the_api(path):
    inside = seen("/llm", path)
    assert inside == path or (inside.startswith("/v1/") or inside == "/openapi.json")


@pytest.mark.parametrize("root", ["llm", "/llm/", "/", "//llm", "/llm/..", "/l m", "/%6C"])
def test_a_root_path_that_is_none_is_refused(root):
    with pytest.raises(SettingsError, match="BACKBURNER_GATEWAY_ROOT_PATH"):
        GatewaySettings.load(store_url="memory:///", queue_url="kafka://x:1", gateway_root_path=root)
