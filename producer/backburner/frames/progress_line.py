"""One line that shows how far a submit and its job are: drawn in place in a notebook, printed elsewhere."""

import sys
import time
from typing import Any, Protocol

from backburner.cli.terminal.meter import Meter, describe
from backburner.cli.terminal.progress import Display, Lines
from backburner.submission.submission import SubmitProgress
from backburner_schemas.status import BatchStatus


class ProgressLine:
    """One line below the cell of a notebook, or lines on stderr. It is what `wait` and `submit` call.

    from backburner.frames import ProgressLine

    line = ProgressLine()
    job = await client.submit("prompts.jsonl", on_progress=line)
    await job.wait(progress=line)
    """

    def __init__(self) -> None:
        """Where it is made is where it is shown: in this cell, whichever thread calls it."""
        self._meter = Meter()
        self._cell = _cell()
        self._lines: Display = Lines()

    def __call__(self, progress: SubmitProgress | BatchStatus) -> None:
        """Show this."""
        if isinstance(progress, SubmitProgress):
            if self._cell is not None:
                total = "" if progress.total is None else f"/{progress.total:,}"
                self._cell.update(f"submitting: {progress.sent:,}{total} requests")
            return
        reading = self._meter.read(progress, time.monotonic())
        if self._cell is None:
            self._lines.show(reading)
        else:
            self._cell.update(f"{progress.id} {describe(reading)}")


class _Cell(Protocol):
    def update(self, text: str) -> None:
        """Draw this text in place of the one before."""
        ...


class _NotebookCell:
    """A line of plain text in the output of the running cell."""

    def __init__(self, display: Any) -> None:
        self._handle = display(_bundle(""), raw=True, display_id=True)

    def update(self, text: str) -> None:
        """See `_Cell`."""
        self._handle.update(_bundle(text), raw=True)


def _cell() -> _Cell | None:
    """The cell that runs, in a kernel; None in a program, and in IPython's terminal."""
    # What is not loaded runs no cell; importing it would take a second.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return _NotebookCell(display)


def _bundle(text: str) -> dict[str, str]:
    return {"text/plain": text}
