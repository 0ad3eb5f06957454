"""HTTP as an attacker speaks it, at the real server: bounded, in one form, and never understood in two ways."""

import asyncio
import contextlib
import json
import logging
import re
import socket
from types import SimpleNamespace

import httpx2
import pytest
from gateway import batch_lines, gateway_over, served
from waiting import until

from backburner.gateway.http import server
from backburner.gateway.http.body import Body, CallerGone
from backburner.gateway.http.write_pace import WritePace
from backburner.logs import configure
from backburner.storage import Storage
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import BackburnerError, CallTooLarge, CallTooSlow, StoreDenied, StoreError


@pytest.fixture(scope="module")
def gateway():
    with served() as made:
        yield made


def say(gateway, data, *, half_closed=False):
    """All that comes back for these bytes until the connection ends or is quiet."""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(data)
        if half_closed:
            connection.shutdown(socket.SHUT_WR)
        found = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := connection.recv(65536):
                found += piece
                connection.settimeout(0.3)
        return found.decode("latin-1")


def statuses(text):
    return re.findall(r"^HTTP/1\.1 (\d{3})", text, re.MULTILINE)


def call(gateway, *headers, method="POST", path="/v1/batches", body=b""):
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: gateway",
        f"Authorization: Bearer {gateway.secret}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (["Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"], SMUGGLED),
        ([f"Content-Length: {len(SMUGGLED)}", "Transfer-Encoding: chunked"], b"0\r\n\r\n" + SMUGGLED),
        (["Transfer-Encoding: chunked", "Content-Length: 5"], b"0\r\n\r\n" + SMUGGLED),
        (["Transfer-Encoding: xchunked"], SMUGGLED),
        (["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n" + SMUGGLED),
        (["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n" + SMUGGLED),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], b"0\r\n\r\n" + SMUGGLED),
        (["Transfer-Encoding : chunked"], b"0\r\n\r\n" + SMUGGLED),
        (["Content-Length : 5"], SMUGGLED),
        (["Content-Length: +5"], SMUGGLED),
        (["Content-Length: -1"], SMUGGLED),
        (["Content-Length: 0x10"], SMUGGLED),
        (["Content-Length: 5, 5"], SMUGGLED),
        (["Content-Length: " + "9" * 40], SMUGGLED),
        (["X: a\r\n b"], SMUGGLED),
        (["X: a\x00b"], SMUGGLED),
        (["X: a\rContent-Length: 4"], SMUGGLED),
        (["Host: other"], b""),
        (["Authorization: Bearer other"], b""),
        (["Transfer-Encoding: chunked"], b"5;" + b"x" * 9 + b"\r\nhello\r\nZZ\r\n"),
        (["Transfer-Encoding: chunked"], b"fffffffffffffffff\r\n" + SMUGGLED),
    ],
)
def test_what_two_servers_could_understand_in_two_ways_is_refused_and_ends_the_connection(gateway, headers, body):
    answer = say(gateway, call(gateway, *headers, body=body), half_closed=True)
    assert all(status.startswith("4") for status in statuses(answer)), answer
    assert len(statuses(answer)) == 1
    assert '"object":"list"' not in answer


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"GET /\xff HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_the_form_of_all_errors(gateway, data):
    head, _, body = say(gateway, data, half_closed=True).partition("\r\n\r\n")
    assert statuses(head) == ["400"]
    assert "x-request-id: req_" in head
    assert json.loads(body)["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "headers", [["X: " + "x" * 40_000], [f"X-{number}: y" for number in range(150)], ["X" * 40_000 + ": y"]]
)
def test_a_head_over_the_limit_is_refused(gateway, headers):
    answer = say(gateway, call(gateway, *headers, method="GET", path="/v1/models"))
    assert statuses(answer) in (["431"], ["400"])


def test_a_head_without_an_end_is_refused_while_it_comes(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for number in range(10_000):
                connection.sendall(b"X-%d: %b\r\n" % (number, b"y" * 100))
        with contextlib.suppress(ConnectionResetError):
            assert b" 431 " in connection.recv(65536)


@pytest.mark.parametrize("size", [33_000, 40_000, 70_000, 200_000])
def test_a_url_over_the_limit_is_refused_however_much_of_it_comes_at_once(gateway, size):
    answer = say(gateway, call(gateway, method="GET", path="/v1/files/" + "x" * size))
    assert statuses(answer) in (["431"], ["400"])


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "GZIP"])
def test_a_compressed_body_is_refused_unread(gateway, coding):
    with gateway.client() as client:
        answer = client.post("/v1/batches", content=b"\x1f\x8b" + b"\0" * 100, headers={"content-encoding": coding})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "encoding_refused")


def test_a_connection_that_says_nothing_is_closed(monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    with served() as gateway:
        for begin in (b"", b"GET /v1/models HTTP/1.1\r\nHost: x\r\n"):
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
                connection.sendall(begin)
                found = b""
                while piece := connection.recv(65536):
                    found += piece
                assert b" 408 " in found


def test_a_download_that_nobody_reads_is_broken_off(monkeypatch):
    monkeypatch.setattr(server, "STALLED_SECONDS", 0.2)
    with served() as gateway, gateway.client() as client, socket.socket() as connection:
        line = batch_lines(1).replace(b"prompt", b"x" * 1_000_000)
        upload = client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("a", line * 16)}).json()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", gateway.port))
        connection.sendall(call(gateway, method="GET", path=f"/v1/files/{upload['id']}/content"))
        assert connection.recv(9) == b"HTTP/1.1 "
        served_calls = gateway.gateway.parts.telemetry._in_flight._value
        asyncio.run(until(lambda: served_calls.get() == 0))


class Connection(asyncio.Transport):
    """What waits in a connection, as a test says, and timers that fire when it says so."""

    def __init__(self):
        super().__init__()
        self.now, self.size, self.timer, self.open = 0.0, 0, None, True
        self.flow = SimpleNamespace(pause_writing=lambda: None, resume_writing=lambda: None)

    def time(self):
        return self.now

    def call_later(self, seconds, call):
        self.timer = (self.now + seconds, call)
        return SimpleNamespace(cancel=lambda: None)

    def get_write_buffer_size(self):
        return self.size

    def get_extra_info(self, name):
        return None

    def abort(self):
        self.open = False

    def go_on(self, protocol, seconds, size):
        """Let that many seconds pass, after which so many bytes are left."""
        self.now, self.size = self.now + seconds, size
        due, judge = self.timer
        if size < 16 * 1024:
            protocol.resume_writing()
        elif self.now >= due:
            judge()


@pytest.fixture
def slow():
    """A connection, and its protocol."""
    connection, protocol = Connection(), server.GuardedProtocol.__new__(server.GuardedProtocol)
    protocol.loop = protocol.transport = connection
    protocol.flow, protocol._judged = connection.flow, None
    protocol._pace = WritePace(server.STALLED_SECONDS)
    return connection, protocol


def test_what_the_kernel_holds_has_not_been_taken():
    """It takes more in large steps only, so that a steady caller seems to take nothing for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with socket.create_connection(listening.getsockname()) as ours, listening.accept()[0] as theirs:
            ours.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    sent += ours.send(bytes(1 << 16))
            transport = SimpleNamespace(get_write_buffer_size=lambda: 5, get_extra_info=lambda _: ours)
            left = server.GuardedProtocol._left(SimpleNamespace(transport=transport))
            assert theirs.recv(1)
            assert 5 < left <= sent + 5


@pytest.mark.parametrize(("a_minute", "is_kept"), [(0, False), (1, False), (60 * 2047, False), (60 * 2048, True)])
def test_a_download_goes_on_as_long_as_it_moves_at_a_least_rate(slow, a_minute, is_kept):
    connection, protocol = slow
    connection.size = left = 8 << 20
    protocol.pause_writing()
    for _ in range(20):
        left -= a_minute
        connection.go_on(protocol, 60, left)
    assert connection.open is is_kept


@pytest.mark.parametrize(("seconds", "is_kept"), [(20, True), (59, False)])
def test_a_download_whose_pieces_are_taken_one_by_one_is_judged_over_all_of_them(slow, seconds, is_kept):
    connection, protocol = slow
    for _ in range(20):
        connection.size = 70_000
        protocol.pause_writing()
        # It waits no longer before the piece is nearly gone; by then it may be judged.
        connection.go_on(protocol, seconds - 1, 20_000)
        connection.go_on(protocol, 1, 10_000)
        # The store takes its time, for which the caller can do nothing.
        connection.now += 600
    assert connection.open is is_kept


def test_a_refused_body_may_still_come_and_then_the_connection_is_used_again(gateway):
    with gateway.client() as client:
        for _ in range(3):
            answer = client.post("/v1/batches", content=b"x" * 2_000_000)
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "call_too_large")
        assert client.get("/v1/models").status_code == 200


def test_every_answer_has_an_id_and_no_answer_tells_what_serves_it(gateway):
    with gateway.client() as client:
        seen = set()
        for path in ("/v1/models", "/nowhere", "/v1/files/x", "/openapi.json"):
            answer = client.get(path)
            assert re.fullmatch(r"req_[0-9a-f]{32}", answer.headers["x-request-id"])
            assert "server" not in answer.headers
            seen.add(answer.headers["x-request-id"])
    assert len(seen) == 4


def test_who_does_not_say_who_he_is_sees_nothing(gateway):
    with httpx2.Client(base_url=gateway.url) as client:
        for path in ("/v1/models", "/v1/files", "/v1/nothing", "/", "/docs"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/openapi.json").status_code == 200
        assert client.post("/openapi.json").status_code == 405


# --- bodies ---------------------------------------------------------------------------------------------------------


class Caller:
    """Sends a body in pieces, as ASGI has them; None is a silence."""

    def __init__(self, *pieces, step=0.0):
        self.pieces = list(pieces)
        self.now = 0.0
        self.step = step

    async def receive(self):
        self.now += self.step
        piece = self.pieces.pop(0)
        if piece is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces)}


async def read(caller, limit=100, length=None, idle=30.0):
    body = Body(caller.receive, length, limit, clock=lambda: caller.now, idle=idle)
    return await body.read(limit)


async def test_a_body_is_counted_whatever_its_length_says():
    assert await read(Caller(b"ab", b"cd")) == b"abcd"
    with pytest.raises(CallTooLarge):
        await read(Caller(b"x" * 60, b"x" * 60))
    with pytest.raises(CallTooLarge):
        await read(Caller(b""), length=101)


async def test_a_body_that_stops_or_drips_is_given_up():
    with pytest.raises(CallTooSlow, match="nothing"):
        await read(Caller(b"x", None), idle=0.01)
    with pytest.raises(CallTooSlow, match="a second"):
        await read(Caller(*[b"x"] * 90, step=10.0))


async def test_a_caller_that_has_gone_gets_no_answer():
    async def receive():
        return {"type": "http.disconnect"}

    with pytest.raises(CallerGone):
        await Body(receive, None, 100).read(100)


# --- what is told, and what is not ----------------------------------------------------------------------------------


@pytest.fixture
def logged(capsys):
    """What the gateway logs during the test, as the lines of a program's log."""
    configure("info", json=True)
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    for handler in list(logging.getLogger().handlers):
        if type(handler).__name__ == "_Stderr":
            logging.getLogger().removeHandler(handler)


async def test_a_log_line_cannot_be_forged_and_holds_no_secret_and_no_prompt(logged):
    async with FakeSystem() as system, gateway_over(system) as gateway:
        secret = await gateway.secret()
        client = await gateway.client(authorization=f"Bearer {secret}")
        await client.get("/v1/files/x%0a%7B%22event%22%3A%22forged%22%7D")
        await client.post("/v1/files", files={"file": ("a\n{}", batch_lines(2))}, data={"purpose": "batch"})
        body = {"model": "fake", "messages": [{"role": "user", "content": "my secret prompt"}]}
        await client.post("/v1/async/chat/completions", json=body)
        await client.get("/v1/models", headers={"authorization": "Bearer bb-" + "s" * 43})
        text = "\n".join(json.dumps(line) for line in logged())
        lines = [json.loads(line) for line in text.splitlines()]
    assert [line["event"] for line in lines if line["event"] in {"call", "forged"}] == ["call"] * 4
    assert {line["status"] for line in lines if line["event"] == "call"} == {404, 200, 202, 401}
    for never in (secret, "s" * 43, "my secret prompt", "prompt 0"):
        assert never not in text


@pytest.mark.parametrize(
    "failure", [StoreError("at http://10.1.2.3:9000"), StoreDenied("key AKIA123"), ValueError("the inside")]
)
async def test_what_fails_inside_is_told_without_the_inside(logged, failure, monkeypatch):
    async with FakeSystem() as system, gateway_over(system) as gateway:
        client = await gateway.client()
        await client.get("/v1/models")

        async def fail(*_, **__):
            raise failure

        monkeypatch.setattr(gateway.parts.models, "models", fail)
        answer = await client.get("/v1/models")
    away = isinstance(failure, BackburnerError)
    assert answer.status_code == (503 if away else 500)
    assert ("retry-after" in answer.headers) == away
    assert answer.json()["error"]["type"] == "server_error"
    assert str(failure) not in answer.text
    assert answer.headers["x-request-id"] in "".join(json.dumps(line) for line in logged())


async def test_a_download_that_the_store_breaks_off_is_an_outage_and_no_bug(logged, monkeypatch):
    async with FakeSystem() as system, gateway_over(system) as gateway:
        client = await gateway.client()
        file = (await client.post("/v1/files", files={"file": ("a", batch_lines(2))}, data={"purpose": "batch"})).json()

        async def broken(*_):
            yield batch_lines(1)
            raise StoreError("connection refused")

        monkeypatch.setattr(Storage, "stream", broken)
        # The client in this process asserts that an answer has an end.
        with contextlib.suppress(AssertionError):
            await client.get(f"/v1/files/{file['id']}/content")
    events = [line["event"] for line in logged()]
    assert "a call could not be served" in events
    assert "serving a call failed" not in events


async def test_a_store_that_does_not_answer_is_told_in_time(monkeypatch):
    async with FakeSystem() as system, gateway_over(system, gateway_answer_seconds=0.05) as gateway:
        client = await gateway.client()
        await client.get("/v1/models")

        async def hang(*_, **__):
            await asyncio.Event().wait()

        monkeypatch.setattr(gateway.parts.models, "models", hang)
        answer = await client.get("/v1/models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
    assert int(answer.headers["retry-after"]) > 0


async def test_more_calls_than_are_taken_are_told_to_come_again(monkeypatch):
    async with FakeSystem() as system, gateway_over(system, gateway_max_calls=1) as gateway:
        client, go_on = await gateway.client(), asyncio.Event()
        models = gateway.parts.models.models

        async def slow():
            await go_on.wait()
            return await models()

        monkeypatch.setattr(gateway.parts.models, "models", slow)
        first = asyncio.create_task(client.get("/v1/models"))
        await until(lambda: gateway.parts.telemetry._in_flight._value.get() == 1)
        second = await client.get("/v1/files")
        go_on.set()
        assert (second.status_code, second.json()["error"]["code"]) == (503, "overloaded")
        assert (await first).status_code == 200


async def test_a_flood_of_unknown_keys_takes_no_places_and_is_bounded_itself(monkeypatch):
    monkeypatch.setattr("backburner.gateway.auth.api_key_authenticator._MAX_UNKNOWN_KEYS", 2)
    async with FakeSystem() as system, gateway_over(system, gateway_max_calls=1) as gateway:
        client, scan = await gateway.client(), Storage.scan
        assert (await client.get("/v1/models")).status_code == 200

        async def hanging(self, prefix, *, after=None):
            if prefix == keys.API_KEYS:
                await asyncio.Event().wait()
            async for one in scan(self, prefix, after=after):
                yield one

        monkeypatch.setattr(Storage, "scan", hanging)
        junk = [client.get("/v1/models", headers={"authorization": f"Bearer bb-{n:043}"}) for n in range(3)]
        waiting = [asyncio.create_task(call) for call in junk]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert [one.result().status_code for one in done] == [503]
        assert (await client.get("/v1/models")).status_code == 200
        for one in waiting:
            one.cancel()


async def test_a_caller_without_the_scope_is_denied_and_nothing_is_done():
    async with FakeSystem() as system, gateway_over(system) as gateway:
        reader, writer = await gateway.client(scopes=("batch:read",)), await gateway.client(scopes=("batch:write",))
        refused = await reader.post("/v1/files", files={"file": ("a", batch_lines(1))}, data={"purpose": "batch"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
        assert (await writer.get("/v1/files")).status_code == 403
        assert (await reader.get("/v1/files")).json()["data"] == []
