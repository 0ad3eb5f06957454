"""What a terminal shows while a file is read and sent: one line that goes away. Elsewhere nothing is shown."""

from typing import TYPE_CHECKING, Self

from backburner.cli.terminal import show

if TYPE_CHECKING:
    from rich.status import Status

    from backburner.submission.submission import SubmitProgress


class Sending:
    """A context manager that `Client.submit` calls with its progress."""

    def __init__(self) -> None:
        self._line: Status | None = None

    def __enter__(self) -> Self:
        console = show.console()
        if console.is_terminal and not console.is_dumb_terminal:
            self._line = console.status("reading the input")
            self._line.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, progress: "SubmitProgress") -> None:
        """Show how far it is."""
        if self._line is not None:
            sent = f"{progress.sent:,} of {progress.total:,}" if progress.total else f"{progress.sent:,}"
            self._line.update(f"sending: {sent}" if progress.sent else f"checking: {progress.checked:,} lines")

    def checked(self, lines: int) -> None:
        """Show how much was read."""
        if self._line is not None:
            self._line.update(f"checking: {lines:,} lines")

    def close(self) -> None:
        """Take the line away, so that other lines can be written."""
        if self._line is not None:
            self._line.stop()
            self._line = None
