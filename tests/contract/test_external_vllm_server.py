"""The engine of servers elsewhere on vLLM's own API server, alone and as one of two of which one is killed.

With FULL=1 the other one is a second vLLM; otherwise a stand-in, since each takes 15 s and 1.8 GB.
"""

import asyncio
import contextlib
import os
import subprocess
import sys

import pytest
from engine_release import expected_release
from lora import write_adapter
from openai_server import OpenAiServer
from waiting import until

from backburner.local.model import prepare_auto_model
from backburner.local.programs.ports import PortLeases
from backburner_schemas.errors import ContextLengthExceeded, EngineError, ModelNotFound, RequestRefused
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.openai_http.engine import OpenAiHttpEngine
from backburner_worker.engine.openai_http.options import OpenAiHttpOptions
from backburner_worker.engine.vllm.environment import environment

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(400)]

START_SECONDS = 240
STEP_SECONDS = 60
NAME = "smollm2"
ARGS = (
    "--max-model-len 512 --max-num-seqs 8 --max-num-batched-tokens 512 --enforce-eager "
    "--kv-cache-memory-bytes 67108864 --dtype bfloat16 --enable-lora --max-loras 2"
)
FULL = os.environ.get("FULL") == "1"


class VllmServer:
    """vLLM's API server as a process, started and not waited for."""

    def __init__(self, folder, port):
        model = prepare_auto_model()
        adapter = write_adapter(folder / "legal", model, seed=1)
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *ARGS.split()]
        command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", NAME]
        command += ["--lora-modules", f"legal={adapter}"]
        with (folder / f"vllm-{port}.log").open("wb") as log:
            # In a session of its own: what it starts ends with it.
            self._process = subprocess.Popen(
                command,
                env={**os.environ, **environment(str(model))},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()


class Subject:
    def __init__(self, runner, servers, other):
        self.runner, self.servers, self.other = runner, servers, other
        urls = tuple(server.url for server in servers)
        options = OpenAiHttpOptions(urls, start_seconds=START_SECONDS, probe_seconds=0.2, check_seconds=0.5)
        self.engine = OpenAiHttpEngine(options)
        self.info = self.do(self.engine.start(), START_SECONDS + 10)

    def do(self, work, seconds=STEP_SECONDS):
        async def bounded():
            async with asyncio.timeout(seconds):
                return await work

        return self.runner.run(bounded())

    def request(self, endpoint=Endpoint.COMPLETIONS, request_id="r1", **fields):
        if endpoint is Endpoint.COMPLETIONS:
            fields = {"prompt": "The capital of France is", "max_tokens": 3, "temperature": 0, **fields}
        return EngineRequest(request_id, endpoint, {"model": NAME, **fields}, cache_salt="acme")

    def run(self, *arguments, **fields):
        return self.do(self.engine.run(self.request(*arguments, **fields)))


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    if "CI" not in os.environ:
        pytest.importorskip("vllm")
    folder = tmp_path_factory.mktemp("vllm-server")
    with contextlib.ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        leases = stack.enter_context(PortLeases())
        servers = [VllmServer(folder, leases.take()) for _ in range(2 if FULL else 1)]
        for server in servers:
            stack.callback(server.kill)
        other = OpenAiServer(NAME, adapters=["legal"])
        stack.callback(lambda: runner.run(other.stop()))
        made = Subject(runner, servers, other)
        stack.callback(lambda: runner.run(made.engine.close(0)))
        yield made


def test_its_model_adapters_release_and_endpoints_are_found_out(subject):
    assert subject.info.models == (NAME,)
    assert subject.info.adapters == ("legal",)
    assert subject.info.version == f"vllm-{expected_release()}"
    assert subject.info.endpoints == {Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES}


def test_it_answers_with_what_the_model_knows_and_counts_tokens(subject):
    answer = subject.run()
    assert "Paris" in answer.body["choices"][0]["text"]
    assert answer.body["model"] == NAME
    assert answer.usage.completion_tokens == 3
    chat = subject.run(Endpoint.CHAT, messages=[{"role": "user", "content": "Hello"}], max_tokens=4)
    assert chat.body["choices"][0]["message"]["role"] == "assistant"
    response = subject.run(Endpoint.RESPONSES, input="Hello", max_output_tokens=4)
    assert response.usage.prompt_tokens > 0


def test_an_adapter_has_answers_of_its_own(subject):
    fields = {"max_tokens": 12, "ignore_eos": True}
    texts = [subject.run(model=name, **fields).body["choices"][0]["text"] for name in (NAME, "legal")]
    assert texts[0] != texts[1]


@pytest.mark.parametrize(
    ("endpoint", "fields", "error"),
    [
        (Endpoint.COMPLETIONS, {"prompt": "word " * 600}, ContextLengthExceeded),
        (Endpoint.COMPLETIONS, {"max_tokens": 2000}, ContextLengthExceeded),
        (Endpoint.COMPLETIONS, {"temperature": -1}, RequestRefused),
        (Endpoint.COMPLETIONS, {"temperature": "hot"}, RequestRefused),
        (Endpoint.CHAT, {"messages": []}, RequestRefused),
        (Endpoint.EMBEDDINGS, {"input": "a"}, RequestRefused),
        (Endpoint.COMPLETIONS, {"model": "another"}, ModelNotFound),
    ],
)
def test_its_refusals_are_the_requests_own_fault(subject, endpoint, fields, error):
    with pytest.raises(error) as caught:
        subject.run(endpoint, **fields)
    assert not caught.value.retryable
    assert subject.engine.unavailable_reason() is None


def test_an_abort_reaches_its_scheduler(subject):
    client, servers = subject.engine._client, subject.servers

    async def in_its_batch():
        pages = [(await client.get(f"{server.url}/metrics", STEP_SECONDS)).body.decode() for server in servers]
        counts = [line for page in pages for line in page.splitlines() if line.startswith("vllm:num_requests_running")]
        return sum(float(line.rpartition(" ")[2]) for line in counts)

    async def cancel():
        running = [
            asyncio.ensure_future(subject.engine.run(subject.request(request_id=name, max_tokens=450, ignore_eos=True)))
            for name in ("h0", "h1", "h2")
        ]

        async def begun():
            return await in_its_batch() == len(running)

        async def over():
            return await in_its_batch() == 0

        await until(begun, "a batch of all of them")
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        assert all(task.cancelled() for task in running)
        await until(over, "an empty batch")

    subject.do(cancel())


def test_with_one_of_two_killed_what_it_had_is_worth_a_retry_and_the_other_answers_all(subject):
    async def kill_one():
        if not FULL:
            await subject.other.engine.start()
            await subject.other.listen()
            engine = OpenAiHttpEngine(
                OpenAiHttpOptions((subject.servers[0].url, subject.other.url), probe_seconds=0.2, check_seconds=0.5)
            )
            await engine.start()
        else:
            engine = subject.engine
        servers = engine._balancer.servers
        await until(lambda: all(server.away is None for server in servers), "both servers")
        long = {"max_tokens": 450, "ignore_eos": True}
        running = [
            asyncio.ensure_future(engine.run(subject.request(request_id=f"k{number}", **long))) for number in range(8)
        ]
        await until(lambda: servers[0].in_flight >= 1, "requests at the server that is to die")
        subject.servers[0].kill()
        ends = await asyncio.gather(*running, return_exceptions=True)
        errors = [end for end in ends if isinstance(end, BaseException)]
        assert errors
        assert all(type(error) is EngineError and error.retryable for error in errors)
        answers = await asyncio.gather(*(engine.run(subject.request(request_id=f"a{number}")) for number in range(20)))
        assert len(answers) == 20
        assert servers[0].away is not None
        assert engine.unavailable_reason() is None
        assert not engine.lost
        if engine is not subject.engine:
            await engine.close(0)

    subject.do(kill_one(), 3 * STEP_SECONDS)
