"""The pipeline with an engine that tells its load: all that is held is run, and the limits follow the engine."""

from pipeline_bench import Bench, CountingEngine, running, until

from backburner_worker.admission import admitter, load_monitor
from backburner_worker.engine.fake.model import Pace


async def test_an_engine_that_is_held_short_gets_more(storage, monkeypatch):
    monkeypatch.setattr(load_monitor, "_LOOK_SECONDS", 0.01)
    engine = CountingEngine(pace=Pace(step=0.001, sequences=8, kv=100_000))
    bench = Bench(storage, engine)
    for index in range(300):
        bench.send(index, body=_body(index))
    async with running(bench):
        await until(lambda: bench.metric("engine_sequences", state="running") > 0)
        assert bench.metric("admission_limit", of="sequences") >= 8
        await until(lambda: engine.answered == 300)
        await until(lambda: bench.metric("settled_total", outcome="response", code="") == 300)
    assert bench.metric("admitted", of="sequences") == 0
    assert bench.metric("admitted", of="tokens") == 0


def _body(index):
    return {"model": "fake", "messages": [{"role": "user", "content": f"[[tokens:5]] {index}"}], "max_tokens": 4096}


async def test_answers_are_learned_from(storage):
    engine = CountingEngine()
    bench = Bench(storage, engine)
    async with running(bench):
        for index in range(200):
            bench.send(index, body=_body(index))
        await until(lambda: engine.answered == 200)
        estimate = bench.worker.pipeline._admitter._admission.estimate(bench.envelope(0, body=_body(0)), 300)
        # Five tokens and a few words, far from the guess.
        assert estimate.tokens < 60


async def test_a_number_beyond_all_floats_is_one_requests_trouble(storage):
    bench = Bench(storage, CountingEngine())
    await bench.make_job(total=21)
    async with running(bench):
        for index in range(20):
            bench.send(index, body=_body(index))
        # Before any answer came there is only a guess, which does not divide by it.
        await until(lambda: bench.engine.answered == 20)
        bench.send(20, body=_body(20) | {"max_tokens": 10**400})
        await until(bench.summary)
    assert len(await bench.codes()) == 21


async def test_what_cannot_be_weighed_is_run_all_the_same(storage, monkeypatch):
    def chain(body):
        if body["messages"][0]["content"] == "heavy":
            raise RuntimeError("a body that breaks our own code")
        return ()

    monkeypatch.setattr(admitter, "prefix_chain", chain)
    bench = Bench(storage, CountingEngine())
    await bench.make_job(total=3)
    async with running(bench):
        bench.send(0)
        bench.send(1, "heavy")
        bench.send(2)
        await until(bench.summary)
    assert await bench.codes() == {0: None, 1: None, 2: None}
