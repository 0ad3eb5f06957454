"""What a notebook's user meets beside DataFrames: numpy's numbers, folded findings, a line of progress, env files."""

import asyncio
import os
import sys
import types

import numpy as np
import pytest

import backburner.job as job_module
from backburner import Client, InvalidInput, JobError, RequestRefused, SettingsError, SyncClient
from backburner.connections import CallLimits
from backburner.frames import ProgressLine
from backburner.frames.progress_line import SubmitProgress
from backburner.testing import FakeSystem
from backburner_schemas.errors import InvalidJson


@pytest.fixture
async def system():
    async with FakeSystem() as system:
        yield system


def line(custom_id="a", **more):
    body = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], **more}
    return {"custom_id": custom_id, "url": "/v1/chat/completions", "body": body}


async def test_numpys_numbers_and_arrays_are_taken(system):
    asked = []
    system._answer = lambda envelope: asked.append(envelope.body) or "yes"
    numbers = {"max_tokens": np.int64(4), "temperature": np.float32(0.5), "stop_token_ids": np.array([1, 2])}
    await (await system.client.enqueue("hello", **numbers)).result(timeout=5)
    await (await system.client.submit([line(**numbers, ignore_eos=np.bool_(True))])).wait(timeout=5)
    for body in asked:
        assert (body["max_tokens"], body["temperature"], body["stop_token_ids"]) == (4, 0.5, [1, 2])
    assert asked[1]["ignore_eos"] is True


async def test_what_no_json_can_hold_is_named(system):
    with pytest.raises(InvalidJson, match=r"body\.temperature is of the type object") as refused:
        await system.client.enqueue("hello", temperature=object())
    assert refused.value.param == "body.temperature"
    with pytest.raises(InvalidInput, match=r"item 1: body\.stop\[1\] is of the type object"):
        await system.client.submit([line(stop=["a", object()])])


async def test_findings_that_say_the_same_are_folded(system, tmp_path):
    rows = [{"prompt": "hello"}] * 50
    with pytest.raises(InvalidInput, match=r"^all 50 items: custom_id is missing; ") as refused:
        await system.client.submit(rows)
    assert refused.value.total == len(refused.value.findings) == 50
    with pytest.raises(InvalidInput, match=r"^item 2 and 1 more: custom_id is missing.* \(and 1 other\); "):
        await system.client.submit([line(), {}, {}, {"custom_id": 1, "url": "", "body": {}}])
    path = tmp_path / "in.jsonl"
    path.write_text("{}\n" * 3)
    with pytest.raises(InvalidInput, match=r"^all 3 lines: custom_id is missing"):
        await system.client.submit(path)


def test_a_blocking_client_folds_them_too():
    with FakeSystem() as system, pytest.raises(InvalidInput, match=r"^all 2,000 items: custom_id is missing"):
        system.sync_client.submit([{"prompt": "hello"}] * 2000)


async def test_an_endless_iterable_is_left_at_its_first_bad_item(system):
    def items():
        while True:
            yield {}

    with pytest.raises(InvalidInput, match=r"^all 512 items"):
        await system.client.submit(items())


async def test_progress_is_told_when_something_changed_and_is_a_line(system, monkeypatch):
    system.hold()
    job = await system.client.submit([line("a"), line("b")])
    looks, told, look, seen_thrice = 0, [], job_module.derive, asyncio.Event()

    def looked(view):
        nonlocal looks
        looks += 1
        if looks == 3:
            seen_thrice.set()
        return look(view)

    async def release():
        await seen_thrice.wait()
        await system.release()

    monkeypatch.setattr(job_module, "derive", looked)
    await asyncio.gather(job.wait(timeout=30, progress=told.append), release())
    assert looks > len(told)
    assert [str(one) for one in told] == [
        f"{job.id} in_progress: 0 of 2 answered, 0 failed",
        f"{job.id} completed: 2 of 2 answered, 0 failed",
    ]


class Display:
    """IPython's `display`, which writes down what is drawn."""

    def __init__(self):
        self.drawn = []

    def __call__(self, bundle, *, raw, display_id):
        assert raw
        assert display_id
        self.update(bundle, raw=raw)
        return self

    def update(self, bundle, *, raw):
        assert raw
        self.drawn.append(bundle["text/plain"])


@pytest.fixture
def kernel(monkeypatch):
    display = Display()
    ipython, module = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return display


async def test_a_notebook_draws_one_line(system, kernel):
    shown = ProgressLine()
    assert kernel.drawn == [""]
    shown(SubmitProgress(checked=1, sent=1000, total=None))
    job = await system.client.submit([line()])
    await job.wait(timeout=5, progress=shown)
    assert kernel.drawn[1:] == ["submitting: 1,000 requests", f"{job.id} completed: 1/1 requests, 0 failed"]


async def test_elsewhere_it_prints_lines(system, capsys):
    job = await system.client.submit([line()])
    await job.wait(timeout=5, progress=ProgressLine())
    assert "completed: 1/1 requests, 0 failed" in capsys.readouterr().err


@pytest.fixture
def env_file(tmp_path, monkeypatch):
    for name in [*os.environ]:
        if name.startswith(("BACKBURNER_", "AWS_")):
            monkeypatch.delenv(name)
    path = tmp_path / ".backburner" / "env"
    path.parent.mkdir()
    path.write_text(
        "export BACKBURNER_QUEUE_URL='kafka://127.0.0.1:1'\n"
        "export BACKBURNER_STORE_URL='s3://backburner/main'\n"
        "export BACKBURNER_STORE_ENDPOINT='http://127.0.0.1:2'\n"
        "export BACKBURNER_ENGINE='fake'\n"
        "export BACKBURNER_KAFKA_IDEMPOTENCE='false'\n"
        "export AWS_ACCESS_KEY_ID='key'\n"
        "export AWS_SECRET_ACCESS_KEY='hidden'\n"
        "export AWS_REGION='eu-west-1'\n"
    )
    return path


def test_the_stack_of_the_folder_is_found_from_below(env_file, monkeypatch):
    below = env_file.parent.parent / "notebooks" / "mine"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    # Of an earlier `up`: the file is right.
    monkeypatch.setenv("BACKBURNER_QUEUE_URL", "kafka://127.0.0.1:9")
    before = dict(os.environ)
    client = Client.from_env_file(tenant="mine")
    settings = client.settings
    assert (settings.queue_url, settings.tenant, settings.kafka_idempotence) == ("kafka://127.0.0.1:1", "mine", False)
    assert dict(os.environ) == before
    # The keys are the stack's, though the environment has none: otherwise this store could not be opened.
    assert client._connections.storage is not None
    assert "hidden" not in repr(settings) + repr(settings.aws)


def test_a_path_can_be_named_and_the_blocking_client_has_the_same(env_file):
    with SyncClient.from_env_file(env_file, timeout=5, max_retries=1) as client:
        assert client.settings.store_url == "s3://backburner/main"
        assert client._client._connections.limits == CallLimits(5, 1)


def test_sqs_gets_the_keys_too(env_file):
    from backburner.publishers.sqs.connection import sqs_session

    settings = Client.from_env_file(env_file, queue_url="sqs://us-east-1?endpoint=http://127.0.0.1:3").settings
    found = sqs_session(settings).get_credentials()
    assert (found.access_key, found.secret_key) == ("key", "hidden")


def test_where_there_is_no_stack_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="backburner up"):
        Client.from_env_file()
    with pytest.raises(SettingsError, match="backburner up"):
        Client.from_env_file(tmp_path / "env")


def test_half_a_key_is_refused(env_file):
    env_file.write_text("export BACKBURNER_STORE_URL='s3://b/r'\nexport AWS_ACCESS_KEY_ID='key'\n")
    with pytest.raises(SettingsError, match="AWS_SECRET_ACCESS_KEY"):
        Client.from_env_file(env_file)


async def test_an_error_is_shown_by_its_callers_line_and_its_message(system):
    async def cell():
        await system.client.enqueue("hello", body={})

    with pytest.raises(RequestRefused) as refused:
        await cell()
    shown = refused.value._render_traceback_()
    assert len(shown) == 2
    assert shown[0].startswith("----> ")
    assert shown[0].endswith('await system.client.enqueue("hello", body={})')
    assert shown[1] == f"RequestRefused: {refused.value.message}"


def test_notes_are_shown_too():
    error = JobError("no")
    error.add_note("job mine is not sealed")
    assert error._render_traceback_() == ["JobError: no", "job mine is not sealed"]
