"""The engine port's contract: fakes in this process and beside it, servers elsewhere and real vLLM keep it alike.

One vLLM start serves the whole module, since a start takes 15 s and more. What ends an engine is tested on the fakes
in test_engine_ending.py, and on vLLM in tests/faults.
"""

import asyncio
import json
import os

import pytest
from engine_release import expected_release
from lora import write_adapter
from openai_server import OpenAiServer

from backburner.local.model import prepare_auto_model
from backburner_schemas.errors import (
    ContextLengthExceeded,
    ModelNotFound,
    RequestRefused,
    SettingsError,
)
from backburner_schemas.request import Endpoint
from backburner_worker.engine.adapters import Adapter
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.fake.engine import FakeEngine
from backburner_worker.engine.fake.process import FakeProcessEngine
from backburner_worker.engine.openai_http.engine import OpenAiHttpEngine
from backburner_worker.engine.openai_http.options import OpenAiHttpOptions
from backburner_worker.engine.vllm.engine import VllmEngine

START_SECONDS = 180
STEP_SECONDS = 60
NO_SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "x"}}
ADAPTERS = ("legal", "chat")
FAKES = {"fake": FakeEngine, "fake-process": FakeProcessEngine}
VLLM_ARGS = (
    "--max-model-len 512 --max-num-seqs 8 --max-num-batched-tokens 512 --enforce-eager "
    "--kv-cache-memory-bytes 67108864 --dtype bfloat16"
)


class Subject:
    """One started engine with the loop that it lives on, and the bodies that suit it."""

    def __init__(self, name, engine, runner, server=None):
        self.name, self.engine, self.runner, self.server = name, engine, runner, server
        self.info = self.do(engine.start(), START_SECONDS)

    def do(self, work, seconds=STEP_SECONDS):
        async def bounded():
            async with asyncio.timeout(seconds):
                return await work

        return self.runner.run(bounded())

    def request(self, endpoint=Endpoint.CHAT, request_id="r1", **fields):
        if endpoint is Endpoint.CHAT:
            fields.setdefault("messages", [{"role": "user", "content": "What is the capital of France?"}])
        return EngineRequest(request_id, endpoint, {"model": self.info.models[0], **fields})

    def run(self, *arguments, **fields):
        return self.do(self.engine.run(self.request(*arguments, **fields)))

    def endless(self, request_id="endless"):
        """A request that runs until something ends it."""
        if self.name == "vllm":
            return self.request(request_id=request_id, max_tokens=470, ignore_eos=True)
        messages = [{"role": "user", "content": "[[hang]]"}]
        return self.request(request_id=request_id, messages=messages)

    def in_flight(self):
        if self.name == "vllm":
            return self.engine._loaded.engine.get_num_unfinished_requests()
        if self.server is not None:
            return self.server.in_flight
        return len(self.engine._running if self.name == "fake" else self.engine._pending)

    async def until_in_flight(self, count):
        # Nothing tells from outside that a request has reached the engine; the caller bounds this.
        while self.in_flight() != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def make_engine(name, folder):
    if name != "vllm":
        return FAKES[name](adapters=ADAPTERS)
    if "CI" not in os.environ:
        pytest.importorskip("vllm")
    model = prepare_auto_model()
    adapters = [
        Adapter(adapter, str(write_adapter(folder / adapter, model, seed=seed)))
        for seed, adapter in enumerate(ADAPTERS)
    ]
    return VllmEngine(str(model), VLLM_ARGS, "smollm2", adapters=adapters)


def served_elsewhere(runner):
    server = OpenAiServer(adapters=ADAPTERS)
    runner.run(server.listen())
    engine = OpenAiHttpEngine(OpenAiHttpOptions((server.url,)))
    try:
        runner.run(server.engine.start())
        yield Subject("openai-http", engine, runner, server)
    finally:
        runner.run(engine.close(0))
        runner.run(server.stop())


@pytest.fixture(
    scope="module", params=["fake", "fake-process", "openai-http", pytest.param("vllm", marks=pytest.mark.vllm)]
)
def subject(request, tmp_path_factory):
    with asyncio.Runner() as runner:
        if request.param == "openai-http":
            yield from served_elsewhere(runner)
            return
        engine = make_engine(request.param, tmp_path_factory.mktemp("adapters"))
        try:
            yield Subject(request.param, engine, runner)
        finally:
            runner.run(engine.close(0))


only_vllm = pytest.mark.parametrize("subject", [pytest.param("vllm", marks=pytest.mark.vllm)], indirect=True)


def test_start_says_what_is_offered(subject):
    info = subject.info
    assert info.models
    assert {Endpoint.CHAT, Endpoint.COMPLETIONS} <= info.endpoints
    assert info.kv_tokens > 0 or subject.name == "openai-http"
    assert info.max_sequences > 0
    assert info.version
    assert not subject.engine.lost


def test_chat_answers_in_openais_form_and_counts_tokens(subject):
    # So small a model may end its answer at once, or not, by a hair's breadth.
    response = subject.run(max_tokens=8, temperature=0, ignore_eos=True)
    assert response.status_code == 200
    assert response.body["object"] == "chat.completion"
    assert response.body["model"] == subject.info.models[0]
    assert response.body["choices"][0]["message"]["role"] == "assistant"
    assert response.body["choices"][0]["finish_reason"] == "length"
    assert response.usage.prompt_tokens == response.body["usage"]["prompt_tokens"] > 0
    assert response.usage.completion_tokens == response.body["usage"]["completion_tokens"] == 8


def test_completions_answer_every_prompt(subject):
    prompts = ["The capital of France is", "one two three"]
    response = subject.run(Endpoint.COMPLETIONS, prompt=prompts, n=2, max_tokens=3)
    assert response.body["object"] == "text_completion"
    assert [choice["index"] for choice in response.body["choices"]] == [0, 1, 2, 3]


def test_responses_answer_in_openais_form_and_count_tokens(subject):
    fields = {"instructions": "Answer with one word.", "max_output_tokens": 8, "temperature": 0, "ignore_eos": True}
    response = subject.run(Endpoint.RESPONSES, input="What is the capital of France?", **fields)
    body = response.body
    assert (response.status_code, body["object"], body["model"]) == (200, "response", subject.info.models[0])
    assert body["id"].startswith("resp_")
    (message,) = [item for item in body["output"] if item["type"] == "message"]
    assert (message["role"], message["content"][0]["type"]) == ("assistant", "output_text")
    assert message["content"][0]["text"]
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert response.usage.prompt_tokens == body["usage"]["input_tokens"] > 0
    assert response.usage.completion_tokens == body["usage"]["output_tokens"] == 8
    # What it writes itself can be given back to it.
    said = [
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        message,
        {"role": "user", "content": "?"},
    ]
    again = subject.run(Endpoint.RESPONSES, input=said, max_output_tokens=4)
    assert again.usage.prompt_tokens > 0
    assert again.body["model"] == subject.info.models[0]


def test_the_same_request_gets_the_same_answer(subject):
    first, second = (subject.run(max_tokens=8, temperature=0) for _ in range(2))
    assert first.body["choices"][0]["message"] == second.body["choices"][0]["message"]


@only_vllm
def test_vllm_tells_how_full_it_is(subject):
    def run_four():
        async def together():
            await asyncio.gather(
                *(
                    subject.engine.run(subject.request(request_id=f"r{number}", max_tokens=8, ignore_eos=True))
                    for number in range(4)
                )
            )

        subject.do(together())
        return subject.engine.load()

    first, second = run_four(), run_four()
    assert second.generated - first.generated == 32
    assert second.steps - first.steps >= 8
    assert second.vacant > first.vacant

    async def overfull():
        tasks = [
            asyncio.create_task(subject.engine.run(subject.endless(request_id=f"endless{number}")))
            for number in range(subject.info.max_sequences + 2)
        ]
        while (load := subject.engine.load()).running != subject.info.max_sequences or load.waiting != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return load

    assert 0 < subject.do(overfull()).kv_used <= 1


def test_many_requests_at_once_are_all_answered(subject):
    async def burst():
        requests = [subject.request(Endpoint.COMPLETIONS, f"b{n}", prompt=f"{n} and", max_tokens=4) for n in range(20)]
        return await asyncio.gather(*map(subject.engine.run, requests))

    assert len(subject.do(burst())) == 20


def test_each_adapter_has_answers_of_its_own_and_always_the_same(subject):
    assert subject.info.adapters == ADAPTERS
    fields = {"max_tokens": 12, "temperature": 0, "ignore_eos": True}

    async def all_at_once():
        requests = [
            subject.request(request_id=f"{model}{turn}", model=model, **fields)
            for turn in range(2)
            for model in (subject.info.models[0], *ADAPTERS)
        ]
        return await asyncio.gather(*map(subject.engine.run, requests))

    answers = subject.do(all_at_once())
    texts = [answer.body["choices"][0]["message"]["content"] for answer in answers]
    assert texts[:3] == texts[3:]
    assert len(set(texts)) == 3
    # In one batch with adapters the base model is still itself.
    assert subject.run(**fields).body["choices"][0]["message"]["content"] == texts[0]
    assert [answer.body["model"] for answer in answers[:3]] == [subject.info.models[0], *ADAPTERS]


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_another_model_is_not_found_on_any_endpoint(subject, endpoint):
    fields = {Endpoint.COMPLETIONS: {"prompt": "a"}}
    fields |= {named: {"input": "a"} for named in (Endpoint.EMBEDDINGS, Endpoint.RESPONSES)}
    with pytest.raises(ModelNotFound) as caught:
        subject.run(endpoint, model="another", **fields.get(endpoint, {}))
    assert caught.value.param == "model"


def test_cancelling_surfaces_as_cancelled_and_frees_the_place(subject):
    async def cancel():
        task = asyncio.ensure_future(subject.engine.run(subject.endless()))
        await subject.until_in_flight(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await subject.until_in_flight(0)

    subject.do(cancel())
    assert subject.run(max_tokens=2).status_code == 200


def test_a_timeout_around_run_fires(subject):
    async def bounded():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await subject.engine.run(subject.endless())
        await subject.until_in_flight(0)

    subject.do(bounded())


def test_a_request_whose_abort_is_not_over_may_come_again_at_once(subject):
    async def again():
        doomed = asyncio.ensure_future(subject.engine.run(subject.endless("same")))
        await subject.until_in_flight(1)
        coming = asyncio.ensure_future(subject.engine.run(subject.request(request_id="same", max_tokens=4)))
        await asyncio.sleep(0)
        doomed.cancel()
        return await coming

    assert subject.do(again()).status_code == 200


def test_cancelling_one_leaves_the_others_alone(subject):
    async def cancel_one():
        doomed = asyncio.ensure_future(subject.engine.run(subject.endless()))
        await subject.until_in_flight(1)
        other = asyncio.ensure_future(subject.engine.run(subject.request(max_tokens=3)))
        doomed.cancel()
        await asyncio.wait([doomed])
        return await other

    assert subject.do(cancel_one()).status_code == 200


# --- vLLM alone ---------------------------------------------------------------------------------------------


@only_vllm
def test_vllm_knows_the_capital_of_france(subject):
    response = subject.run(Endpoint.COMPLETIONS, prompt="The capital of France is", max_tokens=3, temperature=0)
    assert "Paris" in response.body["choices"][0]["text"]


@only_vllm
def test_vllm_says_what_the_settings_gave_it(subject):
    assert subject.info.models == ("smollm2",)
    assert subject.info.max_sequences == 8
    assert subject.info.kv_tokens > 512


@only_vllm
def test_vllm_is_the_release_that_is_to_be_tried(subject):
    import vllm

    assert subject.info.version == f"vllm-{expected_release()}"
    assert vllm.__version__.partition("+")[0] == expected_release().partition("+")[0]


@only_vllm
def test_vllm_gives_a_chat_without_a_limit_what_fits(subject):
    messages = [{"role": "user", "content": "word " * 450}]
    assert subject.run(messages=messages).usage.completion_tokens > 0


@only_vllm
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": "word " * 600}]}, "input_tokens"),
        ({"messages": [{"role": "user", "content": "word " * 60_000}]}, "input_text"),
        ({"max_tokens": 2000}, "max_tokens"),
    ],
)
def test_vllm_names_what_does_not_fit_the_context(subject, fields, param):
    with pytest.raises(ContextLengthExceeded) as caught:
        subject.run(**fields)
    assert caught.value.param == param


@only_vllm
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"messages": "hello"}, "messages"),
        ({"temperature": "hot"}, "temperature"),
        ({"structured_outputs": {"regex": "(["}}, None),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "x"}}}}, None),
    ],
)
def test_vllm_refuses_a_bad_request_for_good(subject, fields, param):
    with pytest.raises(RequestRefused) as caught:
        subject.run(**fields)
    assert not caught.value.retryable
    assert caught.value.code == "invalid_request"
    if param is not None:
        assert caught.value.param == param
    assert not subject.engine.lost


@only_vllm
def test_vllm_refuses_an_endpoint_that_the_model_has_not(subject):
    with pytest.raises(RequestRefused, match="/v1/embeddings"):
        subject.run(Endpoint.EMBEDDINGS, input="hello")


@only_vllm
@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"input": "word " * 600}, ContextLengthExceeded, None),
        ({"input": "hello", "temperature": -1}, RequestRefused, "temperature"),
        ({"input": 3}, RequestRefused, None),
        ({"input": "hello", "made_up": 1}, RequestRefused, "made_up"),
        ({"input": "hello", "text": {"format": NO_SCHEMA}}, RequestRefused, None),
    ],
)
def test_vllm_refuses_a_response_that_it_cannot_give(subject, fields, error, param):
    with pytest.raises(error) as caught:
        subject.run(Endpoint.RESPONSES, **fields)
    assert not caught.value.retryable
    if param is not None:
        assert caught.value.param == param
    assert not subject.engine.lost


@only_vllm
def test_vllm_keeps_a_schema_in_a_response_and_gives_one_without_a_limit_what_fits(subject):
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    schema["additionalProperties"] = False
    text = {"format": {"type": "json_schema", "name": "n", "schema": schema}}
    answer = subject.run(Endpoint.RESPONSES, input="Yes?", text=text, max_output_tokens=200, temperature=0)
    assert json.loads(answer.body["output"][-1]["content"][0]["text"]) in ({"a": True}, {"a": False})
    assert answer.body["text"]["format"]["schema"] == schema
    assert subject.run(Endpoint.RESPONSES, input="word " * 450).usage.completion_tokens > 0


@only_vllm
def test_vllm_keeps_a_schema(subject):
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
    schema["additionalProperties"] = False
    response_format = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    answer = subject.run(response_format=response_format, max_tokens=200, temperature=0)
    # How much white space there is between the parts is the model's choice.
    assert json.loads(answer.body["choices"][0]["message"]["content"]) in ({"a": True}, {"a": False})


@only_vllm
def test_the_engine_core_is_out_of_reach_of_the_terminals_ctrl_c(subject):
    sessions = [os.getsid(pid) for pid in subject.engine.core_pids()]
    assert sessions
    assert os.getsid(0) not in sessions


@only_vllm
def test_an_argument_that_vllm_does_not_know_is_a_settings_error(subject):
    engine = VllmEngine(str(prepare_auto_model()), "--max-model-length 5")
    with pytest.raises(SettingsError, match="BACKBURNER_ENGINE_ARGS"):
        subject.do(engine.start())


@only_vllm
def test_an_adapter_with_a_name_that_the_arguments_give_the_model_is_a_settings_error(subject, tmp_path):
    model = prepare_auto_model()
    adapter = Adapter("base", str(write_adapter(tmp_path / "a", model, seed=1)))
    engine = VllmEngine(str(model), f"{VLLM_ARGS} --served-model-name m base", adapters=[adapter])
    with pytest.raises(SettingsError, match="'base' is the base model's own name"):
        subject.do(engine.start())
