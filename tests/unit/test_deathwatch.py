"""The tie between an engine's children and their worker: it acts only where it is meant to."""

import os
import signal
import subprocess
import sys

import pytest

from backburner_worker.engine import deathwatch

WATCH = "from backburner_worker.engine.deathwatch import watch_parent; watch_parent(); "
ASK = (
    "import ctypes, os; value = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(value)); "
    "print(value.value, os.getsid(0) == os.getpid())"
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's tie is Linux's")


def child(owner):
    environment = {**os.environ, deathwatch.OWNER: owner}
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


def test_the_worker_itself_is_left_alone(monkeypatch):
    def act(*_arguments):
        raise AssertionError("the worker was tied to its own parent")

    monkeypatch.setenv(deathwatch.OWNER, str(os.getpid()))
    monkeypatch.setattr(deathwatch.ctypes, "CDLL", act)
    monkeypatch.setattr(deathwatch.os, "setsid", act)
    deathwatch.watch_parent()


def test_vllm_finds_the_tie_by_its_entry_point():
    from importlib.metadata import entry_points

    (found,) = (point for point in entry_points(group="vllm.general_plugins") if point.name == "backburner_deathwatch")
    assert found.load() is deathwatch.watch_parent
