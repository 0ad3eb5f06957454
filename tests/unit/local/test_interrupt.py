import os
import signal
import threading

import pytest

from backburner.local.control.interrupt import Interrupts

BOUND = 30


@pytest.fixture(autouse=True)
def no_nohup():
    """The tests may run under nohup, where a hang-up is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_signal_wakes_a_pause_and_every_later_one():
    with Interrupts() as interrupts:
        threading.Timer(0, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(KeyboardInterrupt):
            interrupts.pause(BOUND)
        with pytest.raises(KeyboardInterrupt):
            interrupts.pause(BOUND)
        assert interrupts.asked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_between_the_pauses_a_signal_only_sets_the_flag(number):
    with Interrupts() as interrupts:
        interrupts.check()
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert interrupts.asked
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


def test_long_work_is_interrupted_where_it_is():
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.at_once():
            signal.raise_signal(signal.SIGTERM)
        # Tidying up after it is not interrupted again.
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_before_long_work_keeps_it_from_starting():
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt), interrupts.at_once():
            pytest.fail("it was started")


def test_handlers_are_as_before_afterwards_and_nohup_is_respected():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
            interrupts.check()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, hangup)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_further_ctrl_c_ends_what_is_being_stopped_and_a_further_signal_does_not():
    ended = []
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        interrupts.when_insisted(lambda: ended.append(True))
        signal.raise_signal(signal.SIGTERM)
        assert ended == []
        signal.raise_signal(signal.SIGINT)
        assert ended == [True]
