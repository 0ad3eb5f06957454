"""How blocking clients end: whatever happens in a callback, at the interpreter's end or behind a fork, nobody hangs.

What would hang runs in a process of its own, which is bounded.
"""

import asyncio
import subprocess
import sys
import threading
import weakref
from textwrap import dedent

import pytest

from backburner import ClientClosed, ClientError, SyncClient
from backburner.testing import FakeSystem

HANG_SECONDS = 60


@pytest.fixture
def system():
    with FakeSystem() as system:
        yield system


def line(custom_id):
    return {
        "custom_id": custom_id,
        "url": "/v1/chat/completions",
        "body": {"model": "fake", "messages": [{"role": "user", "content": "hello"}]},
    }


def ran(program):
    """What a program printed, and how it ended: where it hangs, the test fails."""
    head = "import sys, os\nfrom backburner import *\nfrom backburner.testing import FakeSystem\n"
    return subprocess.run(
        [sys.executable, "-c", head + dedent(program)],
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), ValueError("no")], ids=repr)
def test_what_a_callback_raises_reaches_the_caller_and_the_client_goes_on(system, raised):
    def progress(_):
        raise raised

    job = system.sync_client.submit([line("a")])
    with pytest.raises(type(raised)):
        job.wait(timeout=5, progress=progress)
    with pytest.raises(type(raised)):
        system.sync_client.submit([line("b")], on_progress=progress)
    assert job.wait(timeout=5).request_counts.completed == 1


def test_exit_in_a_callback_ends_the_program():
    program = f"""
        with FakeSystem() as system:
            job = system.sync_client.submit([{line("a")!r}])
            job.wait(progress=lambda status: sys.exit(3))
    """
    assert ran(program).returncode == 3


def test_a_program_that_still_iterates_ends():
    program = f"""
        system = FakeSystem()
        system.hold()
        client = system.__enter__().sync_client
        results = client.submit([{line("a")!r}, {line("b")!r}]).results()
        client.run(lambda _: system.release(1))
        print(next(results).custom_id)
    """
    ended = ran(program)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "a\n", "")


def test_a_client_is_not_closed_in_its_own_callback(system):
    job = system.sync_client.submit([line("a")])
    with pytest.raises(ClientError, match="callbacks"):
        job.wait(timeout=5, progress=lambda _: system.sync_client.close())
    assert job.status().request_counts.total == 1


def test_a_forked_child_is_told_to_create_its_own():
    program = f"""
        system = FakeSystem()
        client = system.__enter__().sync_client
        job = client.submit([{line("a")!r}])
        results = job.results()
        child = os.fork()
        if child == 0:
            try:
                job.status()
            except ClientError as error:
                sys.stderr.write(error.message)
            del results
            client.close()
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        print(len(list(results)), job.wait(timeout=5).status)
        client.close()
    """
    ended = ran(program)
    assert (ended.returncode, ended.stdout) == (0, "1 completed\n")
    assert "create one in each process" in ended.stderr


def test_clients_that_nobody_refers_to_end_their_threads():
    def own():
        return {thread for thread in threading.enumerate() if thread.name == "backburner"}

    before = own()
    clients = [SyncClient(store_url="memory:///") for _ in range(20)]
    started = own() - before
    assert len(started) == 20
    gone = [weakref.ref(client) for client in clients]
    clients.clear()
    for thread in started:
        thread.join(HANG_SECONDS)
    assert not any(thread.is_alive() for thread in started)
    assert not any(one() for one in gone)


def test_a_job_keeps_the_client_that_it_came_from():
    system = FakeSystem()
    client = SyncClient.from_parts(system.settings, system.storage, None)
    job = client.job("nope")
    del client
    with pytest.raises(Exception, match="no job"):
        job.status()


@pytest.mark.parametrize(
    "use",
    [
        lambda client, job: client.pools(),
        lambda client, job: client.jobs(),
        lambda client, job: client.streams(),
        lambda client, job: client.dead_letters(),
        lambda client, job: job.results(),
        lambda client, job: job.result_lines(),
        lambda client, job: client.submit([line("a")]),
    ],
)
def test_a_closed_client_says_so_where_it_is_called(use):
    system = FakeSystem()
    client = SyncClient.from_parts(system.settings, system.storage, None)
    job = client.job("mine")
    client.close()
    with pytest.raises(ClientClosed, match="create a new one"):
        use(client, job)


@pytest.mark.parametrize(
    "use",
    [
        lambda client, job: client.jobs(),
        lambda client, job: client.streams(),
        lambda client, job: client.dead_letters(),
        lambda client, job: job.results(),
        lambda client, job: job.result_batches(),
        lambda client, job: job.result_lines(),
    ],
)
async def test_a_closed_client_makes_no_iterators(use):
    async with FakeSystem() as system:
        client = system.new_client()
        job = client.job("mine")
        await client.close()
        with pytest.raises(ClientClosed):
            use(client, job)


class Hanging:
    """A publisher that takes what it is given and never says that the broker has it."""

    def __init__(self, taken):
        self._taken = taken

    async def start(self):
        pass

    async def publish(self, messages):
        self._taken.set()
        await asyncio.Event().wait()

    async def close(self):
        pass


def test_whoever_submits_items_by_a_client_that_is_closed_is_told_so(system):
    taken, caught = threading.Event(), []
    client = SyncClient.from_parts(system.client.settings, system.storage, Hanging(taken))

    def submit():
        try:
            client.submit(line(f"r{number}") for number in range(3))
        except BaseException as error:  # noqa: BLE001 - whatever it is
            caught.append(type(error))

    submitter = threading.Thread(target=submit)
    submitter.start()
    assert taken.wait(HANG_SECONDS)
    client.close()
    submitter.join(HANG_SECONDS)
    assert caught == [ClientClosed]


def test_whoever_waits_for_a_client_that_is_closed_is_told_so(system, monkeypatch):
    system.hold()
    client = system.sync_client
    job = client.submit([line("a")])
    waits = threading.Event()
    caught = []

    def wait():
        try:
            job.wait(progress=lambda _: waits.set())
        except BaseException as error:  # noqa: BLE001 - whatever it is
            caught.append(type(error))

    waiter = threading.Thread(target=wait)
    start = asyncio.run_coroutine_threadsafe

    def late(work, loop):
        """The loop's thread is the faster one: what waits is cancelled before the caller goes on."""
        started = start(work, loop)
        if work.__name__ == "_shut_down":
            waiter.join(HANG_SECONDS)
        return started

    monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", late)
    waiter.start()
    assert waits.wait(HANG_SECONDS)
    client.close()
    waiter.join(HANG_SECONDS)
    assert caught == [ClientClosed]
