"""Calls that are retried until they are done: what is retried, what is raised, and what the log has of it."""

import asyncio

import pytest
from structlog.testing import CapturingLogger
from tenacity import wait_none

from backburner.runtime import retrying
from backburner.runtime.retrying import FailureLog, retry_until_done
from backburner.runtime.until_stored import until_stored
from backburner_schemas.errors import StoreDenied, StoreError


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(retrying, "_BACKOFF", wait_none())


class Calls:
    """Answers one call after the other; an exception among the answers is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def __call__(self):
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer


async def test_it_is_retried_until_it_is_done_and_each_failure_is_noted():
    first, second, noted = OSError("first"), OSError("second"), []
    result = await retry_until_done(
        Calls(first, second, "done"),
        lambda error: isinstance(error, OSError),
        lambda *failed: noted.append(failed),
    )
    assert result == "done"
    assert [failed[:2] for failed in noted] == [(first, 1), (second, 2)]
    assert 0.0 <= noted[0][2] <= noted[1][2]


async def test_another_error_is_raised_at_once_as_it_is():
    calls, noted = Calls(ValueError("no"), "never asked for"), []
    with pytest.raises(ValueError, match="no"):
        await retry_until_done(calls, lambda error: isinstance(error, OSError), lambda *failed: noted.append(failed))
    assert calls.answers == ["never asked for"]
    assert noted == []


async def test_cancelling_ends_it_during_an_outage():
    failed = asyncio.Event()

    async def call():
        await asyncio.sleep(0)
        raise OSError("away")

    task = asyncio.create_task(retry_until_done(call, lambda _: True, lambda *_: failed.set()))
    await failed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_store_is_asked_again_for_what_a_retry_can_mend_and_for_nothing_else():
    assert await until_stored(Calls(StoreError("away"), b"stored"), "write a segment") == b"stored"
    calls = Calls(StoreError("away"), StoreDenied("no access"), "never asked for")
    with pytest.raises(StoreDenied):
        await until_stored(calls, "write a segment")
    assert calls.answers == ["never asked for"]


def test_of_many_failures_at_once_one_is_logged(monkeypatch):
    failures, now, log = FailureLog("store call failed; retrying"), 100.0, CapturingLogger()
    monkeypatch.setattr(retrying.time, "monotonic", lambda: now)
    monkeypatch.setattr(retrying, "log", log)
    for number in range(100):
        failures.note("read a body", OSError(f"failure {number}"), 1, 0.2)
    now += 10
    failures.note("write a segment", OSError("later"), 7, 41.6)
    assert [call.args for call in log.calls] == [("store call failed; retrying",)] * 2
    first, second = (call.kwargs for call in log.calls)
    assert first["error"] == "failure 0"
    assert second == {"call": "write a segment", "attempt": 7, "waited_s": 42, "error": "later"}
