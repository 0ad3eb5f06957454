"""The pipeline with an engine that tells its load: all that is held is run, and the limits follow the engine."""

from pipeline_harness import CountingEngine, Harness, running
from waiting import until

from backburner_worker.admission import admitter, load_monitor
from backburner_worker.engine.fake.model import Pace


async def test_an_engine_that_is_held_short_gets_more(storage, monkeypatch):
    monkeypatch.setattr(load_monitor, "_POLL_SECONDS", 0.01)
    engine = CountingEngine(pace=Pace(step=0.001, sequences=8, kv=100_000))
    harness = Harness(storage, engine)
    for index in range(300):
        harness.send(index, body=_body(index))
    async with running(harness):
        await until(lambda: harness.metric("engine_sequences", state="running") > 0)
        assert harness.metric("admission_limit_sequences") >= 8
        await until(lambda: engine.answered == 300)
        await until(lambda: harness.metric("deliveries_settled_total", outcome="response", code="") == 300)
    assert harness.metric("admitted_sequences") == 0
    assert harness.metric("admitted_tokens") == 0


def _body(index):
    return {"model": "fake", "messages": [{"role": "user", "content": f"[[tokens:5]] {index}"}], "max_tokens": 4096}


async def test_answers_are_learned_from(storage):
    engine = CountingEngine()
    harness = Harness(storage, engine)
    async with running(harness):
        for index in range(200):
            harness.send(index, body=_body(index))
        await until(lambda: engine.answered == 200)
        estimate = harness.worker.pipeline._admitter._admission.estimate(harness.envelope(0, body=_body(0)), 300)
        # Five tokens and a few words, far from the guess.
        assert estimate.tokens < 60


async def test_a_number_beyond_all_floats_is_one_requests_trouble(storage):
    harness = Harness(storage, CountingEngine())
    await harness.make_job(total=21)
    async with running(harness):
        for index in range(20):
            harness.send(index, body=_body(index))
        # Before any answer came there is only a guess, which does not divide by it.
        await until(lambda: harness.engine.answered == 20)
        harness.send(20, body=_body(20) | {"max_tokens": 10**400})
        await until(harness.summary)
    assert len(await harness.codes()) == 21


async def test_what_cannot_be_weighed_is_run_all_the_same(storage, monkeypatch):
    def chain(body):
        if body["messages"][0]["content"] == "heavy":
            raise RuntimeError("a body that breaks our own code")
        return ()

    monkeypatch.setattr(admitter, "prefix_chain", chain)
    harness = Harness(storage, CountingEngine())
    await harness.make_job(total=3)
    async with running(harness):
        harness.send(0)
        harness.send(1, "heavy")
        harness.send(2)
        await until(harness.summary)
    assert await harness.codes() == {0: None, 1: None, 2: None}
