"""The fake engine at a pace: answers take as long as on a real one that is as busy, and are the same as without."""

import asyncio

import pytest

from backburner_schemas.errors import EngineLost, SettingsError
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest, ReportsLoad
from backburner_worker.engine.factory import create_engine
from backburner_worker.engine.fake.clock import FakeClock
from backburner_worker.engine.fake.engine import FakeEngine, sequence_of
from backburner_worker.engine.fake.model import Pace, Sequence
from backburner_worker.engine.fake.process import FakeProcessEngine
from backburner_worker.settings import WorkerSettings

PACE = Pace(step=0.001, sequences=4, kv=1000)
STUCK = Pace(step=1e6, sequences=4, kv=1000)


def chat(text, salt="", **fields):
    body = {"model": "fake", "messages": [{"role": "user", "content": text}], **fields}
    return EngineRequest("r1", Endpoint.CHAT, body, salt)


async def first_step(engine):
    # Nothing tells from outside that a step has begun; tests are bounded as a whole.
    while engine.load() is None:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_a_pace_changes_no_answer():
    vector = EngineRequest("r", Endpoint.EMBEDDINGS, {"model": "fake", "input": "a"})
    for request in (chat("hello"), chat("[[tokens:40]]"), vector):
        assert await FakeEngine(pace=PACE).run(request) == await FakeEngine().run(request)


async def test_an_answer_has_as_many_tokens_as_its_prompt_says_and_no_more_than_its_limit():
    engine = FakeEngine()
    assert (await engine.run(chat("[[tokens:40]]"))).usage.completion_tokens == 40
    assert (await engine.run(chat("[[tokens:40]]", max_tokens=7))).usage.completion_tokens == 7
    again = await engine.run(chat("[[tokens:40]]"))
    assert again.body["choices"][0]["message"]["content"].startswith("fake-")


async def test_an_engine_offers_what_its_pace_holds():
    info = await FakeEngine(pace=PACE).start()
    assert (info.max_sequences, info.kv_tokens) == (4, 1000)


async def test_load_is_told_from_the_first_step_on_and_only_at_a_pace():
    engine = FakeEngine(pace=STUCK)
    assert isinstance(engine, ReportsLoad)
    assert engine.load() is None
    tasks = [asyncio.create_task(engine.run(chat(f"[[tokens:9]] {number}"))) for number in range(6)]
    await first_step(engine)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    load = engine.load()
    assert (load.running, load.waiting, load.steps) == (4, 2, 1)
    assert FakeEngine().load() is None
    assert not isinstance(FakeProcessEngine(), ReportsLoad)


async def test_requests_run_beside_each_other_and_all_end():
    engine = FakeEngine(pace=PACE)
    answers = await asyncio.gather(*(engine.run(chat(f"[[tokens:{number}]] {number}")) for number in range(1, 13)))
    assert [answer.usage.completion_tokens for answer in answers] == list(range(1, 13))
    load = engine.load()
    assert load.generated == sum(range(1, 13))


async def test_an_aborted_request_frees_its_place():
    engine = FakeEngine(pace=Pace(step=0.001, sequences=1, kv=1000))
    first = asyncio.create_task(engine.run(chat("[[tokens:900000]]", max_tokens=900_000)))
    await first_step(engine)
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    async with asyncio.timeout(60):
        assert (await engine.run(chat("[[tokens:3]]"))).usage.completion_tokens == 3


async def test_what_is_in_the_model_dies_with_the_engine():
    engine = FakeEngine(pace=STUCK)
    task = asyncio.create_task(engine.run(chat("hello")))
    await first_step(engine)
    engine.die()
    with pytest.raises(EngineLost):
        await task


async def test_a_step_takes_its_seconds_at_the_speed_that_is_set():
    loop = asyncio.get_running_loop()
    clock = FakeClock(Pace(step=0.5, sequences=1, kv=100, speed=0.5))
    clock.add(Sequence(prompt=1, answer=1), loop.create_future())
    begun = clock._due
    await asyncio.sleep(0)
    assert clock._due - begun == pytest.approx(1.0, abs=0.01)


async def usage_of(request):
    return (await FakeEngine().run(request)).usage


async def test_prompts_of_one_tenant_share_their_prefix_and_no_others():
    text = " ".join(f"word{number}" for number in range(300))
    one, two = chat(f"{text} one", "a"), chat(f"{text} two", "a")
    other = chat(f"{text} one", "b")
    usage = await usage_of(one)
    first, second, third = (sequence_of(request, usage) for request in (one, two, other))
    assert len(first.prefix) > 5
    assert first.prefix[:5] == second.prefix[:5]
    assert not set(first.prefix) & set(third.prefix)
    assert len(first.prefix) * first.block < first.prompt


def test_the_factory_takes_a_pace_and_names_the_setting_that_means_nothing():
    told = {"engine": "fake", "fake_pace": "sequences=2,kv=100"}
    assert create_engine(WorkerSettings.load(**told).engine_options)
    with pytest.raises(SettingsError, match="BACKBURNER_FAKE_PACE"):
        WorkerSettings.load(engine="fake", fake_pace="fast")
    with pytest.raises(SettingsError, match="BACKBURNER_FAKE_PROCESS"):
        create_engine(WorkerSettings.load(**told, fake_process=True).engine_options)
