"""The real thing: prompts through a real broker into a real, warm vLLM, and answers out of a real store."""

import asyncio
import importlib.util
import itertools
import json
import runpy
import signal
from pathlib import Path

import pytest
from engine_release import expected_release
from live import lines
from processes import is_running
from stock_client import run
from waiting import until

from backburner.cli.commands.stack import ensure_api_key, ensure_pool
from backburner.local.engine_args import CPU_ARGS
from backburner.local.model import AUTO_MODEL_NAME, prepare_auto_model

pytestmark = [pytest.mark.broker, pytest.mark.store, pytest.mark.vllm, pytest.mark.timeout(400)]

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = Path(__file__).parent / "programs"
SAMPLES = {
    "What is the capital of Japan?": "tokyo",
    "What is the capital of Germany?": "berlin",
    "What is the opposite of hot?": "cold",
    "Who wrote Hamlet?": "shakespeare",
    "What is the capital of Italy?": "rome",
    "What is the chemical symbol of gold?": "au",
    "What is the opposite of big?": "small",
}
"""What the programs under examples/ ask, with a word that tells a right answer: a newcomer sees these answers first."""
OWN = {"BACKBURNER_STORE_URL": "s3://backburner/vllm", "BACKBURNER_PREFIX": "vllm"}
LOAD_SECONDS = 240
BOUND = 120


def as_tuple(value):
    return (value,) if isinstance(value, str) else value


def test_the_programs_ask_what_the_model_knows_and_without_chance():
    for program in ("sdk.py", "raw_kafka.py"):
        example = runpy.run_path(str(EXAMPLES / program))
        asked = {text for name, value in example.items() if "QUESTION" in name for text in as_tuple(value)}
        assert asked <= SAMPLES.keys()
        assert asked
        source = (EXAMPLES / program).read_text()
        assert source.count("max_tokens") == source.count("temperature")


@pytest.fixture(scope="module")
def worker(_servers, missing_server):
    """A worker with the real model, in a root of its own, where there is no other pool. It is not waited for."""
    if importlib.util.find_spec("vllm") is None:
        missing_server("vLLM is not installed")
    asyncio.run(ensure_pool({**_servers.env, **OWN}, AUTO_MODEL_NAME))
    started = _servers.worker(
        str(prepare_auto_model()),
        BACKBURNER_ENGINE="vllm",
        BACKBURNER_ENGINE_ARGS=f"{CPU_ARGS} --served-model-name {AUTO_MODEL_NAME}",
        **OWN,
    )
    yield started
    started.stop()


@pytest.fixture
async def client(stack, monkeypatch):
    """A client of that root."""
    for name, value in OWN.items():
        monkeypatch.setenv(name, value)
    async with stack.client() as connected:
        yield connected


async def test_real_prompts_get_real_answers(worker, client):
    # It is queued before the model is warm, and waits.
    with (EXAMPLES / "prompts.jsonl").open(encoding="utf-8") as file:
        real = [json.loads(line) for line in itertools.islice(file, 5)]
    # The model is weak: this is one of the few facts to rely on, and not as a question.
    body = {"model": AUTO_MODEL_NAME, "prompt": "The capital of France is", "max_tokens": 5, "temperature": 0}
    real.append({"custom_id": "fact", "method": "POST", "url": "/v1/completions", "body": body})
    samples = [
        line
        for number, question in enumerate(SAMPLES)
        for line in lines(1, question, model=AUTO_MODEL_NAME, prefix=f"sample-{number}-", max_tokens=24, temperature=0)
    ]
    bad = [
        *lines(1, "much too long " * 2_000, model=AUTO_MODEL_NAME, prefix="long"),
        *lines(1, model=AUTO_MODEL_NAME, prefix="parameter", made_up=1),
        *lines(1, model="gpt-9", prefix="model"),
    ]
    job = await client.submit([*real, *samples, *bad], pool=AUTO_MODEL_NAME)
    await until(worker.is_warm, "a warm model", seconds=LOAD_SECONDS)
    status = await job.wait(timeout=BOUND)
    counts = status.request_counts
    assert (status.status, counts.completed, counts.failed) == ("completed", len([*real, *samples]), len(bad))
    records = {record.custom_id: record async for record in job.results(join=[*real, *samples, *bad])}

    assert {name: record.error.code for name, record in records.items() if not record.ok} == {
        "long0": "context_length_exceeded",
        "parameter0": "unsupported_parameter",
        "model0": "model_not_found",
    }
    assert records["parameter0"].error.param == "made_up"
    answered = [record for record in records.values() if record.ok]
    assert "Paris" in records["fact"].text
    for number, (question, word) in enumerate(SAMPLES.items()):
        answer = records[f"sample-{number}-0"].text
        assert word in answer.lower(), f"{question} {answer}"
    for record in answered:
        body = record.response.body
        kind = "text_completion" if record.custom_id == "fact" else "chat.completion"
        assert (record.response.status_code, body["object"], body["model"]) == (200, kind, AUTO_MODEL_NAME)
        assert record.text.strip()
        assert body["usage"]["completion_tokens"] > 0
        assert body["choices"][0]["finish_reason"] in {"stop", "length"}
        assert record.backburner.engine_s > 0
        assert record.backburner.version == f"vllm-{expected_release()}"
    assert status.usage.output_tokens == sum(r.response.body["usage"]["completion_tokens"] for r in answered)
    assert worker.metric("backburner_ready") == 1
    assert worker.metric("vllm:generation_tokens_total") >= status.usage.output_tokens


async def test_the_stock_clients_get_real_answers_and_know_nothing_of_backburner(
    worker, stack, openai_python, tmp_path
):
    await until(worker.is_warm, "a warm model", seconds=LOAD_SECONDS)
    gateway, dispatcher = stack.gateway(**OWN), stack.dispatcher(**OWN)
    key = await ensure_api_key({**stack.env, **OWN}, None)
    await stack.warm(gateway, dispatcher)
    prompts, answers = tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl"
    with (EXAMPLES / "prompts.jsonl").open(encoding="utf-8") as file:
        prompts.write_text("".join(itertools.islice(file, 4)))
    variables = {"OPENAI_BASE_URL": f"{gateway.url}/v1", "OPENAI_API_KEY": key}
    said = run(openai_python, variables, EXAMPLES / "openai_batch.py", prompts, answers).splitlines()
    question = "What is the capital of Japan?"
    found = json.loads(run(openai_python, variables, PROGRAMS / "openai_async.py", AUTO_MODEL_NAME, question))
    gateway.stop()
    dispatcher.stop()
    assert said[0] == f"model: {AUTO_MODEL_NAME}"
    assert "completed: 4 of 5 answered, 1 failed" in said
    assert any(line.startswith("refused: ") and "max_tokens" in line for line in said)
    records = {record["custom_id"]: record for record in map(json.loads, answers.read_text().splitlines())}
    assert sorted(records) == sorted(json.loads(line)["custom_id"] for line in prompts.read_text().splitlines())
    for record in records.values():
        body = record["response"]["body"]
        assert (record["response"]["status_code"], record["error"], body["model"]) == (200, None, AUTO_MODEL_NAME)
    (asynchronous,) = found["output_file_id"]
    for record in (records["question-01"], asynchronous):
        assert "tokyo" in record["response"]["body"]["choices"][0]["message"]["content"].lower()


async def test_a_killed_worker_leaves_no_engine(worker):
    await until(worker.is_warm, "a warm model", seconds=LOAD_SECONDS)
    family = worker.children()
    assert family
    worker.send(signal.SIGKILL)
    # Before its exit status is asked for, which would clear up after it.
    await until(lambda: not any(map(is_running, [worker.pid, *family])), "the end of the worker and its engine")
