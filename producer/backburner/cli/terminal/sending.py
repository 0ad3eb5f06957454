"""What is shown while an input is read and sent: how far it is, and for how long it goes on."""

import time
from typing import TYPE_CHECKING, Self

from backburner.cli.terminal.activity import Activity
from backburner.cli.terminal.meter import duration

if TYPE_CHECKING:
    from backburner.submission.submission import SubmitProgress


class Sending:
    """A context manager that `Client.submit` calls with its progress."""

    def __init__(self) -> None:
        self._activity = Activity("reading the input")
        self._begun: tuple[float, int] | None = None
        """When the first was sent, and how many there were then: a submit may go on where an earlier one ended."""

    def __enter__(self) -> Self:
        self._activity.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, progress: "SubmitProgress") -> None:
        """Show how far it is."""
        if not progress.sent:
            self.checked(progress.checked)
            return
        now = time.monotonic()
        if self._begun is None:
            self._begun = now, progress.sent
        self._activity.update(sending_line(progress.sent, progress.total, *self._begun, now))

    def checked(self, lines: int) -> None:
        """Show how much was read."""
        self._activity.update(f"checking: {lines:,} lines" if lines else "reading the input")

    def close(self) -> None:
        """Take the line away, so that other lines can be written."""
        self._activity.close()


def sending_line(sent: int, total: int | None, begun_at: float, begun_with: int, now: float) -> str:
    """How far it is, in one line, with the time left where the total is known. Pure."""
    if not total:
        return f"sending: {sent:,}"
    line = f"sending: {sent:,} of {total:,}"
    new, passed = sent - begun_with, now - begun_at
    if new <= 0 or passed <= 0 or sent >= total:
        return line
    return f"{line}, {duration((total - sent) * passed / new)} left"
