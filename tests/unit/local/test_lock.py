import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backburner.local.control import env_file, lock
from backburner.local.control.commands import run_down
from backburner_schemas.errors import SettingsError

HOLDER = """
import sys
from pathlib import Path
from backburner.local.control import lock
with lock.hold(Path(sys.argv[1]), stop_seconds=30) as temporary:
    print("held", flush=True)
    (temporary / "left").touch()
    print(temporary, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def state(tmp_path):
    return tmp_path / ".backburner"


@pytest.fixture
def holder(state):
    command = [sys.executable, "-c", HOLDER, str(state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        process.temporary = Path(process.stdout.readline().strip())
        yield process
        process.kill()
        process.wait(30)
        # What it left goes with it.
        lock.supervisor(state)


def test_the_holder_is_found_and_a_second_one_refused(state, holder):
    assert lock.supervisor(state) == holder.pid
    with pytest.raises(SettingsError, match=rf"pid {holder.pid}\); stop it with `backburner down`"):
        lock.hold(state, stop_seconds=1).__enter__()
    assert lock.supervisor(state) == holder.pid


def test_what_a_killed_holder_left_is_stale(state, holder):
    env_file.write(env_file.path_in(state), {"A": "b"})
    holder.kill()
    holder.wait(30)
    assert (state / "stack.json").exists()
    assert lock.supervisor(state) is None
    assert not (state / "stack.json").exists()
    assert not env_file.path_in(state).exists()
    with lock.hold(state, stop_seconds=1):
        assert lock.supervisor(state) == os.getpid()


def test_temporary_files_go_with_the_holder(state):
    with lock.hold(state, stop_seconds=1) as temporary:
        (temporary / "socket").touch()
    assert not temporary.exists()


def test_temporary_files_of_a_killed_holder_go_with_its_record(state, holder):
    holder.kill()
    holder.wait(30)
    assert (holder.temporary / "left").exists()
    assert lock.supervisor(state) is None
    assert not holder.temporary.exists()


def test_a_record_that_names_another_folder_removes_nothing(state, holder, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    record = json.loads((state / "stack.json").read_text())
    (state / "stack.json").write_text(json.dumps({**record, "temporary": str(precious)}))
    holder.kill()
    holder.wait(30)
    assert lock.supervisor(state) is None
    assert precious.exists()
    shutil.rmtree(holder.temporary)


def test_a_copied_record_removes_nothing_of_the_stack_that_it_was_copied_from(state, holder, tmp_path):
    copy = tmp_path / "copy" / ".backburner"
    shutil.copytree(state, copy)
    assert lock.supervisor(copy) is None
    assert (holder.temporary / "left").exists()
    assert not (copy / "stack.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "\0", "{}"])
def test_a_record_that_cannot_be_read_is_removed_like_any_other(state, text):
    state.mkdir()
    (state / "lock").touch()
    (state / "stack.json").write_text(text)
    assert lock.supervisor(state) is None
    assert not (state / "stack.json").exists()
    (state / "stack.json").write_text(text)
    with lock.hold(state, stop_seconds=1):
        assert lock.supervisor(state) == os.getpid()


def test_a_state_folder_that_goes_meanwhile_keeps_no_temporary_files(state):
    with lock.hold(state, stop_seconds=1) as temporary:
        shutil.rmtree(state)
    assert not temporary.exists()


def test_a_pid_that_another_process_has_now_is_never_signalled(state, holder, tmp_path):
    with subprocess.Popen(["sleep", "600"]) as bystander:
        record = json.loads((state / "stack.json").read_text())
        (state / "stack.json").write_text(json.dumps({**record, "pid": str(bystander.pid)}))
        assert lock.supervisor(state) is None
        said = []
        assert run_down(tmp_path, say=said.append) == 1
        assert bystander.poll() is None
        bystander.kill()


def test_down_stops_the_holder(state, holder, tmp_path):
    said = []
    assert run_down(tmp_path, say=said.append) == 0
    assert holder.wait(30) == -signal.SIGTERM
    assert said[-1] == "stopped"


def test_down_kills_a_holder_that_does_not_stop(state, holder, tmp_path, monkeypatch):
    holder.send_signal(signal.SIGSTOP)
    monkeypatch.setattr("backburner.local.control.lock.stop_seconds", lambda _state: 0.0)
    said = []
    assert run_down(tmp_path, say=said.append) == 0
    assert holder.wait(30) == -signal.SIGKILL
    assert said[-1] == "killed"
    assert not (state / "stack.json").exists()


def test_down_where_nothing_runs_says_so_and_makes_nothing(tmp_path):
    said = []
    assert run_down(tmp_path, say=said.append) == 0
    assert said == [f"nothing is running in {tmp_path}"]
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_gone_has_no_start_time(holder):
    assert lock.start_time(holder.pid) is not None
    holder.kill()
    holder.wait(30)
    assert lock.start_time(holder.pid) is None
