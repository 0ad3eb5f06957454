"""The blocking twin: the same answers, in the caller's thread, with nothing left behind."""

import asyncio
import inspect
import sqlite3
import threading
from concurrent.futures import Future

import pytest

from backburner import (
    Client,
    Handle,
    InvalidInput,
    Job,
    JobNotFound,
    JobState,
    ResultTimeout,
    SyncClient,
    SyncHandle,
    SyncJob,
)
from backburner.testing import FakeSystem
from backburner_schemas import keys


@pytest.fixture
def system():
    before = set(threading.enumerate())
    with FakeSystem() as system:
        yield system
    assert set(threading.enumerate()) <= before  # another test's may have ended meanwhile


def line(custom_id):
    return {
        "custom_id": custom_id,
        "url": "/v1/chat/completions",
        "body": {"model": "fake", "messages": [{"role": "user", "content": "hello"}]},
    }


def test_a_prompt_is_answered(system):
    handle = system.sync_client.enqueue("hello", custom_id="mine")
    assert handle.result(timeout=5).ok
    assert system.sync_client.handle(handle.id).peek().custom_id == "mine"


def test_a_job_runs_to_its_end(system):
    client = system.sync_client
    job = client.submit((line(f"r{number}") for number in range(2000)), metadata={"a": "b"})
    told = []
    assert job.wait(timeout=10, progress=told.append).status is JobState.COMPLETED
    assert told
    assert {record.custom_id for record in job.results()} == {f"r{number}" for number in range(2000)}
    assert job.reconcile().agrees
    assert [status.id for status in client.jobs()] == [job.id]
    assert list(client.streams()) == []
    with pytest.raises(JobNotFound):
        client.stream("stream-nothing")
    assert client.job(job.id).status().metadata == {"a": "b"}
    assert client.pools()[0].live
    assert client.register_pool("fake").pool == "fake"


def test_results_are_joined(system):
    items = [line("a"), line("b")]
    job = system.sync_client.submit(items)
    assert {record.request.custom_id for record in job.results(join=items)} == {"a", "b"}


def test_a_file_is_submitted(system, tmp_path):
    import json

    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(line("a")) + "\nx\n")
    job = system.sync_client.submit(path, skip_invalid=True)
    assert [one.line for one in job.skipped] == [2]


def test_an_iterable_is_read_in_the_callers_thread(system):
    # A connection of SQLite refuses every other thread.
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE prompts (id TEXT)")
    database.executemany("INSERT INTO prompts VALUES (?)", [(f"r{number}",) for number in range(3000)])
    job = system.sync_client.submit(line(name) for (name,) in database.execute("SELECT id FROM prompts"))
    assert job.wait(timeout=10).request_counts.total == 3000
    database.close()


def test_an_iterable_may_use_the_client(system):
    client = system.sync_client

    def items():
        for number in range(3):
            client.pools()
            yield line(f"r{number}")

    assert client.submit(items()).wait(timeout=5).request_counts.total == 3


def test_what_the_iterable_raises_goes_through(system):
    def items():
        yield line("a")
        raise ValueError("gone")

    with pytest.raises(ValueError, match="gone"):
        system.sync_client.submit(items())


def test_a_refused_item_stops_the_reading(system):
    read = []

    def items():
        for number in range(100_000):
            read.append(number)
            yield line(f"r{number}") if number != 600 else "x"

    with pytest.raises(InvalidInput):
        system.sync_client.submit(items())
    assert len(read) < 100_000


def test_an_interrupted_submit_is_cancelled(system):
    system.hold()

    def items():
        yield from (line(f"r{number}") for number in range(600))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        system.sync_client.submit(items(), job_id="mine")
    sealed = system.sync_client.run(lambda _: system.storage.get(keys.sealed("default", "mine")))
    assert sealed is None


def test_an_interrupted_submit_tells_the_id_that_nobody_chose(system):
    told, begun = [], threading.Event()

    def progress(one):
        told.append(one.job_id)
        begun.set()

    def items():
        yield from (line(f"r{number}") for number in range(600))
        assert begun.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        system.sync_client.submit(items(), on_progress=progress)
    assert f"--job-id {told[0]}" in "".join(caught.value.__notes__)


def test_an_interrupted_enqueue_tells_the_id_of_its_request(system, monkeypatch):
    sending = threading.Event()

    class Silent:
        async def start(self): ...

        async def publish(self, messages):
            sending.set()
            await asyncio.Event().wait()

        async def close(self): ...

    def interrupted(_, timeout=None):
        # As Ctrl-C does, which comes while this thread waits.
        assert sending.wait(10)
        raise KeyboardInterrupt

    client = SyncClient.from_parts(system.settings, system.storage, Silent())
    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        client.enqueue("hello", model="fake")
    monkeypatch.undo()
    client.close()
    assert "client.handle('single-" in "".join(caught.value.__notes__)


def test_results_may_be_left_early(system):
    job = system.sync_client.submit(line(f"r{number}") for number in range(1000))
    results = job.results()
    next(results)
    results.close()
    assert len(list(job.results())) == 1000


def test_reading_waits_no_longer_than_it_is_told(system):
    system.hold()
    job = system.sync_client.submit([line("a")])
    for read in (job.results, job.result_batches, job.result_lines):
        with pytest.raises(ResultTimeout):
            next(read(timeout=0.05))


def test_errors_are_the_same(system):
    with pytest.raises(JobNotFound):
        system.sync_client.job("nope").status()


async def test_it_works_where_a_loop_runs_already():
    with FakeSystem() as system:
        assert system.sync_client.enqueue("hello").result(timeout=5).ok
    assert asyncio.get_running_loop().is_running()


def test_its_own_callbacks_cannot_block_it(system):
    job = system.sync_client.submit([line("a")])
    with pytest.raises(RuntimeError, match="callbacks"):
        job.wait(timeout=5, progress=lambda _: job.status())


def test_a_closed_client_says_so(system):
    client = SyncClient.from_parts(system.settings, system.storage, None)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.pools()


def test_a_submit_whose_client_is_closed_elsewhere_tells_the_id(system):
    begun, closed = threading.Event(), threading.Event()
    told, caught = [], []

    def progress(seen):
        told.append(seen.job_id)
        begun.set()

    def items():
        yield from (line(f"r{number}") for number in range(600))
        closed.wait(10)
        yield from (line(f"s{number}") for number in range(600))

    def submit():
        try:
            system.sync_client.submit(items(), on_progress=progress)
        except BaseException as error:  # noqa: BLE001 - whatever it is
            caught.append(error)

    submitter = threading.Thread(target=submit)
    submitter.start()
    assert begun.wait(10)
    system.sync_client.close()
    closed.set()
    submitter.join(10)
    (error,) = caught
    assert told[0] in "".join(error.__notes__)


def test_closing_ends_what_is_under_way(system):
    system.hold()
    client = system.sync_client
    results = client.submit([line("a")]).results()
    caught = []

    def read():
        try:
            next(results)
        except BaseException as error:  # noqa: BLE001 - whatever it is
            caught.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    client.close()
    reader.join(10)
    assert not reader.is_alive()
    assert caught


@pytest.mark.parametrize(("twin", "original"), [(SyncClient, Client), (SyncJob, Job), (SyncHandle, Handle)])
def test_the_twin_has_every_method_with_the_same_options(twin, original):
    for name, method in inspect.getmembers(original, callable):
        if name.startswith("_"):
            continue
        assert inspect.signature(method).parameters.keys() == inspect.signature(getattr(twin, name)).parameters.keys()
