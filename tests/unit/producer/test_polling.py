"""Waiting outlasts an outage of the store, but not one without an end."""

import asyncio

import pytest
from segments import answered, store

from backburner import JobState, ResultTimeout
from backburner.jobs.polling import Patience, PollPace
from backburner.storage import Storage
from backburner_schemas.errors import StoreDenied, StoreError


@pytest.fixture
def outage(monkeypatch):
    """The next reads of the store fail, as many as are told."""
    left = []
    real = Storage.get

    async def get(self, key, **limits):
        if left:
            raise left.pop()
        return await real(self, key, **limits)

    monkeypatch.setattr(Storage, "get", get)
    return left


def line(custom_id):
    return {"custom_id": custom_id, "url": "/v1/chat/completions", "body": {"model": "fake", "messages": []}}


async def test_waiting_for_an_answer_outlasts_an_outage(system, outage):
    handle = await system.client.enqueue("hello")
    outage += [StoreError(), StoreError()]
    assert (await handle.result(timeout=10)).ok
    assert outage == []


async def test_waiting_for_a_job_outlasts_an_outage(system, outage):
    job = await system.client.submit([line("a")])
    outage += [StoreError(), StoreError()]
    assert (await job.wait(timeout=10)).status is JobState.COMPLETED
    assert outage == []


async def test_following_outlasts_an_outage_and_gives_nothing_twice(system, outage):
    system.hold()
    job = await system.client.submit([line(f"r{number}") for number in range(600)])
    await system.release(300)
    results = job.results()
    got = [await anext(results)]
    await system.release()
    outage.append(StoreError())
    got += [record async for record in results]
    assert sorted(record.backburner.index for record in got) == list(range(600))
    assert outage == []


async def test_a_look_at_once_tells_the_outage(system, outage):
    job = await system.client.submit([line("a")])
    outage.append(StoreError())
    with pytest.raises(StoreError):
        _ = [record async for record in job.results(follow=False)]


@pytest.mark.parametrize(
    "wait",
    [
        lambda client: client.handle("single-x").result(timeout=0.01),
        lambda client: client.job("x").wait(timeout=0.01),
        lambda client: anext(client.job("x").results(timeout=0.01)),
        lambda client: anext(client.job("x").result_lines(timeout=0.01)),
    ],
)
async def test_a_time_out_is_kept_where_the_store_takes_the_call_and_never_answers(system, monkeypatch, wait):
    monkeypatch.setattr("backburner.jobs.polling._LEAST_LOOK_SECONDS", 0.0)

    async def get(self, key, **limits):
        await asyncio.Event().wait()

    monkeypatch.setattr(Storage, "get", get)
    with pytest.raises(TimeoutError, match="gave no answer") as caught:
        await wait(system.client)
    assert isinstance(caught.value, ResultTimeout)
    assert caught.value.job_id in {"single-x", "x"}


async def test_what_is_not_there_at_the_end_of_the_time_is_not_blamed_on_the_store(system, monkeypatch):
    monkeypatch.setattr("backburner.jobs.polling._LEAST_LOOK_SECONDS", 60.0)
    system.hold()
    handle, job = await system.client.enqueue("hello"), await system.client.submit([line("a")])
    for wait in (handle.result, job.wait):
        with pytest.raises(ResultTimeout) as caught:
            await wait(timeout=0.05)
        assert "object store" not in caught.value.message


async def test_a_look_at_the_end_of_the_time_is_one_too():
    pace, looked = PollPace(0.001, 0.001, timeout=0.0), False
    async with pace.look("no answer"):
        for _ in range(5):
            await asyncio.sleep(0)
        looked = True
    assert looked


@pytest.mark.parametrize("read", ["results", "result_batches", "result_lines"])
async def test_reading_waits_no_longer_than_it_is_told_and_gives_what_is_there(system, monkeypatch, read):
    monkeypatch.setattr("backburner.jobs.polling._LEAST_LOOK_SECONDS", 60.0)
    system.hold()
    job = await system.client.submit([line(f"r{number}") for number in range(3)], job_id="mine")
    await store(system, [answered(0), answered(1)])
    got = []

    async def read_all():
        async for one in getattr(job, read)(timeout=0.05):
            got.append(one)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(ResultTimeout, match=r"job mine did not end within 0\.05 s") as caught:
        await read_all()
    assert caught.value.job_id == "mine"
    counts = {"results": lambda one: 1, "result_batches": len, "result_lines": lambda lines: lines.count}
    assert sum(map(counts[read], got)) == 2


async def test_what_has_ended_is_read_to_its_end_whatever_the_time_out(system):
    job = await system.client.submit([line(f"r{number}") for number in range(600)])
    got = []
    async for record in job.results(timeout=0):
        await asyncio.sleep(0)
        got.append(record.index)
    assert sorted(got) == list(range(600))


async def test_a_read_that_hangs_ends_with_the_time_out(system, monkeypatch):
    monkeypatch.setattr("backburner.jobs.polling._LEAST_READ_SECONDS", 0.0)
    job = await system.client.submit([line("a")])

    async def view(self, key, **limits):
        await asyncio.Event().wait()

    monkeypatch.setattr(Storage, "view", view)
    with pytest.raises(ResultTimeout, match="gave no answer"):
        _ = [record async for record in job.results(timeout=0.01)]


async def test_a_time_out_of_nothing_looks_once(system):
    handle = await system.client.enqueue("hello")
    assert (await handle.result(timeout=0)).ok


async def test_a_time_out_of_somebody_elses_goes_through(system):
    pace = PollPace(0.001, 0.001, timeout=60)
    with pytest.raises(TimeoutError) as caught:
        async with pace.look("nothing"):
            raise TimeoutError
    assert not isinstance(caught.value, ResultTimeout)


async def test_what_trying_again_cannot_help_is_told_at_once(system, outage):
    handle = await system.client.enqueue("hello")
    outage.append(StoreDenied())
    with pytest.raises(StoreDenied):
        await handle.result(timeout=10)


def test_patience_has_an_end_and_begins_anew_after_a_success():
    patience = Patience(1e9)
    patience.bear(StoreError())
    patience.went_well()
    patience.bear(StoreError())
    spent = Patience(0.0)
    with pytest.raises(StoreError):
        spent.bear(StoreError())


async def test_pauses_grow_up_to_a_bound_and_start_again_when_something_came(monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    pace = PollPace(1.0, 2.0)
    for _ in range(4):
        await pace.pause("nothing")
    pace.quicken()
    await pace.pause("nothing")
    assert pauses == [1.0, 1.5, 2.0, 2.0, 1.0]


async def test_a_glance_that_finds_something_ends_the_pause():
    found = [StoreError(), False, True]

    async def glance():
        if isinstance(one := found.pop(0), StoreError):
            raise one
        return one

    async with asyncio.timeout(30):
        await PollPace(3600.0, 3600.0).pause("nothing", glance)
    assert found == []


async def test_a_glance_that_hangs_holds_up_nothing():
    async def glance():
        await asyncio.Event().wait()

    async with asyncio.timeout(30):
        await PollPace(0.5, 0.5).pause("nothing", glance)


async def test_a_jobs_end_is_noticed_between_two_looks(system, monkeypatch):
    monkeypatch.setattr("backburner.job._FIRST_PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr("backburner.job._LONGEST_PAUSE_SECONDS", 3600.0)
    system.hold()
    job = await system.client.submit([line("a")])
    looked = asyncio.Event()
    waiting = asyncio.create_task(job.wait(timeout=60, progress=lambda _status: looked.set()))
    await looked.wait()
    await system.release()
    assert (await waiting).status is JobState.COMPLETED


async def test_a_time_out_tells_what_did_not_come():
    pace = PollPace(0.001, 0.001, timeout=0.0)
    with pytest.raises(ResultTimeout, match="no answer within 0 s"):
        await pace.pause("no answer")
