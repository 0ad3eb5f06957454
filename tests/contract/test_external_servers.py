"""The engine of servers elsewhere: they die, come back, refuse, lie and have their secrets rotated; nothing is lost."""

import asyncio
import contextlib
import json
import ssl
import subprocess

import pytest
from aiohttp import web
from openai_server import OpenAiServer

from backburner.runtime.memory_budget import MemoryBudget
from backburner_schemas.errors import (
    EngineBusy,
    EngineError,
    EngineLost,
    Expired,
    GenerationAborted,
    ModelNotFound,
    RequestRefused,
    SettingsError,
)
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest, LimitsItself, MayBeAway, ReportsLoad
from backburner_worker.engine.openai_http import credentials, server
from backburner_worker.engine.openai_http import engine as http_engine
from backburner_worker.engine.openai_http.client import HttpClient
from backburner_worker.engine.openai_http.discovery import Discovery
from backburner_worker.engine.openai_http.engine import OpenAiHttpEngine
from backburner_worker.engine.openai_http.judgement import judge
from backburner_worker.engine.openai_http.options import OpenAiHttpOptions

STEP_SECONDS = 60
QUICK = {"probe_seconds": 0.02, "check_seconds": 0.05}


def chat(text="hello", request_id="r1", model="fake", **fields):
    messages = [{"role": "user", "content": text}]
    return EngineRequest(request_id, Endpoint.CHAT, {"model": model, "messages": messages}, **fields)


@contextlib.asynccontextmanager
async def engine_of(*servers, model="", served_name=None, concurrency=0, **options):
    given = {"urls": tuple(one.url for one in servers), **QUICK, **options}
    engine = OpenAiHttpEngine(OpenAiHttpOptions(**given), model, served_name, concurrency=concurrency)
    try:
        async with asyncio.timeout(STEP_SECONDS):
            engine.info = await engine.start()
            yield engine
    finally:
        await engine.close(0)


async def until(true):
    # Nothing tells of a state that only a server, or the engine's own clock, knows of; the caller bounds this.
    async with asyncio.timeout(STEP_SECONDS):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def all_admitted(engine):
    await until(lambda: all(one.away is None for one in engine._balancer.servers))


def status(code, body=None, **headers):
    return lambda _: web.json_response(body or {"error": {"message": f"said {code}"}}, status=code, headers=headers)


@pytest.fixture
async def pair():
    async with OpenAiServer() as one, OpenAiServer() as other:
        yield one, other


@pytest.fixture
async def lone():
    async with OpenAiServer() as one:
        yield one


# --- what is offered ------------------------------------------------------------------------------------------------


async def test_it_has_the_powers_that_admission_and_readiness_look_for(lone):
    async with engine_of(lone) as engine:
        assert isinstance(engine, LimitsItself)
        assert isinstance(engine, MayBeAway)
        assert isinstance(engine, ReportsLoad)


async def test_only_endpoints_that_answer_are_offered():
    async with OpenAiServer(endpoints=[Endpoint.EMBEDDINGS]) as one, engine_of(one) as engine:
        assert engine.info.endpoints == {Endpoint.EMBEDDINGS}
        answer = await engine.run(EngineRequest("r", Endpoint.EMBEDDINGS, {"model": "fake", "input": "a"}))
        assert answer.body["data"]
        with pytest.raises(RequestRefused) as caught:
            await engine.run(chat())
        assert caught.value.param == "url"


async def test_requests_may_call_the_model_otherwise_than_its_servers_do(lone):
    async with engine_of(lone, model="fake", served_name="house") as engine:
        assert engine.info.models == ("house",)
        assert (await engine.run(chat(model="house"))).body["model"] == "house"
        assert lone.bodies[-1]["model"] == "fake"
        with pytest.raises(ModelNotFound):
            await engine.run(chat(model="fake"))


async def test_tenants_are_kept_apart_in_vllms_prefix_cache_and_responses_are_not_kept(lone):
    async with engine_of(lone) as engine:
        await engine.run(chat(cache_salt="acme"))
        assert lone.bodies[-1]["cache_salt"] == "acme"
        await engine.run(EngineRequest("r", Endpoint.RESPONSES, {"model": "fake", "input": "a"}))
        assert lone.bodies[-1]["store"] is False


async def test_a_model_that_no_server_has_is_a_settings_error(lone):
    with pytest.raises(SettingsError, match=r"does not serve the model 'other'.*fake"):
        async with engine_of(lone, model="other"):
            pass


async def test_a_start_waits_for_a_server_that_is_still_loading():
    one = OpenAiServer()
    async with one:
        one.answers = status(503)
        starting = asyncio.ensure_future(engine_of(one).__aenter__())
        await until(lambda: len(one.bodies) > 10)
        assert not starting.done()
        one.answers = lambda _: None
        engine = await starting
        await engine.close(0)


async def test_a_start_gives_up_in_time_and_says_what_each_server_did():
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9: no connection.*BACKBURNER_ENGINE_HTTP_START_SECONDS"):
        async with engine_of(urls=("http://127.0.0.1:9",), start_seconds=0.2):
            pass


# --- servers that die, and come back --------------------------------------------------------------------------------


async def test_with_one_of_two_killed_each_request_is_answered_or_worth_a_retry_and_the_other_takes_all(pair):
    doomed, other = pair
    async with engine_of(*pair) as engine:
        await all_admitted(engine)
        hanging = [asyncio.ensure_future(engine.run(chat("[[slow:30]]", f"s{number}"))) for number in range(8)]
        await until(lambda: doomed.in_flight + other.in_flight == 8)
        assert doomed.in_flight == 4
        await doomed.stop()
        await until(lambda: sum(task.done() for task in hanging) == 4)
        errors = [task.exception() for task in hanging if task.done()]
        assert all(type(error) is EngineError and error.retryable for error in errors)
        answers = await asyncio.gather(*(engine.run(chat(f"n{number}", f"n{number}")) for number in range(50)))
        assert len(answers) == 50
        assert not engine.lost
        assert engine.unavailable_reason() is None
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
        # It is back once it has answered a real request, and gets its share.
        await doomed.listen()
        await all_admitted(engine)
        before = doomed.served
        await asyncio.gather(*(engine.run(chat(f"m{number}", f"m{number}")) for number in range(50)))
        assert doomed.served > before + 10


async def test_while_no_server_answers_nothing_is_taken_and_what_was_not_sent_waits(lone):
    async with engine_of(lone) as engine:
        await lone.stop()
        waiting = [asyncio.ensure_future(engine.run(chat(f"n{number}", f"n{number}"))) for number in range(20)]
        await until(lambda: engine.load().waiting == 20)
        assert engine.capacity() == 0
        assert lone.url in engine.unavailable_reason()
        assert not engine.lost
        assert not any(task.done() for task in waiting)
        await lone.listen()
        assert all(answer.status_code == 200 for answer in await asyncio.gather(*waiting))
        assert engine.capacity() > 0
        assert engine.unavailable_reason() is None


async def test_a_silent_server_is_found_out_while_nothing_runs(lone):
    async with engine_of(lone) as engine:
        lone.healthy = False
        await until(lambda: engine.capacity() == 0)
        assert "/health" in engine.unavailable_reason()


async def test_a_server_that_only_fails_is_ejected_and_admitted_once_it_answers(lone):
    async with engine_of(lone) as engine:
        lone.answers = status(500)
        for number in range(5):
            with pytest.raises(EngineError, match="said 500"):
                await engine.run(chat(request_id=f"r{number}"))
        assert engine.capacity() == 0
        waiting = asyncio.ensure_future(engine.run(chat()))
        # It lists its models all the while; that is not enough.
        asked = len(lone.bodies)
        await until(lambda: len(lone.bodies) >= asked + 3)
        assert engine.load().waiting == 1
        assert engine.capacity() == 0
        lone.answers = lambda _: None
        assert (await waiting).status_code == 200


async def test_a_prompt_that_a_server_refuses_leaves_it_to_the_others(lone):
    """As a firewall, or a moderation, does with 403."""

    def moderated(body):
        return status(403)(body) if "flagged" in str(body) else None

    async with engine_of(lone) as engine:
        asked = len(lone.bodies)
        lone.answers = moderated
        for number in range(20):
            with pytest.raises(EngineError, match="said 403"):
                await engine.run(chat("flagged", f"bad-{number}"))
            assert engine.unavailable_reason() is None
        # It was asked for what is known to be harmless now and then, and went on meanwhile.
        await until(lambda: len(lone.bodies) > asked + 20)
        assert engine.unavailable_reason() is None
        await engine.run(chat("fine"))
        # One that refuses all is not asked for ever.
        lone.answers = status(403)
        asking = [asyncio.ensure_future(engine.run(chat("fine", f"late-{number}"))) for number in range(5)]
        await until(lambda: engine.unavailable_reason() is not None)
        assert "403" in engine.unavailable_reason()
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_a_request_that_kills_servers_costs_an_attempt_for_each_and_makes_no_suspect(pair):
    async with engine_of(*pair) as engine:
        await all_admitted(engine)
        for _ in range(2):
            with pytest.raises(EngineError) as caught:
                await engine.run(chat("[[die]]"))
            assert type(caught.value) is EngineError
        assert not engine.lost


async def test_one_that_waits_past_its_deadline_is_expired_and_was_never_sent(lone):
    async with engine_of(lone) as engine:
        await lone.stop()
        with pytest.raises(Expired):
            await engine.run(chat(deadline=1.0))


async def test_one_that_waits_can_be_cancelled_and_broken_off_by_the_end(lone):
    async with engine_of(lone) as engine:
        await lone.stop()
        cancelled, kept = (asyncio.ensure_future(engine.run(chat(request_id=name))) for name in ("a", "b"))
        await until(lambda: engine.load().waiting == 2)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert cancelled.cancelled()
        await engine.close(0)
        with pytest.raises(GenerationAborted):
            await kept


async def test_an_error_of_our_own_ends_the_worker_loudly(lone, monkeypatch):
    async def broken(_self):
        raise RuntimeError

    async with engine_of(lone) as engine:
        monkeypatch.setattr(Discovery, "check", broken)
        await until(lambda: engine.lost)
        with pytest.raises(EngineLost):
            await engine.run(chat())


# --- servers that refuse --------------------------------------------------------------------------------------------


async def test_too_many_requests_goes_to_another_server_and_costs_nothing(pair):
    busy, _ = pair
    async with engine_of(*pair) as engine:
        await all_admitted(engine)
        busy.answers = status(429, **{"Retry-After": "60"})
        answers = await asyncio.gather(*(engine.run(chat(f"n{number}", f"n{number}")) for number in range(60)))
        assert len(answers) == 60
        assert engine.capacity() == engine._balancer.servers[1].limit.value


async def test_a_limit_is_learned_from_refusals_and_every_request_is_answered(monkeypatch):
    monkeypatch.setattr(server, "_MIN_PAUSE_SECONDS", 0.001)
    overloaded = {"error": "Model is overloaded", "error_type": "overloaded"}
    async with OpenAiServer(latency=0.002) as slow:
        slow.answers = lambda body: status(429, overloaded)(body) if slow.in_flight > 6 else None
        async with engine_of(slow) as engine:
            answers = await asyncio.gather(*(engine.run(chat(f"n{number}", f"n{number}")) for number in range(400)))
            assert len(answers) == 400
            assert engine.capacity() < 32


async def test_a_request_that_is_refused_again_and_again_counts_an_attempt(lone, monkeypatch):
    monkeypatch.setattr(server, "_MIN_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(server, "_MAX_PAUSE_SECONDS", 0.002)
    async with engine_of(lone) as engine:
        lone.answers = status(429)
        with pytest.raises(EngineBusy, match="said 429"):
            await engine.run(chat())


async def test_a_fixed_concurrency_is_kept_whatever_comes(lone):
    async with engine_of(lone, concurrency=3) as engine:
        assert engine.capacity() == 3
        await asyncio.gather(*(engine.run(chat("[[slow:0.01]]", f"n{number}")) for number in range(30)))
        assert engine.capacity() == 3


# --- answers that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: web.Response(body=b"<html>hello</html>", content_type="text/html"),
        lambda _: web.json_response({"hello": 1}),
        lambda _: web.json_response({"choices": "none"}),
        lambda _: web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}, content_type="application/json"),
        lambda _: web.json_response({"choices": [{"finish_reason": "abort"}]}),
    ],
    ids=["html", "no-choices", "choices-no-list", "compressed", "aborted"],
)
async def test_what_is_no_answer_is_worth_a_retry(lone, answer):
    async with engine_of(lone) as engine:
        lone.answers = answer
        with pytest.raises(EngineError) as caught:
            await engine.run(chat())
        assert caught.value.retryable


async def test_a_redirect_is_not_followed_and_keeps_the_request_back(pair):
    lone, elsewhere = pair
    async with engine_of(lone) as engine:
        lone.answers = lambda _: web.Response(status=307, headers={"Location": elsewhere.url + Endpoint.CHAT})
        task = asyncio.ensure_future(engine.run(chat()))
        await until(lambda: engine.load().waiting == 1)
        assert "BACKBURNER_ENGINE_URLS" in engine.unavailable_reason()
        assert elsewhere.bodies == []
        lone.answers = lambda _: None
        assert (await task).status_code == 200


async def test_an_answer_over_the_limit_is_refused_and_not_read_to_its_end(lone, monkeypatch):
    from backburner_worker.engine.openai_http import client

    monkeypatch.setattr(client, "MAX_ANSWER_BYTES", 1 << 20)
    async with engine_of(lone) as engine:
        lone.answers = lambda _: web.Response(body=b" " * (4 << 20), content_type="application/json")
        with pytest.raises(RequestRefused, match="over 1 MiB"):
            await engine.run(chat())


async def test_a_server_that_hangs_loses_what_it_has_and_one_that_sends_byte_by_byte_does_not(pair, monkeypatch):
    monkeypatch.setattr(http_engine, "_SILENCE_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(http_engine, "_MAX_FAILED_CHECKS", 10**9)
    one, other = pair
    asked = asyncio.Event()

    async def silence(_):
        asked.set()
        await asyncio.Event().wait()

    async def trickle(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for piece in json.dumps({"choices": [{"text": "slow"}]}).encode():
            await response.write(bytes([piece]))
            await asyncio.sleep(0.02)
        await response.write_eof()
        return response

    async with engine_of(one, other, stall_seconds=0.3, concurrency=1) as engine:
        await all_admitted(engine)
        slow, hung = one, other
        slow.streams, hung.answers = trickle, silence
        # Looks say nothing either: what counts of the slow one are its bytes alone.
        slow.frozen = hung.frozen = True
        running = [asyncio.create_task(engine.run(chat(request_id=f"r{number}"))) for number in range(2)]
        async with asyncio.timeout(STEP_SECONDS):
            await asked.wait()
            results = await asyncio.gather(*running, return_exceptions=True)
        errors = [result for result in results if isinstance(result, EngineError)]
        assert len(errors) == 1, results
        assert "BACKBURNER_ENGINE_STALL_SECONDS" in errors[0].message
        assert {one.away is None for one in engine._balancer.servers} == {True, False}
        assert not engine.lost


async def test_the_answers_that_are_read_at_once_are_bounded_together(lone, monkeypatch):
    filler = "x" * 300_000
    lone.answers = lambda _: web.json_response({"choices": [{"text": filler}]})
    memory = MemoryBudget(limit=400_000)
    most = 0
    take = memory.take

    async def seen(share, size):
        nonlocal most
        await take(share, size)
        most = max(most, memory.used)

    monkeypatch.setattr(memory, "take", seen)
    async with engine_of(lone, concurrency=32) as engine:
        engine._memory = memory
        async with asyncio.timeout(STEP_SECONDS):
            answers = await asyncio.gather(*(engine.run(chat(request_id=f"r{number}")) for number in range(32)))
        assert [answer.body["choices"][0]["text"] for answer in answers] == [filler] * 32
    assert most <= 400_000 + 400_000
    assert memory.used == 0


async def test_a_server_that_takes_too_long_is_worth_a_retry_and_hears_that_nobody_waits(lone):
    async with engine_of(lone, answer_seconds=0.1) as engine:
        with pytest.raises(EngineError, match=r"no answer within 0\.1 s"):
            await engine.run(chat("[[hang]]"))
        await until(lambda: lone.in_flight == 0)


# --- secrets that rotate --------------------------------------------------------------------------------------------


async def test_a_token_is_sent_and_read_again_when_it_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "_LOOK_SECONDS", 0.0)
    file = tmp_path / "token"
    file.write_text("first\n")
    async with OpenAiServer(token="first") as one, engine_of(one, token_file=str(file)) as engine:
        assert (await engine.run(chat())).status_code == 200
        one.token = "second"
        waiting = asyncio.ensure_future(engine.run(chat()))
        # Refused, it is kept back rather than failed, and told by the name of the file that is to be put right.
        await until(lambda: engine.capacity() == 0)
        assert "BACKBURNER_ENGINE_TOKEN_FILE" in engine.unavailable_reason()
        assert "first" not in engine.unavailable_reason()
        file.with_suffix(".new").write_text("second")
        file.with_suffix(".new").replace(file)
        assert (await waiting).status_code == 200


async def test_what_a_server_says_of_the_token_is_shown_without_it(tmp_path):
    file = tmp_path / "token"
    file.write_text("sk-house-1")
    async with OpenAiServer(token="sk-house-1") as one, engine_of(one, token_file=str(file)) as engine:
        one.answers = status(500, {"error": {"message": "no route for sk-house-1"}})
        with pytest.raises(EngineError, match=r"no route for \[token\]$"):
            await engine.run(chat())


@pytest.mark.parametrize("code", [200, 500])
async def test_a_token_is_hidden_also_where_it_was_replaced_meanwhile(tmp_path, monkeypatch, code):
    monkeypatch.setattr(credentials, "_LOOK_SECONDS", 0.0)
    file = tmp_path / "token"
    file.write_text("sk-house-1")
    async with OpenAiServer(token="sk-house-1") as one, engine_of(one, token_file=str(file)) as engine:

        async def late(body):
            file.write_text("sk-house-22")
            assert engine._credentials.token() == "sk-house-22"
            return status(code, {"error": {"message": "no quota for sk-house-1"}})(body)

        one.answers = late
        with pytest.raises(EngineError, match=r"no quota for \[token\]$"):
            await engine.run(chat())


@pytest.mark.parametrize("token", ["EMPTY", "content"])
async def test_an_answer_is_what_the_model_said_whatever_the_token_is(tmp_path, token):
    file = tmp_path / "token"
    file.write_text(token)
    async with OpenAiServer(token=token) as one, engine_of(one, token_file=str(file)) as engine:
        body = {"choices": [{"message": {"role": "assistant", "content": f"the list is {token}"}, "index": 0}]}
        one.answers = lambda _: web.json_response(body)
        assert (await engine.run(chat())).body["choices"] == body["choices"]


async def test_what_a_server_says_in_no_known_characters_can_be_stored():
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: \xff\r\nContent-Length: 1\r\n\r\nx")
        await writer.drain()
        writer.close()

    client = HttpClient(credentials.Credentials(OpenAiHttpOptions()))
    try:
        async with await asyncio.start_server(answer, "127.0.0.1") as listening:
            port = listening.sockets[0].getsockname()[1]
            found = await client.get(f"http://127.0.0.1:{port}/health", STEP_SECONDS)
    finally:
        await client.close()
    with pytest.raises(EngineError) as caught:
        judge(found)
    assert caught.value.message.encode()


async def test_a_wrong_token_is_a_settings_error_at_the_start(tmp_path):
    file = tmp_path / "token"
    file.write_text("wrong")
    async with OpenAiServer(token="right") as one:
        with pytest.raises(SettingsError, match="BACKBURNER_ENGINE_TOKEN_FILE") as caught:
            async with engine_of(one, token_file=str(file)):
                pass
        assert "wrong" not in str(caught.value)


def openssl(*arguments, folder):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=STEP_SECONDS)


def authority(folder, name):
    subject = f"/CN={name}"
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl(*request, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", subject, folder=folder)


def certificate(folder, name, signer):
    request = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}"]
    openssl(*request, "-keyout", f"{name}.key", "-out", f"{name}.csr", folder=folder)
    (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-days", "2"]
    openssl(*sign, "-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.pem", folder=folder)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A private authority, a server's certificate, a client's, and a client's of another authority."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ca", "stranger"):
        authority(folder, name)
    for name, signer in (("server", "ca"), ("client", "ca"), ("wrong", "stranger")):
        certificate(folder, name, signer)
    return folder


def secure_server(keys):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=keys / "ca.pem")
    context.load_cert_chain(keys / "server.pem", keys / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    return OpenAiServer(tls=context)


async def test_mutual_tls_with_a_private_authority_and_a_certificate_that_rotates(keys, tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "_LOOK_SECONDS", 0.0)
    files = {"ca_file": str(keys / "ca.pem"), "cert_file": str(tmp_path / "c.pem"), "key_file": str(tmp_path / "c.key")}

    def use(name):
        for kind in ("pem", "key"):
            (tmp_path / f"c.{kind}").write_bytes((keys / f"{name}.{kind}").read_bytes())

    use("client")
    async with secure_server(keys) as one, engine_of(one, **files) as engine:
        assert (await engine.run(chat())).status_code == 200
        use("wrong")
        # Connections that are open already go on; the server is closed, and so are they.
        await one.stop()
        await one.listen()
        await until(lambda: engine.capacity() == 0)
        use("client")
        assert (await engine.run(chat())).status_code == 200


async def test_a_server_of_another_authority_is_not_spoken_to(keys):
    async with secure_server(keys) as one:
        files = {"ca_file": str(keys / "stranger.pem"), "cert_file": str(keys / "client.pem")}
        with pytest.raises(EngineError, match="certificate verify failed"):
            async with engine_of(one, **files, key_file=str(keys / "client.key"), start_seconds=0.3):
                pass
        assert one.bodies == []


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"token_file": "absent"}, "absent"),
        ({"token_file": "empty"}, "BACKBURNER_ENGINE_TOKEN_FILE: .* holds no token"),
        ({"token_file": "two words"}, "holds no token"),
        ({"ca_file": "two words"}, "BACKBURNER_ENGINE_CA_FILE"),
        ({"cert_file": "two words"}, "BACKBURNER_ENGINE_CERT_FILE"),
        ({"key_file": "two words"}, "BACKBURNER_ENGINE_CERT_FILE"),
    ],
)
def test_a_file_of_no_use_is_told_before_anything_is_called(tmp_path, files, reason):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "two words").write_text("a token\nand more")
    given = {name: str(tmp_path / file) for name, file in files.items()}
    with pytest.raises(SettingsError, match=reason):
        OpenAiHttpEngine(OpenAiHttpOptions(("https://127.0.0.1:9",), **given))
