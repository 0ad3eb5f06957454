"""How processes take signals before there is anything to drain."""

import os
import signal
import subprocess
import sys

import pytest

from backburner.dispatcher import __main__ as dispatcher
from backburner.gateway import __main__ as gateway
from backburner.process.signals import end_at_sigterm
from backburner_worker import __main__ as worker

BOUND = 60
LOADING = """
import asyncio, signal
from backburner.process.signals import end_at_sigterm

async def load():
    signal.raise_signal(signal.SIGTERM)  # The event loop is held meanwhile.
    print("loaded")

end_at_sigterm()
asyncio.run(load())
"""
AS_THE_FIRST = ("unshare", "--pid", "--fork", "--kill-child", *(() if os.geteuid() == 0 else ("--map-root-user",)))


def load(*before):
    """The status and the output of a program that gets SIGTERM while it loads."""
    command = [*before, sys.executable, "-c", LOADING]
    ended = subprocess.run(command, check=False, stdout=subprocess.PIPE, timeout=BOUND)
    return ended.returncode, ended.stdout


@pytest.fixture(autouse=True)
def _as_before():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("program", [worker, gateway, dispatcher])
def test_a_program_handles_sigterm_before_anything_is_loaded(program, monkeypatch):
    end_at_sigterm()
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    found = []

    def configure(_level):
        found.append(signal.getsignal(signal.SIGTERM))
        sys.exit()

    monkeypatch.setattr(program, "configure", configure)
    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(SystemExit):
        program.main()
    assert found == [handler]


def test_sigterm_ends_a_load_at_once_by_the_signal():
    assert load() == (-signal.SIGTERM, b"")


def test_sigterm_ends_the_first_process_of_a_container_too():
    try:
        subprocess.run([*AS_THE_FIRST, "true"], check=True, capture_output=True, timeout=BOUND)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no process may be the first of its namespace here")
    assert load(*AS_THE_FIRST) == (128 + signal.SIGTERM, b"")
