"""The fake engine: what its answers look like and how its patterns make it fail."""

import asyncio
import base64
import math
import os
import signal
import struct
import subprocess
import sys
import time

import psutil
import pytest

from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.errors import (
    EngineBusy,
    EngineError,
    EngineLost,
    GenerationAborted,
    ModelNotFound,
    RequestRefused,
    SettingsError,
)
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.factory import create_engine
from backburner_worker.engine.fake.engine import FakeEngine, digest_of
from backburner_worker.engine.fake.process import FakeProcessEngine
from backburner_worker.engine.options import EngineOptions, FakeOptions
from backburner_worker.engine.vllm.engine import VllmEngine
from backburner_worker.settings import WorkerSettings


def fake_options(**told):
    return EngineOptions(EngineKind.FAKE, fake=FakeOptions(**told))


def chat(text, **fields):
    body = {"model": "fake", "messages": [{"role": "user", "content": text}], **fields}
    return EngineRequest("r1", Endpoint.CHAT, body)


def ask(endpoint, **fields):
    return EngineRequest("r1", endpoint, {"model": "fake", **fields})


async def test_the_same_request_gets_the_same_answer_from_another_engine():
    first = await FakeEngine().run(chat("hello"))
    second = await FakeEngine().run(chat("hello"))
    assert first == second


async def test_another_prompt_or_another_parameter_gets_another_answer():
    engine = FakeEngine()
    answers = [await engine.run(request) for request in (chat("a"), chat("b"), chat("a", seed=1))]
    contents = {answer.body["choices"][0]["message"]["content"] for answer in answers}
    assert len(contents) == 3


async def test_the_order_of_fields_does_not_change_the_answer():
    messages = [{"content": "hello", "role": "user"}]
    turned = EngineRequest("r2", Endpoint.CHAT, {"messages": messages, "model": "fake"})
    assert await FakeEngine().run(turned) == await FakeEngine().run(chat("hello"))


async def test_chat_has_openais_form_and_counts_its_tokens():
    answer = await FakeEngine().run(chat("one two three", max_tokens=4, n=2))
    assert answer.body["object"] == "chat.completion"
    assert [choice["index"] for choice in answer.body["choices"]] == [0, 1]
    assert {choice["finish_reason"] for choice in answer.body["choices"]} == {"length"}
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 8)
    assert answer.body["usage"] == {"prompt_tokens": 3, "completion_tokens": 8, "total_tokens": 11}


async def test_an_answer_within_its_limit_stops_by_itself():
    answer = await FakeEngine().run(chat("hello", max_completion_tokens=100))
    assert answer.body["choices"][0]["finish_reason"] == "stop"


async def test_completions_answer_each_prompt():
    answer = await FakeEngine().run(ask(Endpoint.COMPLETIONS, prompt=["a", "b c"], n=2))
    assert answer.body["object"] == "text_completion"
    assert [choice["index"] for choice in answer.body["choices"]] == [0, 1, 2, 3]


async def test_a_list_of_token_numbers_is_one_prompt():
    answer = await FakeEngine().run(ask(Endpoint.COMPLETIONS, prompt=[5, 6, 7]))
    assert len(answer.body["choices"]) == 1


async def test_embeddings_are_unit_vectors_one_for_each_input():
    answer = await FakeEngine().run(ask(Endpoint.EMBEDDINGS, input=["a", "b"], dimensions=16))
    vectors = [item["embedding"] for item in answer.body["data"]]
    assert [len(vector) for vector in vectors] == [16, 16]
    assert all(math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-9) for vector in vectors)
    assert vectors[0] != vectors[1]


async def test_embeddings_come_packed_if_asked_for():
    plain = await FakeEngine().run(ask(Endpoint.EMBEDDINGS, input="a"))
    packed = await FakeEngine().run(ask(Endpoint.EMBEDDINGS, input="a", encoding_format="base64"))
    raw = base64.b64decode(packed.body["data"][0]["embedding"])
    assert len(struct.unpack(f"<{len(raw) // 4}f", raw)) == len(plain.body["data"][0]["embedding"])


async def test_scores_lie_between_0_and_1_one_for_each_pair():
    answer = await FakeEngine().run(ask(Endpoint.SCORE, text_1="a", text_2=["b", "c", "d"]))
    scores = [item["score"] for item in answer.body["data"]]
    assert len(scores) == 3
    assert all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ("[[fail]]", RequestRefused),
        ("[[retry]]", EngineError),
        ("[[busy]]", EngineBusy),
        ("[[abort]]", GenerationAborted),
    ],
)
async def test_a_pattern_makes_that_request_fail_and_no_other(pattern, error):
    engine = FakeEngine()
    with pytest.raises(error) as caught:
        await engine.run(chat(f"please {pattern} now"))
    assert type(caught.value) is error
    assert (await engine.run(chat("hello"))).status_code == 200
    assert not engine.lost


@pytest.mark.parametrize(
    "request_",
    [
        ask(Endpoint.COMPLETIONS, prompt=["fine", "[[fail]]"]),
        ask(Endpoint.EMBEDDINGS, input=["fine", "[[fail]]"]),
        ask(Endpoint.SCORE, text_1="fine", text_2=["[[fail]]"]),
        ask(Endpoint.CHAT, messages=[{"role": "user", "content": [{"type": "text", "text": "a [[fail]] b"}]}]),
    ],
)
async def test_patterns_work_in_every_endpoints_text(request_):
    with pytest.raises(RequestRefused):
        await FakeEngine().run(request_)


async def test_a_pattern_outside_the_prompt_means_nothing():
    answer = await FakeEngine().run(chat("hello", stop=["[[fail]]"]))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        chat("hello", max_tokens="5"),
        chat("hello", n="5"),
        ask(Endpoint.EMBEDDINGS, input="a", dimensions=10**12),
        ask(Endpoint.EMBEDDINGS, input="a", dimensions="many"),
    ],
)
async def test_a_field_of_the_wrong_type_is_the_requests_own_fault(request_):
    with pytest.raises(RequestRefused):
        await FakeEngine().run(request_)


async def test_echo_gives_the_prompt_back():
    answer = await FakeEngine().run(chat("[[echo]] these words"))
    assert answer.body["choices"][0]["message"]["content"] == "[[echo]] these words"


async def test_death_ends_all_in_flight_and_all_that_comes():
    engine = FakeEngine(latency=3600)
    running = [asyncio.ensure_future(engine.run(chat(text))) for text in ("a", "b")]
    await asyncio.sleep(0)
    with pytest.raises(EngineLost):
        await engine.run(chat("[[die]]"))
    errors = await asyncio.gather(*running, return_exceptions=True)
    assert [type(error) for error in errors] == [EngineLost, EngineLost]
    assert errors[0] is not errors[1]
    assert engine.lost
    with pytest.raises(EngineLost):
        await engine.run(chat("hello"))


async def test_at_no_latency_a_run_never_yields():
    order = []
    asyncio.get_running_loop().call_soon(order.append, "loop")
    await FakeEngine().run(chat("hello"))
    order.append("answer")
    assert order == ["answer"]


async def test_a_request_may_bring_its_own_latency():
    engine = FakeEngine(latency=3600)
    async with asyncio.timeout(10):
        assert (await engine.run(chat("[[slow:0.01]]"))).status_code == 200


async def test_another_model_is_not_found():
    with pytest.raises(ModelNotFound) as caught:
        await FakeEngine("mine").run(chat("hello"))
    assert caught.value.param == "model"


@pytest.mark.parametrize("latency", [-1.0, math.inf, math.nan])
def test_an_impossible_latency_is_refused(latency):
    with pytest.raises(ValueError, match="latency"):
        FakeEngine(latency=latency)


@pytest.mark.parametrize("process", [False, True])
async def test_it_offers_nothing_while_it_loads(process):
    quick, slow = (create_engine(fake_options(process=process, load_seconds=seconds)) for seconds in (0, 3600))
    loading = asyncio.create_task(slow.start())
    assert (await quick.start()).models == ("fake",)
    # Begun before the other one, it would be done by now.
    assert not loading.done()
    loading.cancel()
    await asyncio.wait([loading])
    await asyncio.gather(quick.close(0), slow.close(0))


def test_the_factory_makes_what_the_settings_name():
    assert isinstance(create_engine(EngineOptions(EngineKind.FAKE)), FakeEngine)
    assert isinstance(create_engine(fake_options(process=True)), FakeProcessEngine)
    assert isinstance(create_engine(EngineOptions(EngineKind.VLLM, "some/model")), VllmEngine)


@pytest.mark.parametrize(("kind", "remedy"), [("vlm", "BACKBURNER_ENGINE"), ("vllm", "BACKBURNER_MODEL")])
def test_an_engine_that_cannot_be_created_is_refused_with_the_name_of_the_setting(kind, remedy):
    with pytest.raises(SettingsError, match=remedy):
        create_engine(WorkerSettings.load(engine=kind).engine_options)


async def test_the_factory_serves_the_fake_under_the_name_that_is_set():
    engine = create_engine(EngineOptions(EngineKind.FAKE, "org/Name"))
    assert (await engine.start()).models == ("org/Name",)


def test_the_factory_imports_nothing_heavy():
    program = "import sys, backburner_worker.engine.factory; print({'vllm', 'torch', 'fastapi'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


async def test_a_negative_limit_is_refused_as_a_model_would():
    engine = FakeEngine()
    with pytest.raises(RequestRefused, match="max_tokens"):
        await engine.run(EngineRequest("r", Endpoint.CHAT, {"model": "fake", "messages": [], "max_tokens": -1}))


# --- the journal --------------------------------------------------------------------------------------------


def journalled(path):
    return [tuple(line.split()) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("process", [False, True])
async def test_the_journal_has_a_line_for_each_request_that_was_begun(tmp_path, process):
    journal = tmp_path / "journal"
    engine = create_engine(fake_options(process=process, journal=str(journal)))
    await engine.start()
    answer = await engine.run(chat("hello"))
    with pytest.raises(RequestRefused):
        await engine.run(chat("[[fail]]"))
    await engine.close(0)
    (first, second) = journalled(journal)
    assert first[0] == str(os.getpid() if not process else engine.pid)
    assert first[1:] == ("r1", answer.body["id"].removeprefix("chatcmpl-"))
    assert second[1:] == ("r1", digest_of(chat("[[fail]]")))


async def test_the_journal_has_its_line_before_the_generation_ends(tmp_path):
    engine = FakeEngine(journal=tmp_path / "journal")
    await engine.start()
    running = asyncio.ensure_future(engine.run(chat("[[hang]]")))
    await asyncio.sleep(0)
    assert len(journalled(tmp_path / "journal")) == 1
    await engine.close(0)
    await asyncio.wait([running])


async def test_engines_share_a_journal(tmp_path):
    for text in ("a", "b"):
        engine = FakeEngine(journal=tmp_path / "journal")
        await engine.start()
        await engine.run(chat(text))
        await engine.close(0)
    assert [line[2] for line in journalled(tmp_path / "journal")] == [digest_of(chat("a")), digest_of(chat("b"))]


async def test_a_journal_that_cannot_be_opened_is_an_engine_error(tmp_path):
    with pytest.raises(EngineError, match="BACKBURNER_FAKE_JOURNAL"):
        await FakeEngine(journal=tmp_path / "missing" / "journal").start()


@pytest.mark.parametrize("process", [False, True])
def test_a_killing_prompt_kills_the_whole_worker(process):
    program = f"""
import asyncio, sys
from backburner_schemas.engine_kind import EngineKind
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.factory import create_engine
from backburner_worker.engine.options import EngineOptions, FakeOptions

async def main():
    engine = create_engine(EngineOptions(EngineKind.FAKE, fake=FakeOptions(process={process})))
    await engine.start()
    print(engine.pid if {process} else 0, flush=True)
    body = {{"model": "fake", "prompt": "[[kill]]"}}
    await engine.run(EngineRequest("r1", Endpoint.COMPLETIONS, body))

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    if process:
        deadline = time.monotonic() + 30
        while psutil.pid_exists(int(ended.stdout)):
            assert time.monotonic() < deadline, "the engine outlived its worker"
            time.sleep(0.05)


async def test_it_fails_at_a_share_of_its_requests_where_it_is_told_to():
    engine = FakeEngine(failure_ratio=0.2)
    await engine.start()
    answers = await asyncio.gather(
        *(engine.run(chat(f"question {number}")) for number in range(50)), return_exceptions=True
    )
    failures = [answer for answer in answers if isinstance(answer, EngineError)]
    assert len(failures) == 10
    assert all(failure.retryable for failure in failures)
