"""A process that ends while the object store is asked ends as it would without: its exit status is never a signal's.

obstore answers from threads of its own, which reach into the interpreter (producer/backburner/native_calls.py).
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from refusing_store import RefusingStore

PROGRAM = Path(__file__).parent / "programs" / "end_while_asking.py"
AT_ONCE = 4
"""Processes side by side, so that threads come late: without what is tested here, one in two or three crashes."""
BOUND = 120


@pytest.fixture(params=["refuses", "hangs"])
def store(request):
    with RefusingStore() as store:
        let_go = threading.Event()
        if request.param == "hangs":
            store.refuse(lambda _method, path: "first" in path or let_go.wait(), 403, "AccessDenied")
        yield store
        let_go.set()


def statuses(store, *command):
    """The exit statuses of the command, run several times at once."""
    environment = os.environ | {
        "BACKBURNER_STORE_URL": "s3://bucket/root",
        "BACKBURNER_STORE_ENDPOINT": store.endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    running = [
        subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(AT_ONCE)
    ]
    try:
        told = [process.communicate(timeout=BOUND)[1].decode() for process in running]
    finally:
        for process in running:
            process.kill()
    return [process.returncode for process in running], told


@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("returned", 0),
        ("raised", 1),
        ("interrupted", 0),
        ("loop-left", 0),
        ("loop-closed", 0),
        ("sync-client-left", 0),
    ],
)
def test_a_program_that_ends_while_it_asks_the_store_ends_by_itself(store, way, status):
    ended, told = statuses(store, str(PROGRAM), way)
    assert ended == [status] * AT_ONCE, told


def test_a_command_that_is_refused_ends_by_itself():
    with RefusingStore() as store:
        ended, told = statuses(store, "-m", "backburner", "jobs")
    assert len(set(ended)) == 1 and ended[0] > 0, told  # noqa: PT018
    assert all("AWS_SECRET_ACCESS_KEY" in each for each in told)
