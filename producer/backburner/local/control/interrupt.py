"""SIGINT, SIGTERM and SIGHUP as a request to stop, noticed at safe points of the supervising thread.

A signal that raised wherever it arrives could do so between a fork and the recording of its pid. So it sets a flag, and
every wait of the supervisor goes through `pause`, which wakes at once and raises `KeyboardInterrupt`.
"""

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """A context manager that holds the process's stop signals. One at a time, on the main thread."""

    def __init__(self) -> None:
        self.asked = False
        self._raise_at_once = False
        self._insisted: Callable[[], None] | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # Started with nohup: the terminal may go.
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def pause(self, seconds: float) -> None:
        """Wait that long. Raises `KeyboardInterrupt` as soon as a stop was asked for, now or before."""
        if not self.asked:
            select.select([self._read], [], [], seconds)
        self.check()

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if a stop was asked for."""
        if self.asked:
            raise KeyboardInterrupt

    def when_insisted(self, end: Callable[[], None]) -> None:
        """From now on, call this at a further Ctrl-C, wherever it arrives: somebody does not want to wait any more."""
        self._insisted = end

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block a signal raises wherever it arrives: for long work that starts no child of ours."""
        self.check()
        self._raise_at_once = True
        try:
            yield
        finally:
            self._raise_at_once = False

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._insisted is not None:
            self._insisted()
        self.asked = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"!")
        if self._raise_at_once:
            self._raise_at_once = False
            raise KeyboardInterrupt
