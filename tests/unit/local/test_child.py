import os
import select
import signal
import sys
import threading

import pytest

from backburner.local.programs.child import Child, Program, clean_environment, describe
from backburner_schemas.errors import SettingsError, StoreError

BOUND = 30
FOREVER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FOREVER
WITH_A_CHILD = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True); " + FOREVER
WORDS = "import sys; print('first'); print('last words'); sys.exit(3)"

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="waits for processes by pidfd")


@pytest.fixture
def make(tmp_path):
    made = []

    def make(source, **options):
        argv = options.pop("argv", (sys.executable, "-c", source))
        log = tmp_path / "logs" / "child.log"
        program = Program(name="the child", argv=argv, env=clean_environment(), log=log, error=StoreError, **options)
        made.append(Child(program))
        return made[-1]

    yield make
    for child in made:
        child.stop(grace=0)


def said(child, text):
    return lambda: text in child.tail()


def ended(pidfd):
    return bool(select.select([pidfd], [], [], BOUND)[0])


def test_it_runs_until_it_is_stopped(make):
    child = make(FOREVER)
    assert child.pid is None
    assert not child.running
    child.start()
    child.wait_until(said(child, "up"), seconds=BOUND)
    assert child.running
    child.stop(grace=BOUND)
    assert not child.running
    assert child.exit_status() == -signal.SIGTERM


def test_what_ignores_sigterm_is_killed_after_the_grace(make):
    child = make(STUBBORN)
    child.start()
    child.wait_until(said(child, "up"), seconds=BOUND)
    child.stop(grace=0.1)
    assert child.exit_status() == -signal.SIGKILL


@needs_linux
def test_its_own_children_go_with_it(make):
    child = make(WITH_A_CHILD)
    child.start()
    child.wait_until(said(child, "up"), seconds=BOUND)
    own = os.pidfd_open(int(child.tail().split()[0]))
    os.kill(child.pid, signal.SIGKILL)
    child.wait_until(lambda: not child.running, seconds=BOUND)
    assert ended(own)
    os.close(own)


def test_a_family_that_is_over_is_not_killed_again(make, monkeypatch):
    child = make(WORDS)
    child.start()
    child.wait_until(lambda: not child.running, seconds=BOUND)
    # From here on its number may be another's.
    killed = []
    monkeypatch.setattr(os, "killpg", lambda group, _number: killed.append(group))
    assert child.exit_status() == 3
    child.kill()
    child.stop(grace=BOUND)
    assert killed == []
    child.start()
    child.wait_until(lambda: child.exit_status() is not None, seconds=BOUND)
    assert killed == [child.pid]


def test_an_early_end_is_an_error_with_its_last_words_and_its_log(make):
    child = make(WORDS)
    child.start()
    with pytest.raises(StoreError) as raised:
        child.wait_until(lambda: False, seconds=BOUND)
    assert "the child ended with exit status 3 before it was ready" in raised.value.message
    assert "last words" in raised.value.message
    assert str(child.program.log) in raised.value.message


def test_what_never_gets_ready_is_an_error(make):
    child = make(FOREVER)
    child.start()
    with pytest.raises(StoreError, match="was not ready within 0 s"):
        child.wait_until(lambda: False, seconds=0)


def test_a_program_that_is_missing_is_said_to_be(make):
    child = make("", argv=("/nowhere/weed",))
    child.start()
    with pytest.raises(StoreError, match="could not be started") as raised:
        child.wait_until(lambda: False, seconds=BOUND)
    assert "/nowhere/weed" in raised.value.message


def test_a_restart_shows_only_the_new_runs_words(make):
    child = make(WORDS)
    for _ in range(2):
        child.start()
        with pytest.raises(StoreError):
            child.wait_until(lambda: False, seconds=BOUND)
    assert child.tail().count("last words") == 1
    assert child.program.log.read_text().count("last words") == 2


def test_it_is_started_from_the_main_thread_alone(make):
    child, errors = make(FOREVER), []

    def start():
        try:
            child.start()
        except SettingsError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(BOUND)
    assert len(errors) == 1
    assert child.pid is None


def test_a_pause_that_raises_breaks_the_wait_off(make):
    child = make(FOREVER)
    child.start()

    def interrupt(_seconds):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        child.wait_until(lambda: False, seconds=BOUND, pause=interrupt)


def test_a_child_gets_neither_our_credentials_nor_our_settings(monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setenv("BACKBURNER_POOL", "elsewhere")
    monkeypatch.setenv("PATH", "/bin")
    made = clean_environment(AWS_REGION="here")
    assert "AWS_SESSION_TOKEN" not in made
    assert "BACKBURNER_POOL" not in made
    assert (made["PATH"], made["AWS_REGION"]) == ("/bin", "here")


def test_statuses_in_words():
    assert describe(3) == "exit status 3"
    assert describe(-9) == "signal SIGKILL"


def test_a_kill_ends_what_is_being_waited_for(make):
    child = make(STUBBORN)
    child.start()
    child.wait_until(said(child, "up"), seconds=BOUND)
    child.kill()
    child.stop(grace=BOUND * 100)  # The grace of a long drain; it is not waited out.
    assert child.exit_status() == -signal.SIGKILL
    child.kill()
