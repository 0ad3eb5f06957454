"""The pipeline on a queue in memory: a crash between any two steps of an ending loses nothing and doubles nothing."""

import pytest
from pipeline_harness import CountingEngine, Harness, MoodyEngine, ended, running
from waiting import until

from backburner.storage import Storage
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import StoreDenied
from backburner_worker.outcome import Outcome
from backburner_worker.settlement.results import Results
from backburner_worker.sources.base import Delivery
from backburner_worker.sources.fake.source import FakeQueue, FakeSource

SUSPECT = DeliveryFacts(attempt=2, suspect=True)
STEPS = ["the letter", "the record", "the settle"]


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step_of_a_dead_letter_loses_nothing_and_doubles_nothing(
    storage: Storage, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(storage, max_attempts=1)
    await harness.make_job(total=1)
    with monkeypatch.context() as broken:
        _break(broken, step)
        async with running(harness, fails=True) as task:
            harness.send(0, "[[retry]]")
            assert await ended(task) is not None
    assert (await harness.letter() is not None) is (step != "the letter")
    assert (await harness.codes() == {0: "engine_error"}) is (step == "the settle")
    assert harness.queue.unsettled == 1
    again = Harness(storage, queue=harness.queue, max_attempts=1)
    async with running(again):
        await until(again.summary)
        await until(lambda: again.queue.unsettled == 0)
    assert await again.letter() is not None
    summary = await again.summary()
    assert summary is not None
    assert (summary.counts.completed, summary.counts.failed) == (0, 1)


async def test_a_crash_between_retry_and_settle_runs_it_twice_and_shows_one(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(storage, MoodyEngine(refusals=1))
    await harness.make_job(total=1)
    with monkeypatch.context() as broken:
        _break(broken, "the settle")
        async with running(harness, fails=True) as task:
            harness.send(0)
            assert await ended(task) is not None
    assert harness.queue.unsettled == 2
    again = Harness(storage, queue=harness.queue)
    async with running(again):
        await until(again.summary)
        await until(lambda: again.queue.unsettled == 0)
    summary = await again.summary()
    assert summary is not None
    assert (summary.counts.completed, summary.counts.failed) == (1, 0)


@pytest.mark.parametrize("prompt", ["hi", "[[retry]]"])
async def test_a_crash_after_a_suspect_ended_well_does_not_convict_it(
    storage: Storage, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(storage, max_attempts=3)
    await harness.make_job(total=1)

    async def crash(*_: object) -> None:
        raise StoreDenied

    with monkeypatch.context() as broken:
        broken.setattr(harness.source, "settle", crash)
        async with running(harness, fails=True) as task:
            harness.send(0, prompt, facts=SUSPECT)
            assert await ended(task) is not None
    again = Harness(storage, queue=harness.queue, max_attempts=3)
    async with running(again):
        await until(again.summary)
        await until(lambda: again.queue.unsettled == 0)
    assert set((await again.codes()).values()) == {None if prompt == "hi" else "engine_error"}
    assert await again.marks() == []


async def test_a_crash_before_the_letter_of_a_convict_convicts_it_again(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(storage)
    await harness.make_job(total=1)
    put = Storage.put

    async def put_or_crash(self: Storage, key: str, data: bytes) -> None:
        if "/dead/" in key:
            raise StoreDenied
        await put(self, key, data)

    with monkeypatch.context() as broken:
        broken.setattr(Storage, "put", put_or_crash)
        async with running(harness, fails=True) as task:
            harness.send(0, "[[die]]", facts=SUSPECT)
            assert await ended(task) is not None
    assert len(await harness.marks()) == 1
    again = Harness(storage, queue=harness.queue)
    async with running(again):
        await until(again.summary)
        await until(lambda: again.queue.unsettled == 0)
    assert await again.codes() == {0: "poison"}
    assert await again.marks() == []


async def test_a_worker_that_stops_for_another_reason_does_not_convict(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = Harness(storage, CountingEngine(latency=3600))
    await harness.make_job(total=1)
    close, left = harness.source.close, list[list[str]]()

    async def close_and_look(*, clean: bool = True) -> None:
        # From here on others have the suspect.
        left.append(await harness.marks())
        await close(clean=clean)

    async with running(harness, fails=True) as task:
        harness.send(0, facts=SUSPECT)
        await until(lambda: harness.source.begun)
        with monkeypatch.context() as broken:
            broken.setattr(harness.source, "close", close_and_look)
            broken.setattr(harness.source, "lag", lambda: 1 / 0)
            assert await ended(task) is not None
    assert left == [[]]
    again = Harness(storage, queue=harness.queue)
    async with running(again):
        await until(again.summary)
    assert await again.codes() == {0: None}


def _break(broken: pytest.MonkeyPatch, step: str) -> None:
    """Have the worker end, as if killed, right before that step."""
    put = Storage.put

    async def put_or_crash(self: Storage, key: str, data: bytes) -> None:
        if (step == "the letter" and "/dead/" in key) or (step == "the record" and "/segments/" in key):
            raise StoreDenied
        await put(self, key, data)

    async def crash(_self: FakeSource, _delivery: Delivery) -> None:
        raise StoreDenied

    if step == "the settle":
        broken.setattr(FakeSource, "settle", crash)
    else:
        broken.setattr(Storage, "put", put_or_crash)


async def test_a_request_that_breaks_the_workers_own_code_is_blamed_for_it(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = FakeQueue(suspect_receives=3)
    first = Harness(storage, queue=queue)
    await first.make_job(total=1)
    first.send(0)
    store = Results.store

    async def store_or_break(self: Results, outcome: Outcome) -> None:
        if not outcome.letter:
            raise ZeroDivisionError
        await store(self, outcome)

    def gather_or_break(_self: Results, outcome: Outcome) -> None:
        if not outcome.letter:
            raise ZeroDivisionError

    monkeypatch.setattr(Results, "store", store_or_break)
    monkeypatch.setattr(Results, "gather", gather_or_break)
    for _ in range(3):
        async with running(Harness(storage, queue=queue), fails=True) as task:
            assert await ended(task) is not None
    last = Harness(storage, queue=queue)
    async with running(last):
        await until(last.summary)
    assert await last.codes() == {0: "poison"}


@pytest.mark.parametrize("step", ["the start", "the ending"])
async def test_a_worker_whose_own_code_broke_leaves_the_queue_as_after_a_crash(
    harness: Harness, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_start(_delivery: Delivery) -> None:
        raise ZeroDivisionError

    def break_ending(_self: Results, _outcome: Outcome) -> None:
        raise ZeroDivisionError

    if step == "the start":
        monkeypatch.setattr(harness.source, "begin", break_start)
    else:
        monkeypatch.setattr(Results, "gather", break_ending)
    async with running(harness, fails=True) as task:
        harness.send(0, job="single-a")
        assert await ended(task) is not None
    assert harness.source.clean is False
