"""The fault harness's supervisor: what ends is started again, and an end without a reason is told."""

import signal

import pytest

from chaos import place as places
from chaos import supervisor as supervisors
from chaos.place import Place
from chaos.supervisor import Supervisor

KILLED = -9


class Child:
    """A process that ends when a test says so."""

    def __init__(self):
        self.pid = 1
        self.starts = 0
        self.status = None

    def start(self):
        self.starts += 1
        self.status = None

    def exit_status(self):
        return self.status

    def tail(self):
        return "its last words"


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """A supervisor, and a place that it looks after."""
    monkeypatch.setattr(places.os, "kill", lambda *_: None)
    monkeypatch.setattr(supervisors, "_RESTART_SECONDS", 0.0)
    supervisor, place = Supervisor(), Place("gateway", "module", {}, 1, tmp_path / "log")
    place.child = Child()
    supervisor.add(place)
    return supervisor, place


def end(supervisor, place, status):
    """Let it end; the supervisor notices, and starts it again at its next look."""
    place.child.status = status
    for _ in range(2):
        supervisor._look_at(place)


def test_an_end_that_nobody_caused_is_told_and_followed_by_a_start(watched):
    supervisor, place = watched
    end(supervisor, place, 1)
    assert place.child.starts == 2
    assert supervisor.restarts == 1
    (told,) = supervisor.ends
    assert told.startswith("gateway ended by itself")
    assert "its last words" in told


def test_one_that_was_killed_is_started_again_without_a_word(watched):
    supervisor, place = watched
    place.send(signal.SIGKILL, "it was killed")
    end(supervisor, place, KILLED)
    assert (supervisor.ends, place.child.starts) == ([], 2)
    # The next one has no reason to end.
    end(supervisor, place, KILLED)
    assert len(supervisor.ends) == 1


@pytest.mark.parametrize(("status", "told"), [(0, 0), (1, 1)])
def test_one_that_was_asked_to_end_has_to_end_well(watched, status, told):
    supervisor, place = watched
    place.send(signal.SIGTERM, "it was asked to end")
    end(supervisor, place, status)
    assert len(supervisor.ends) == told


def test_one_that_was_stopped_and_goes_on_may_not_end(watched):
    supervisor, place = watched
    place.send(signal.SIGSTOP, None)
    place.send(signal.SIGCONT, None)
    end(supervisor, place, 0)
    assert len(supervisor.ends) == 1


def test_while_there_is_poison_any_may_end_any_number_of_times(watched):
    supervisor, place = watched
    place.any_may_end = True
    end(supervisor, place, 1)
    end(supervisor, place, KILLED)
    assert (supervisor.ends, supervisor.restarts) == ([], 2)


def test_nobody_follows_one_that_left_for_good(watched):
    supervisor, place = watched
    place.retired = True
    place.send(signal.SIGTERM, "it was asked to leave")
    end(supervisor, place, 0)
    supervisor._look_at(place)
    assert (supervisor.ends, place.child.starts, supervisor.manned) == ([], 1, [])
