"""The pipeline on a queue in memory: whatever becomes of a request, no log line holds anything of its prompt."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pipeline_harness import JOB, TENANT, CountingEngine, Harness, running
from waiting import until

from backburner import logs
from backburner.storage import Storage
from backburner_schemas import codec, keys
from backburner_schemas.errors import ContextLengthExceeded, EngineBusy, EngineError, RequestRefused
from backburner_worker.engine.base import EngineRequest, EngineResponse

CANARY = "canary-7f3a"


@pytest.fixture(autouse=True)
def _logging(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    logs.configure("info", json=True)
    yield
    structlog.reset_defaults()


class QuotingEngine(CountingEngine):
    """Fails as it is told, and quotes the whole request in what it says, as real ones do."""

    def __init__(self, kind: type[Exception]) -> None:
        super().__init__()
        self.kind = kind

    async def run(self, request: EngineRequest) -> EngineResponse:
        said = f"cannot take {json.dumps(request.body)}: " + CANARY * 10_000
        try:
            int(said)
        except ValueError as error:
            raise self.kind(said) from error


async def log_of(harness: Harness, capsys: pytest.CaptureFixture[str], send: Any) -> str:
    async with running(harness):
        send(harness)
        await until(lambda: harness.queue.unsettled == 0)
    said = capsys.readouterr().err
    assert said, "nothing was logged, so this shows nothing"
    return said


@pytest.mark.parametrize(
    "kind", [RequestRefused, ContextLengthExceeded, EngineError, EngineBusy, RuntimeError, KeyError]
)
async def test_what_an_engine_says_goes_into_the_record_cut_and_into_no_log(
    storage: Storage, capsys: pytest.CaptureFixture[str], kind: type[Exception]
) -> None:
    harness = Harness(storage, QuotingEngine(kind))
    await harness.make_job(total=1)
    said = await log_of(harness, capsys, lambda it: it.send(0, CANARY))
    assert CANARY not in said
    (record,) = await harness.records()
    assert record.error is not None
    assert len(record.error.message.encode()) <= 1024
    lines = [json.loads(line) for line in said.splitlines()]
    assert any(line.get("code") == record.error.code and line["index"] == 0 for line in lines)


async def test_where_prompts_are_logged_so_is_what_the_engine_says(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = Harness(storage, QuotingEngine(RequestRefused), log_prompts=True)
    await harness.make_job(total=1)
    assert CANARY in await log_of(harness, capsys, lambda it: it.send(0, CANARY))


def body(**fields: Any) -> Any:
    given = {"model": "fake", "messages": [{"role": "user", "content": CANARY}], **fields}
    return lambda it: it.send(0, body=given)


def raw(value: bytes) -> Any:
    return lambda it: it.queue.send(value)


ENVELOPE = {"v": 1, "tenant": TENANT, "job": JOB, "index": 0, "custom_id": "c", "url": "/v1/chat/completions"}

FAULTS = {
    "an unknown field": body(**{f"{CANARY} x": 1}),
    "a wrong type": body(temperature=CANARY),
    "a model's name": body(model=CANARY),
    "a wrong message": body(messages=[{"role": CANARY, "content": 7}]),
    "bad words": body(bad_words=[CANARY] * 1000),
    "no json": raw(f'{{"v":1,"body":"{CANARY}'.encode()),
    "no object": raw(json.dumps([CANARY]).encode()),
    "a wrong envelope": raw(json.dumps({**ENVELOPE, "body": CANARY}).encode()),
    "a wrong url": raw(json.dumps({**ENVELOPE, "url": CANARY, "body": {"model": "fake"}}).encode()),
    "a wrong deadline": raw(json.dumps({**ENVELOPE, "deadline": CANARY, "body": {}}).encode()),
    "a wrong line": raw(json.dumps({"custom_id": "c", "method": CANARY, "url": CANARY, "body": CANARY}).encode()),
    "a wrong reference": raw(json.dumps({**ENVELOPE, "body_ref": f"{CANARY}/../x"}).encode()),
    "wrong names": raw(json.dumps({**ENVELOPE, "job": f"{CANARY} x", "body": {}}).encode()),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_that_a_sender_gets_wrong_is_repeated_in_a_log(
    harness: Harness, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    await harness.make_job(total=1)
    assert CANARY not in await log_of(harness, capsys, FAULTS[fault])


@pytest.mark.parametrize("stored", [f'{{"messages":"{CANARY}', f'["{CANARY}"]', f'{{"model":"{CANARY}"}}'])
async def test_nothing_of_a_stored_body_is(storage: Storage, capsys: pytest.CaptureFixture[str], stored: str) -> None:
    harness = Harness(storage)
    await harness.make_job(total=1)
    key = keys.body(TENANT, JOB, 0)
    await storage.put(key, stored.encode())
    envelope = harness.envelope(0, body=None, body_ref=key)
    assert CANARY not in await log_of(harness, capsys, lambda it: it.queue.send(codec.encode(envelope)))


async def test_nothing_of_a_jobs_own_objects_is(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    harness = Harness(storage)
    await storage.put(keys.manifest(TENANT, JOB), json.dumps({"id": CANARY, "metadata": CANARY}).encode())
    assert CANARY not in await log_of(harness, capsys, lambda it: it.send(0, CANARY))
