"""What a measure counts as carried: requests that were answered, and prompts that the engine had not seen."""

from types import SimpleNamespace

import pytest

from backburner.storage import Storage
from backburner_schemas import codec
from backburner_schemas.envelope import Envelope
from backburner_schemas.names import Lane
from backburner_schemas.request import Endpoint
from backburner_worker.engine.fake.engine import FakeEngine
from backburner_worker.settings import WorkerSettings
from backburner_worker.sources.fake.source import FakeQueue
from measuring.pairs import Measured
from programs import queued_worker
from scenarios import affinity, overhead, scale


async def carry(monkeypatch, *prompts):
    """A worker's measure of these requests."""
    queue = FakeQueue()
    monkeypatch.setattr(queued_worker, "open_source", lambda *_, **__: queue.source())
    for index, prompt in enumerate(prompts):
        body = {"model": "fake", "messages": [{"role": "user", "content": prompt}]}
        envelope = Envelope(
            tenant="default", job="batch_x", index=index, custom_id=f"c{index}", url=Endpoint.CHAT, body=body
        )
        queue.send(codec.encode(envelope), Lane.NORMAL, ())
    settings = WorkerSettings(
        store_url="memory:///r",
        queue_url="kafka://127.0.0.1:9",
        engine="fake",
        pool="fake",
        segment_min_age_seconds=0.05,
        segment_max_age_seconds=0.05,
    )
    engine = FakeEngine()
    return await queued_worker.run(settings, Storage.open(settings), engine, await engine.start(), len(prompts))


async def test_a_worker_that_answers_all_is_measured(monkeypatch):
    found = await carry(monkeypatch, "one", "two", "three")
    assert found["tokens"] == 39
    assert found["segments"] >= 1


async def test_a_worker_that_refuses_a_request_is_not_measured(monkeypatch):
    with pytest.raises(RuntimeError, match=r"of 3 requests were answered, 1 ended otherwise"):
        await carry(monkeypatch, "one", "[[fail]]", "three")


def crew(monkeypatch, completed):
    """A crew of one worker, whose jobs end with so many answers."""
    counts = SimpleNamespace(completed=completed)

    class Job:
        async def wait(self, **_):
            return SimpleNamespace(request_counts=counts)

    class Client:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            pass

        async def submit(self, _lines):
            return Job()

    monkeypatch.setattr(scale, "Client", Client)
    answer = {"first": 1.0, "last": 3.0, "cpu_seconds": 0.1, "done": 100}
    return scale.Crew("m", [SimpleNamespace(ask=lambda _: answer)])


def test_a_round_of_workers_is_measured_where_all_of_its_requests_were_answered(monkeypatch):
    assert scale._round(crew(monkeypatch, completed=100), 100).rate == 50.0
    with pytest.raises(RuntimeError, match="not all of 100 requests were answered"):
        scale._round(crew(monkeypatch, completed=99), 100)


def test_affinity_is_measured_where_all_requests_were_answered(monkeypatch):
    settled = 'backburner_deliveries_settled_total{code="",outcome="%s"}'
    before = {settled % "response": 7.0}
    pages = []
    place = SimpleNamespace(metrics=lambda: pages.pop() if len(pages) > 1 else pages[0])

    async def submit(_lines):
        affinity.publisher.Partitioner(1).choose(b"key", b"value")

    monkeypatch.setattr(affinity, "_submit", submit)
    monkeypatch.setattr(affinity, "_cpu_seconds", lambda _: 1.0)
    pages[:] = [{settled % "response": 10.0}, before]
    assert affinity._carry([place], affinity.RoundRobin, [], 3).extra["shares"] == [3]
    pages[:] = [{settled % "response": 9.0, settled % "error": 1.0}, before]
    with pytest.raises(RuntimeError, match="of 3 requests 2 were answered"):
        affinity._carry([place], affinity.RoundRobin, [], 3)


def test_each_trial_of_a_hand_setting_has_prompts_that_no_other_had_and_the_order_changes(monkeypatch):
    monkeypatch.setenv("BENCH_ENGINE_ARGS", "--max-num-seqs 16")
    asked, settings = [], []

    class Bare:
        def measure(self, work, *, first, count, in_flight):
            asked.extend(range(first, first + count))
            settings.append(in_flight)
            return Measured(1.0, 1.0, work)

    assert overhead._try(Bare(), 64).keys() == {0, 24, 32}
    assert len(asked) == len(set(asked)) == 6 * 64
    assert settings == [0, 24, 32, 32, 24, 0]
