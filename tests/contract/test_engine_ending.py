"""The engine port's contract at an engine's end: closing, dying, and what those in flight are told.

On the fakes, which cost nothing to start; vLLM's own end is in tests/faults, and servers elsewhere do not end the
engine, see test_external_servers.py.
"""

import asyncio
import contextlib

import pytest
from openai_server import OpenAiServer

from backburner_schemas.errors import EngineError, EngineLost, GenerationAborted
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest
from backburner_worker.engine.fake.engine import FakeEngine
from backburner_worker.engine.fake.process import FakeProcessEngine
from backburner_worker.engine.openai_http.engine import OpenAiHttpEngine
from backburner_worker.engine.openai_http.options import OpenAiHttpOptions
from backburner_worker.engine.vllm.engine import VllmEngine

STEP_SECONDS = 60
FAKES = {"fake": FakeEngine, "fake-process": FakeProcessEngine}


@pytest.fixture(params=list(FAKES))
async def mortal(request):
    engine = FAKES[request.param]()
    async with asyncio.timeout(STEP_SECONDS):
        await engine.start()
        yield engine
        await engine.close(0)


@pytest.fixture(params=[*FAKES, "openai-http"])
async def engine(request):
    async with asyncio.timeout(STEP_SECONDS), contextlib.AsyncExitStack() as stack:
        if request.param == "openai-http":
            server = await stack.enter_async_context(OpenAiServer())
            engine = OpenAiHttpEngine(OpenAiHttpOptions((server.url,)))
        else:
            engine = FAKES[request.param]()
        await engine.start()
        yield engine
        await engine.close(0)


def chat(text, request_id="r1"):
    messages = [{"role": "user", "content": text}]
    return EngineRequest(request_id, Endpoint.CHAT, {"model": "fake", "messages": messages})


async def running(engine, text, request_id="r1"):
    """The request as a task that has reached the engine."""
    task = asyncio.ensure_future(engine.run(chat(text, request_id)))
    # All of them take a request up in its task's first step.
    await asyncio.sleep(0)
    return task


async def test_closing_lets_what_fits_into_the_drain_time_finish(engine):
    task = await running(engine, "[[slow:0.05]]")
    await engine.close(30)
    assert (await task).status_code == 200


async def test_closing_breaks_off_what_does_not_fit_as_worth_a_retry(engine):
    task = await running(engine, "[[hang]]")
    await engine.close(0)
    with pytest.raises(GenerationAborted) as caught:
        await task
    assert caught.value.retryable
    assert not engine.lost


async def test_a_closed_engine_takes_nothing_but_has_not_died(engine):
    await engine.close(0)
    with pytest.raises(EngineError) as caught:
        await engine.run(chat("hello"))
    assert not isinstance(caught.value, EngineLost)
    assert not engine.lost


async def test_a_death_is_told_to_all_in_flight_and_to_all_that_come(mortal):
    engine = mortal
    tasks = [await running(engine, "[[hang]]", f"r{number}") for number in range(3)]
    with pytest.raises(EngineLost):
        await engine.run(chat("[[die]]", "deadly"))
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [EngineLost] * 3
    assert engine.lost
    with pytest.raises(EngineLost):
        await engine.run(chat("late"))


async def test_closing_a_dead_engine_returns_and_leaves_it_dead(mortal):
    engine = mortal
    with pytest.raises(EngineLost):
        await engine.run(chat("[[die]]"))
    await engine.close(30)
    assert engine.lost


def elsewhere():
    return OpenAiHttpEngine(OpenAiHttpOptions(("http://127.0.0.1:9",)))


@pytest.mark.parametrize("make", [FakeEngine, FakeProcessEngine, lambda: VllmEngine("nowhere"), elsewhere])
async def test_closing_an_engine_that_never_started_is_fine(make):
    await make().close(0)
