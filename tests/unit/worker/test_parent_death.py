"""The tie between an engine's children and their worker: it acts only where it is meant to."""

import os
import signal
import subprocess
import sys
import time

import pytest
from processes import is_running

from backburner_worker.engine.vllm import parent_death

WATCH = "from backburner_worker.engine.vllm.parent_death import watch_parent; watch_parent(); "
ASK = (
    "import ctypes, os; value = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(value)); "
    "print(value.value, os.getsid(0) == os.getpid())"
)

OWNER_OF_A_STUCK_CHILD = """
import multiprocessing
import time
from backburner_worker.engine.vllm.parent_death import tie_children

class Stuck:
    # As an engine core that waits for its parent's greeting, the child hangs before its own code runs.
    def __reduce__(self):
        return time.sleep, (600,)

if __name__ == "__main__":
    tie_children()
    child = multiprocessing.get_context("spawn").Process(target=print, args=(Stuck(),))
    child.start()
    print(child.pid, flush=True)
    child.join()
"""
END_SECONDS = 30

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's tie is Linux's")


def child(owner):
    environment = {**os.environ, parent_death.OWNER: owner}
    return subprocess.run(
        [sys.executable, "-c", WATCH + ASK], env=environment, capture_output=True, text=True, check=False
    )


def test_a_child_of_the_worker_dies_with_its_parent_and_leaves_its_session():
    assert child(str(os.getpid())).stdout.split() == [str(int(signal.SIGKILL)), "True"]


@pytest.mark.parametrize("owner", ["", "not-a-number"])
def test_another_programs_vllm_is_left_alone(owner):
    assert child(owner).stdout.split() == ["0", "False"]


def test_a_child_whose_worker_is_gone_already_ends():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ended = child(str(gone.pid))
    assert ended.returncode == 1
    assert ended.stdout == ""


def test_a_spawned_child_that_hangs_before_its_own_code_ends_with_its_worker(tmp_path):
    script = tmp_path / "owner.py"
    script.write_text(OWNER_OF_A_STUCK_CHILD)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as owner:
        pid = int(owner.stdout.readline())
        owner.kill()
    deadline = time.monotonic() + END_SECONDS
    while is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_worker_itself_is_left_alone(monkeypatch):
    def act(*_arguments):
        raise AssertionError("the worker was tied to its own parent")

    monkeypatch.setenv(parent_death.OWNER, str(os.getpid()))
    monkeypatch.setattr(parent_death.ctypes, "CDLL", act)
    monkeypatch.setattr(parent_death.os, "setsid", act)
    parent_death.watch_parent()


def test_vllm_finds_the_tie_by_its_entry_point():
    from importlib.metadata import entry_points

    (found,) = (
        point for point in entry_points(group="vllm.general_plugins") if point.name == "backburner_parent_death"
    )
    assert found.load() is parent_death.watch_parent
