"""What a command does, once it takes over a second: on a terminal as a line that goes away, elsewhere as lines.

A thread of its own shows it, so that it is seen also while the command blocks. For jobs that are watched: `progress`.
"""

import threading
import time
from typing import TYPE_CHECKING, Self

from backburner.cli.terminal import show
from backburner.cli.terminal.meter import duration

if TYPE_CHECKING:
    from rich.status import Status

_FIRST_SECONDS = 1.0
_NEWS_SECONDS = 5.0
_SAME_SECONDS = 30.0
_LOOK_SECONDS = 0.25


class Pace:
    """When a line is due, where lines stay. Pure."""

    def __init__(self, now: float) -> None:
        """All times are seconds of one clock."""
        self._begun = now
        self._said: tuple[float, str] | None = None

    def due(self, text: str, now: float) -> str | None:
        """The line to print now, if any: after a second, then at news, and otherwise twice a minute with the time."""
        passed = now - self._begun
        if self._said is None:
            if passed < _FIRST_SECONDS:
                return None
            line = text
        else:
            said_at, said = self._said
            if now - said_at < (_SAME_SECONDS if text == said else _NEWS_SECONDS):
                return None
            line = text if text != said else f"{text} ({duration(passed)})"
        self._said = (now, text)
        return line


class Activity:
    """A context manager. Nothing may be written within the block, but behind `rest` or `close`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._pace = Pace(time.monotonic())
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._status: Status | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if not show.is_quiet():
            self._thread = threading.Thread(target=self._show, name="activity", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, text: str) -> None:
        """Say this from now on."""
        self._text = text

    def rest(self) -> None:
        """Take the line away, and begin anew: something came, and what comes next may take a while again."""
        with self._lock:
            self._take_away()
            self._pace = Pace(time.monotonic())

    def close(self) -> None:
        """Take the line away for good."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._take_away()

    def _show(self) -> None:
        console = show.console()
        on_terminal = console.is_terminal and not console.is_dumb_terminal
        while not self._ended.wait(_LOOK_SECONDS):
            with self._lock:
                line = self._pace.due(self._text, time.monotonic())
                if not on_terminal:
                    if line is not None:
                        show.say(line)
                elif self._status is not None:
                    self._status.update(show.one_line(self._text))
                elif line is not None:
                    self._status = console.status(show.one_line(self._text))
                    self._status.start()

    def _take_away(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
