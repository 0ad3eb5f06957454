import os

import pytest

from backburner.local.control.status_pipe import PIPE_VARIABLE, StatusPipe, listen


@pytest.fixture
def pipe(monkeypatch):
    reader, writer = os.pipe()
    monkeypatch.setenv(PIPE_VARIABLE, str(writer))
    with os.fdopen(reader, encoding="utf-8") as opened:
        yield opened


def test_progress_is_relayed_until_ready(pipe):
    status_pipe, said = StatusPipe.from_environment(), []
    status_pipe.say("starting the broker")
    status_pipe.ready()
    assert listen(pipe, said.append) is None
    assert said == ["starting the broker"]


def test_the_reason_of_a_failure_is_relayed_whole(pipe):
    status_pipe = StatusPipe.from_environment()
    status_pipe.failed("it died:\n  last words")
    assert listen(pipe, pytest.fail) == "it died:\n  last words"


def test_an_end_without_a_word_is_noticed(pipe):
    StatusPipe.from_environment()._close()
    with pytest.raises(EOFError):
        listen(pipe, pytest.fail)


def test_children_inherit_neither_the_variable_nor_the_pipe(pipe):
    number = int(os.environ[PIPE_VARIABLE])
    status_pipe = StatusPipe.from_environment()
    assert PIPE_VARIABLE not in os.environ
    assert not os.get_inheritable(number)
    status_pipe.ready()


def test_a_stack_goes_on_when_nobody_listens_any_more(pipe):
    status_pipe = StatusPipe.from_environment()
    pipe.close()
    status_pipe.say("into the void")
    status_pipe.say("again")
    status_pipe.ready()


def test_in_the_foreground_there_is_no_pipe(monkeypatch):
    monkeypatch.delenv(PIPE_VARIABLE, raising=False)
    status_pipe = StatusPipe.from_environment()
    status_pipe.say("unheard")
    status_pipe.ready()
