"""The pipeline on a queue in memory: what an engine takes with it, and how the culprit is found."""

import asyncio

import pytest
from pipeline_harness import JOB, TENANT, CountingEngine, Harness, ended, running
from waiting import until

from backburner.runtime.failure import reasons
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import DeliveryFacts
from backburner_schemas.errors import EngineLost
from backburner_schemas.names import Lane
from backburner_schemas.result import record_id
from backburner_worker.admission.trial_sizes import TrialSizes
from backburner_worker.engine.base import EngineRequest, EngineResponse
from backburner_worker.sources.fake.source import FakeQueue

SUSPECT = DeliveryFacts(attempt=2, suspect=True)
HERE = "fake/"


def failed_here(among: int) -> DeliveryFacts:
    return DeliveryFacts(attempt=2, suspect=True, failed_at=(HERE,), among=among)


class WatchedEngine(CountingEngine):
    """Tells how many requests it ran at once, and which."""

    def __init__(self, latency: float = 0.0) -> None:
        super().__init__(latency=latency)
        self.running: list[str] = []
        self.together: list[tuple[str, ...]] = []

    async def run(self, request: EngineRequest) -> EngineResponse:
        self.running.append(request.id)
        self.together.append(tuple(self.running))
        try:
            return await super().run(request)
        finally:
            self.running.remove(request.id)


class LateKiller(WatchedEngine):
    """Dies of what kills it only when so many are in it."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    async def run(self, request: EngineRequest) -> EngineResponse:
        if "[[die]]" in str(request.body):
            await until(lambda: len(self.running) == self._count - 1)
        return await super().run(request)


@pytest.fixture(autouse=True)
def _quick_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backburner_worker.settlement.suspects._RENEW_SECONDS", 0.02)


async def lives(storage: Storage, queue: FakeQueue) -> int:
    """Start one worker after the other, as a supervisor does, until the queue is empty; how many engines died."""
    deaths = 0
    while True:
        harness = Harness(storage, queue=queue)
        async with running(harness, fails=True) as task:
            working = asyncio.create_task(until(lambda: queue.unsettled == 0))
            await asyncio.wait({task, working}, return_when=asyncio.FIRST_COMPLETED)
            working.cancel()
        error = task.exception()
        if error is None:
            return deaths
        assert all(isinstance(reason, EngineLost) for reason in reasons(error)), error
        deaths += 1


async def test_a_lost_engine_stores_what_is_finished_and_puts_back_what_was_in_it(harness: Harness) -> None:
    await harness.make_job(total=10)
    async with running(harness, fails=True) as task:
        for index in range(5):
            harness.send(index)
        for index in (5, 6):
            harness.send(index, "[[hang]]")
        await until(lambda: harness.engine.answered == 5 and harness.in_engine == 2)
        harness.send(7, "[[die]]")
        error = await ended(task)
    assert error is not None
    assert [type(reason) for reason in reasons(error)] == [EngineLost]
    assert sorted(await harness.codes()) == [0, 1, 2, 3, 4]
    assert sorted(message.envelope.index for message in harness.queue.published) == [5, 6, 7]
    assert {message.facts for message in harness.queue.published} == {failed_here(among=3)}
    assert {message.lane for message in harness.queue.published} == {Lane.RETRY}
    assert len(harness.queue.settled) == 8
    assert harness.source.clean
    assert harness.metric("retries_total", code="engine_lost") == 3


async def test_what_only_waited_when_the_engine_died_is_no_suspect(storage: Storage) -> None:
    harness = Harness(storage, concurrency=2)
    async with running(harness, fails=True) as task:
        harness.send(0, "[[hang]]", job="single-a")
        await until(lambda: harness.in_engine == 1)
        harness.send(0, "[[slow:0.2]][[echo]]", job="single-b")
        for number in range(20):
            harness.send(0, job=f"single-{number}")
        await until(lambda: harness.in_engine == 2 and len(harness.source.held()) == 22)
        harness.engine.die()
        assert await ended(task) is not None
    assert {message.envelope.job for message in harness.queue.published} == {"single-a", "single-b"}
    assert harness.queue.unsettled == 22


async def test_what_is_on_its_way_when_the_engine_dies_is_no_suspect(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    harness = Harness(storage)
    async with running(harness, fails=True) as task:

        async def begin_slowly(_delivery: object) -> None:
            reached.set()
            await go_on.wait()

        monkeypatch.setattr(harness.source, "begin", begin_slowly)
        harness.send(0, job="single-a")
        await reached.wait()
        harness.engine.die()
        go_on.set()
        assert await ended(task) is not None
    assert harness.queue.published == []
    assert harness.queue.unsettled == 1


async def test_an_engine_that_dies_idle_ends_the_worker(harness: Harness) -> None:
    async with running(harness, fails=True) as task:
        harness.engine.die()
        assert await ended(task) is not None
    assert harness.queue.published == []


async def test_an_innocent_is_put_back_however_many_attempts_it_had(storage: Storage) -> None:
    harness = Harness(storage, max_attempts=2)
    async with running(harness, fails=True) as task:
        harness.send(0, "[[hang]]", job="single-a", facts=DeliveryFacts(attempt=2))
        await until(lambda: harness.in_engine == 1)
        harness.engine.die()
        assert await ended(task) is not None
    [message] = harness.queue.published
    assert message.facts == DeliveryFacts(attempt=3, suspect=True, failed_at=(HERE,), among=1)


async def test_a_suspect_runs_alone_and_then_work_goes_on(storage: Storage) -> None:
    engine = WatchedEngine(latency=0.01)
    harness = Harness(storage, engine)
    await harness.make_job(total=60)
    async with running(harness):
        for index in range(20):
            harness.send(index, "[[slow:0.3]]" if index < 2 else "hi")
        await until(lambda: len(engine.running) > 1)
        for index in range(20, 25):
            harness.send(index, lane=Lane.RETRY, facts=SUSPECT)
        for index in range(25, 60):
            harness.send(index)
        await until(harness.summary)
        await until(lambda: harness.queue.unsettled == 0)
    suspects = {record_id(harness.envelope(index).address) for index in range(20, 25)}
    alone = [run for run in engine.together if suspects.intersection(run)]
    assert len(alone) == 5
    assert all(len(run) == 1 for run in alone)
    assert max(len(run) for run in engine.together) > 1
    assert await harness.codes() == dict.fromkeys(range(60))
    assert await harness.marks() == []


def suspects_of(among: int) -> DeliveryFacts:
    return DeliveryFacts(attempt=2, suspect=True, among=among)


async def test_suspects_of_one_death_are_tried_some_at_once_and_apart_from_all_others(storage: Storage) -> None:
    engine = WatchedEngine()
    harness = Harness(storage, engine, concurrency=64)
    await harness.make_job(total=60)
    for index in range(50):
        harness.send(index, "[[slow:0.05]]", facts=suspects_of(50))
    for index in range(50, 60):
        harness.send(index, "[[slow:0.01]]")
    size = TrialSizes().size(50)
    async with running(harness):
        await until(harness.summary)
    assert set((await harness.codes()).values()) == {None}
    suspects = {record_id(harness.envelope(index).address) for index in range(50)}
    tried = [together for together in engine.together if suspects.intersection(together)]
    assert max(map(len, tried)) == size
    # Not only the first trial, though a slow machine may part some.
    assert sum(len(together) == size for together in tried) > 1
    assert all(suspects.issuperset(together) for together in tried)
    assert await harness.marks() == []


async def test_how_many_are_tried_follows_from_this_workers_own_restart_and_generations(storage: Storage) -> None:
    harness = Harness(storage, CountingEngine(latency=0.2))
    harness.load_seconds = 40.0
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0)
        await until(harness.summary)
        sizes = harness.worker.parts.trial_sizes
    # A restart as long as hundreds of generations: each death that is not needed costs more than trying one by one.
    assert sizes.size(50) == 1 < TrialSizes().size(50)


async def test_suspects_of_two_deaths_are_not_tried_together(storage: Storage) -> None:
    engine = WatchedEngine()
    harness = Harness(storage, engine, concurrency=64)
    await harness.make_job(total=40)
    for index in range(40):
        harness.send(index, "[[slow:0.05]]", facts=suspects_of(13 if index < 13 else 27))
    async with running(harness):
        await until(harness.summary)
    few = {record_id(harness.envelope(index).address) for index in range(13)}
    assert all(few.issuperset(together) or few.isdisjoint(together) for together in engine.together)


async def test_a_trial_that_kills_leaves_fewer_suspects_and_nobody_is_convicted_among_several(storage: Storage) -> None:
    queue, size = FakeQueue(), TrialSizes().size(50)
    harness = Harness(storage, LateKiller(size), queue=queue, concurrency=64)
    await harness.make_job(total=50)
    for index in range(50):
        harness.send(index, "[[die]]" if index == 3 else "[[hang]]", facts=suspects_of(50))
    async with running(harness, fails=True) as task:
        assert await ended(task) is not None
    assert await harness.codes() == {}
    back = [message.facts for message in queue.published]
    assert len(back) == size
    assert {(facts.suspect, facts.among) for facts in back} == {(True, size)}
    assert await harness.marks() == []


async def test_one_killer_among_many_in_flight_is_found_by_groups(storage: Storage) -> None:
    queue = FakeQueue()
    harness = Harness(storage, queue=queue, concurrency=64)
    await harness.make_job(total=64)
    for index in range(64):
        harness.send(index, "[[die]]" if index == 40 else "[[slow:0.3]]")
    assert await lives(storage, queue) <= 4
    codes = await harness.codes()
    assert {index for index, code in codes.items() if code} == {40}
    assert sorted(codes) == list(range(64))
    assert codes[40] == "poison"
    assert await harness.marks() == []


async def test_suspects_whose_worker_vanished_with_several_of_them_are_tried_with_fewer_and_not_convicted(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner_worker.settlement.suspects._RENEW_SECONDS", 0.02)
    queue = FakeQueue()
    first = Harness(storage, queue=queue, concurrency=64)
    await first.make_job(total=12)
    for index in range(12):
        first.send(index, "[[slow:0.5]]", facts=suspects_of(12))
    size = TrialSizes().size(12)
    for dying in (first, Harness(storage, queue=queue, concurrency=64)):
        async with running(dying, fails=True) as task:
            await until(lambda dying=dying: len(dying.source.begun) > 1)
            _die_silently(dying)
            task.cancel()
    last = Harness(storage, queue=queue, concurrency=64)
    async with running(last):
        await until(last.summary)
    assert set((await last.codes()).values()) == {None}
    assert max(message.facts.among for message in queue.published) <= size
    assert await last.marks() == []


async def test_a_suspects_own_failure_follows_the_policy_and_stays_a_suspect(storage: Storage) -> None:
    harness = Harness(storage, max_attempts=3)
    await harness.make_job(total=2)
    async with running(harness):
        harness.send(0, "[[retry]]", facts=SUSPECT)
        harness.send(1, "[[fail]]", facts=SUSPECT)
        await until(harness.summary)
        await until(lambda: harness.queue.unsettled == 0)
    assert [message.facts for message in harness.queue.published] == [
        DeliveryFacts(attempt=3, suspect=True, failed_at=(HERE,))
    ]
    assert await harness.codes() == {0: "engine_error", 1: "invalid_request"}
    assert await harness.marks() == []


async def test_a_suspect_that_kills_the_engine_is_poison_at_once(harness: Harness) -> None:
    await harness.make_job(total=1)
    async with running(harness, fails=True) as task:
        harness.send(0, "[[die]]", facts=SUSPECT)
        assert await ended(task) is not None
    letter = await harness.letter()
    assert letter is not None
    assert (letter.code, letter.suspect, letter.attempts) == ("poison", True, 2)
    assert await harness.codes() == {0: "poison"}
    assert harness.queue.unsettled == 0
    assert await harness.marks() == []


async def test_what_was_broken_off_before_the_engine_answered_again_speaks_for_no_suspect(harness: Harness) -> None:
    await harness.make_job(total=2)
    async with running(harness, fails=True) as task:
        harness.send(0, "[[hang]]", job="single-a")
        await until(lambda: [request.entered for request in harness.pipeline._runner.running] == [True])
        [broken_off] = harness.source.held()
        harness.queue.lose(broken_off, to=harness.elsewhere, clean=True)
        await until(lambda: harness.in_engine == 0)
        harness.send(0)
        await until(lambda: harness.engine.answered == 1)
        harness.send(1, "[[die]]", facts=SUSPECT)
        assert await ended(task) is not None
    assert await harness.codes() == {0: None, 1: "poison"}


async def test_what_was_broken_off_on_its_way_to_the_engine_speaks_for_no_suspect(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_delivery: object) -> None:
        await asyncio.Event().wait()

    await harness.make_job(total=1)
    async with running(harness, fails=True) as task:
        with monkeypatch.context() as stuck:
            stuck.setattr(harness.source, "begin", never)
            harness.send(0, job="single-a")
            await until(lambda: len(harness.pipeline._runner) == 1)
            [broken_off] = harness.source.held()
            harness.queue.lose(broken_off, to=harness.elsewhere, clean=True)
            await until(lambda: harness.in_engine == 0)
        harness.send(0, "[[die]]", facts=SUSPECT)
        assert await ended(task) is not None
    assert await harness.codes() == {0: "poison"}


async def test_poison_among_innocents_kills_few_engines_and_nothing_else(storage: Storage) -> None:
    queue = FakeQueue()
    harness = Harness(storage, queue=queue)
    await harness.make_job(total=40)
    for index in range(40):
        harness.send(index, "[[die]]" if index == 17 else "[[slow:0.01]]")
    assert 2 <= await lives(storage, queue) <= 4
    codes = await harness.codes()
    assert {index for index, code in codes.items() if code} == {17}
    assert sorted(codes) == list(range(40))
    assert codes[17] == "poison"
    assert await harness.marks() == []


async def test_two_workers_that_vanished_with_a_suspect_convict_it_for_the_next_one(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner_worker.settlement.suspects._RENEW_SECONDS", 0.02)
    queue = FakeQueue(suspect_receives=3)
    first = Harness(storage, queue=queue)
    await first.make_job(total=2)
    first.send(0, "[[hang]]")
    for _ in range(2):
        # Two whole workers died of it: it was given twice and never settled.
        [delivery] = await first.elsewhere.pull({Lane.NORMAL: 1})
        queue.lose(delivery)
    for dying in (first, Harness(storage, queue=queue)):
        async with running(dying, fails=True) as task:
            await until(lambda dying=dying: dying.source.begun)
            [delivery] = dying.source.held()
            assert delivery.facts.suspect
            _die_silently(dying)
            task.cancel()
        assert len(await dying.marks()) == 1
    last = Harness(storage, queue=queue)
    async with running(last):
        last.send(1)
        await until(last.summary)
        await until(lambda: queue.unsettled == 0)
    assert await last.codes() == {0: "poison", 1: None}
    assert last.engine.answered == 1
    assert await last.marks() == []


async def test_a_suspect_whose_worker_was_lost_once_is_answered(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner_worker.settlement.suspects._RENEW_SECONDS", 0.02)
    queue = FakeQueue()
    first, second = Harness(storage, queue=queue), Harness(storage, queue=queue)
    await first.make_job(total=1)
    first.send(0, "[[slow:0.5]]", facts=SUSPECT)
    async with running(first, fails=True) as task:
        await until(lambda: first.source.begun)
        _die_silently(first)
        task.cancel()
    assert len(await first.marks()) == 1
    async with running(second):
        await until(second.summary)
    assert await second.codes() == {0: None}
    assert await second.marks() == []


async def test_a_suspect_that_was_given_up_in_a_drain_is_not_convicted(storage: Storage) -> None:
    queue = FakeQueue()
    first = Harness(storage, queue=queue, drain_seconds=0.0)
    await first.make_job(total=1)
    async with running(first):
        first.send(0, "[[slow:0.3]]", facts=SUSPECT)
        await until(lambda: first.source.begun)
        assert len(await first.marks()) == 1
    assert await first.marks() == []
    second = Harness(storage, queue=queue)
    async with running(second):
        await until(second.summary)
    assert await second.codes() == {0: None}


async def test_a_suspect_whose_mark_a_store_that_is_away_kept_is_not_convicted_where_the_queue_shows_a_clean_end(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner_worker.settlement.suspects._RENEW_SECONDS", 0.02)
    queue = FakeQueue(shows_ends=True)
    first, second = (Harness(storage, queue=queue, drain_seconds=0.0) for _ in range(2))
    await first.make_job(total=1)
    first.send(0, "[[slow:0.3]]", facts=SUSPECT)
    # The store takes no deletion while these end: two deaths, were they taken for that.
    for leaving in (first, second):
        async with running(leaving):
            await until(lambda leaving=leaving: leaving.source.begun)
            _die_silently(leaving)
        assert len(await leaving.marks()) == 1
    last = Harness(storage, queue=queue)
    async with running(last):
        await until(last.summary)
    assert await last.codes() == {0: None}
    assert await last.marks() == []


async def test_a_copy_of_a_suspect_that_runs_elsewhere_is_put_back_and_holds_up_nobody(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner_worker.settlement.suspects._RENEW_SECONDS", 0.02)
    queue = FakeQueue()
    first, second = Harness(storage, queue=queue), Harness(storage, queue=queue)
    await first.make_job(total=2)
    async with running(first):
        first.send(0, "[[hang]]", facts=SUSPECT)
        await until(lambda: first.source.begun)
        await first.source.stop()
        async with running(second):
            second.send(0, "hi", facts=SUSPECT)
            await until(lambda: queue.published)
            second.send(1)
            await until(lambda: len(queue.settled) == 2)
        [copy] = queue.published
        assert copy.facts.suspect
        assert (copy.facts.attempt, copy.facts.failed_at) == (SUSPECT.attempt, ())
        assert queue.delayed == 1
        assert len(await first.marks()) == 1
        first.pipeline.stop(drain=0.0)
    assert second.engine.answered == 1


async def test_a_copy_in_the_same_worker_leaves_the_mark_of_the_one_that_runs(storage: Storage) -> None:
    queue = FakeQueue()
    harness = Harness(storage, queue=queue, concurrency=64)
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0, "[[hang]]", facts=suspects_of(50))
        await until(lambda: harness.source.begun)
        harness.send(0, "[[hang]]", facts=suspects_of(50))
        await until(lambda: queue.delayed == 1)
        assert len(await harness.marks()) == 1
        harness.pipeline.stop(drain=0.0)


async def test_an_engine_that_dies_in_a_drain_convicts_nobody(harness: Harness) -> None:
    await harness.make_job(total=1)
    async with running(harness, fails=True) as task:
        harness.send(0, "[[hang]]", facts=SUSPECT)
        await until(lambda: harness.in_engine == 1)
        harness.pipeline.stop()
        # The signal that stopped the worker may have gone to all of its processes.
        harness.engine.die()
        await ended(task)
    assert await harness.codes() == {}
    [message] = harness.queue.published
    assert message.facts.suspect
    assert await harness.marks() == []


async def test_a_suspect_whose_lease_is_lost_before_its_turn_does_not_empty_the_engine(storage: Storage) -> None:
    harness = Harness(storage, concurrency=8)
    await harness.make_job(total=10)
    async with running(harness):
        harness.send(0, "[[hang]]")
        await until(lambda: harness.in_engine == 1)
        harness.send(1, "hi", facts=SUSPECT)
        await until(lambda: len(harness.pipeline._admitter) == 1)
        [suspect] = [delivery for delivery in harness.source.held() if delivery.facts.suspect]
        harness.queue.lose(suspect, to=harness.elsewhere, clean=True)
        for index in range(2, 10):
            harness.send(index)
        await until(lambda: harness.engine.answered == 8)
        harness.pipeline.stop(drain=0.0)


async def test_a_suspect_whose_lease_is_lost_is_not_convicted_by_its_next_owner(storage: Storage) -> None:
    queue = FakeQueue()
    first, second = Harness(storage, queue=queue), Harness(storage, queue=queue)
    await first.make_job(total=1)
    async with running(first):
        first.send(0, "[[slow:0.3]]", facts=SUSPECT)
        await until(lambda: first.source.begun)
        [delivery] = first.source.held()
        await first.source.stop()
        async with running(second):
            queue.lose(delivery)
            await until(second.summary)
    assert await second.codes() == {0: None}
    assert await first.marks() == []


async def test_a_suspect_of_a_cancelled_job_leaves_no_mark(harness: Harness) -> None:
    await harness.make_job(total=1)
    async with running(harness):
        harness.send(0, "[[hang]]", facts=SUSPECT)
        await until(lambda: harness.source.begun)
        await harness.storage.put(keys.cancelled(TENANT, JOB), b"")
        await until(lambda: harness.queue.unsettled == 0)
    assert await harness.codes() == {0: "cancelled"}
    assert await harness.marks() == []


async def test_what_ran_in_an_engine_that_died_without_a_word_is_put_back_as_a_suspect(harness: Harness) -> None:
    async with running(harness, fails=True) as task:
        harness.send(0, "[[hang]]", job="single-a")
        await until(lambda: harness.in_engine == 1)
        harness.engine._lost = True
        assert await ended(task) is not None
    assert [message.facts for message in harness.queue.published] == [failed_here(among=1)]
    assert len(harness.queue.settled) == 1


async def test_what_died_with_the_engine_is_left_to_others_if_the_queue_is_away(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner_worker.pipeline._STORE_SECONDS", 0.1)
    async with running(harness, fails=True) as task:
        harness.send(0, "[[hang]]", job="single-a")
        await until(lambda: harness.in_engine == 1)
        harness.queue.refuse(lambda _: True)
        harness.engine.die()
        assert await ended(task) is not None
    assert harness.queue.settled == []
    assert harness.queue.unsettled == 1
    # Nobody was told on the queue; with a clean end it would kill one engine after the other, for ever.
    assert harness.source.clean is False


def _die_silently(harness: Harness) -> None:
    """Have the worker clean nothing up, as after a kill -9."""

    async def nothing(*_: object) -> None:
        pass

    for name in ("clear", "give_up", "close"):
        setattr(harness.pipeline._runner._suspects, name, nothing)
