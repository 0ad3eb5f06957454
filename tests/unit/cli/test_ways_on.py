"""How commands end early, and that they say how to go on: errors half way, signals, time-outs."""

import asyncio
import signal

import pytest
from terminal import request_line

from backburner.cli.exit_codes import ExitCode
from backburner.cli.stopping import Stopping
from backburner.client import Client
from backburner.job import Job
from backburner_schemas.errors import JobConflict, QueueError, StoreError


def failing(error):
    async def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("error", [QueueError(), StoreError(), RuntimeError("odd")])
def test_a_submit_that_fails_half_way_says_with_which_id_to_go_on(terminal, monkeypatch, error):
    monkeypatch.setattr(Client, "submit", failing(error))
    (line,) = terminal(
        "submit", terminal.file(request_line("r1")), code=1 if isinstance(error, RuntimeError) else 5
    ).stderr.splitlines()
    assert "; run the same command with --job-id batch_" in line
    assert line.endswith(" to send the rest")


def test_an_id_that_was_given_is_the_one_that_is_told(terminal, monkeypatch):
    monkeypatch.setattr(Client, "submit", failing(QueueError()))
    told = terminal("submit", terminal.file(request_line("r1")), "--job-id", "mine", code=5).stderr
    assert "--job-id mine to send the rest" in told


def test_an_error_before_anything_was_begun_says_nothing_of_a_rest(terminal, monkeypatch):
    monkeypatch.setattr(Client, "submit", failing(JobConflict()))
    assert "the rest" not in terminal("submit", terminal.file(request_line("r1")), code=2).stderr


def test_a_wait_that_fails_names_the_job(terminal, monkeypatch):
    monkeypatch.setattr(Job, "wait", failing(StoreError()))
    result = terminal("submit", terminal.file(request_line("r1")), "--wait", code=5)
    assert f"the job goes on: `backburner watch {result.stdout.strip()}`" in result.stderr


def test_results_that_cannot_be_written_say_how_to_write_them_later(terminal):
    result = terminal("submit", terminal.file(request_line("r1")), "--wait", "-o", "/dev/full", code=2)
    assert f"`backburner results {result.stdout.strip()} -o OUT` writes the results" in result.stderr


def test_a_retry_that_was_sent_prints_its_id_whatever_comes_then(terminal, monkeypatch):
    terminal.system.fail(["r1"], QueueError())
    job = terminal.submitted("r1", "r2")
    made = asyncio.run(_retried(terminal, job))
    monkeypatch.setattr(Client, "retry_failed", made)
    monkeypatch.setattr(Job, "status", failing(StoreError()))
    result = terminal("retry", job, code=0)
    assert result.stdout == "retried\n"
    assert "warning: what failed runs again in retried" in result.stderr


async def _retried(terminal, job):
    async def retry(client, *_, **__):
        return client.job("retried")

    return retry


# --- time-outs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [("watch",), ("wait",), ("results",), ("results", "-o", "out.jsonl")])
def test_a_timeout_ends_with_6_and_the_job_goes_on(terminal, monkeypatch, args):
    monkeypatch.chdir(terminal.folder)
    terminal.system.hold()
    job = terminal.submitted("r1")
    result = terminal(args[0], job, *args[1:], "--timeout", "0.05s", code=ExitCode.TIMED_OUT)
    assert f"the job goes on: `backburner watch {job}`" in result.stderr
    assert not (terminal.folder / "out.jsonl").exists()


def test_submit_waits_no_longer_than_it_is_told(terminal):
    terminal.system.hold()
    result = terminal("submit", terminal.file(request_line("r1")), "--wait", "--timeout", "0.05s", code=6)
    assert f"`backburner watch {result.stdout.strip()}`" in result.stderr


def test_the_answer_to_a_single_request_is_waited_for_as_long(terminal):
    terminal.system.hold()
    handle = terminal("enqueue", "hi").stdout.strip()
    assert f"`backburner results {handle}`" in terminal("results", handle, "--timeout", "0.05s", code=6).stderr


@pytest.mark.parametrize(
    "args",
    [("submit", "f.jsonl", "--timeout", "5s"), ("results", "j", "--no-follow", "--timeout", "5s")],
)
def test_a_timeout_of_nothing_is_refused(terminal, args):
    assert "--timeout needs" in terminal(*args, code=2).stderr


# --- signals ------------------------------------------------------------------------------------------------


@pytest.fixture
def plain_signals():
    """As a shell starts a command: under `nohup`, SIGHUP is ignored."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


pytestmark = pytest.mark.usefixtures("plain_signals")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, ExitCode.TERMINATED), (signal.SIGHUP, ExitCode.HUNG_UP)])
def test_a_signal_cancels_a_command_that_waits_and_lets_it_tidy_up(number, code):
    tidied = []

    async def wait_for_ever():
        try:
            signal.raise_signal(number)
            await asyncio.Event().wait()
        finally:
            tidied.append(True)

    with Stopping() as stopping, pytest.raises(KeyboardInterrupt):
        stopping.run(wait_for_ever())
    assert tidied
    assert stopping.exit_code is code


def test_an_enqueue_that_is_interrupted_names_its_request(terminal):
    class Interrupted:
        async def start(self): ...

        async def publish(self, messages):
            signal.raise_signal(signal.SIGTERM)
            await asyncio.Event().wait()

        async def close(self): ...

    def client():
        return Client.from_parts(terminal.system.settings, terminal.system.storage, Interrupted())

    told = terminal("enqueue", "hello", client=client, code=ExitCode.TERMINATED).stderr
    assert "(backburner results single-" in told


def test_a_signal_interrupts_a_command_that_blocks():
    with Stopping() as stopping, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert stopping.exit_code is ExitCode.TERMINATED


def test_a_signal_that_was_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stopping():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
