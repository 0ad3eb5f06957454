"""The progress of a watched job: a bar in a terminal, a line every few seconds elsewhere.

The numbers come from `meter`, which is pure; a `Display` shows them.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from backburner.cli.terminal import show
from backburner.cli.terminal.meter import Meter, Reading, describe
from backburner_schemas.status import BatchStatus

_LINE_SECONDS = 5.0


class Display(Protocol):
    """Shows readings."""

    def show(self, reading: Reading) -> None:
        """Show this one instead of, or after, the one before."""
        ...


class Lines:
    """A line when the state changes, and otherwise every few seconds if there is news."""

    def __init__(self) -> None:
        self._last: Reading | None = None
        self._said_at = float("-inf")

    def show(self, reading: Reading) -> None:
        """Print it, or skip it."""
        last, now = self._last, time.monotonic()
        if last is not None and last.state == reading.state:
            news = (last.done, last.total) != (reading.done, reading.total)
            if not news or now - self._said_at < _LINE_SECONDS:
                return
        self._last, self._said_at = reading, now
        show.say(describe(reading))


@contextmanager
def display() -> Iterator[Display]:
    """A bar where stderr is a terminal, else lines."""
    console = show.console()
    if show.is_quiet() or not console.is_terminal or console.is_dumb_terminal:
        yield Lines()
        return
    from backburner.cli.terminal.bar import Bar

    with Bar(console) as bar:
        yield bar


class Watcher:
    """What `Job.wait(progress=…)` calls: meter and display together."""

    def __init__(self, shown_on: Display) -> None:
        self._meter = Meter()
        self._display = shown_on

    def __call__(self, status: BatchStatus) -> None:
        """Show this status."""
        self._display.show(self._meter.read(status, time.monotonic()))
