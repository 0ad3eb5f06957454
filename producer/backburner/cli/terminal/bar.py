"""The progress bar that a terminal shows. Its numbers come from `meter.Reading`."""

from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from backburner.cli.terminal.meter import Reading, duration


class Bar:
    """A context manager; the bar stays on the screen, as it last was, when the block ends."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.fields[state]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[counts]}"),
            TextColumn("{task.fields[failed]}", style="red"),
            TextColumn("{task.fields[rate]}", style="cyan"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[eta]}", style="dim"),
            console=console,
            redirect_stdout=False,
            refresh_per_second=5,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, reading: Reading) -> None:
        """Move the bar."""
        known = f"{reading.total:,}" if reading.sealed else f"{reading.total:,}+"
        rate, eta = reading.tokens_per_second, reading.eta_seconds
        fields: dict[str, Any] = {
            "state": str(reading.state),
            "counts": f"{reading.done:,}/{known}",
            "failed": f"{reading.failed:,} failed" if reading.failed else "",
            "rate": f"{rate:,.0f} tokens/s" if rate is not None else "",
            "eta": f"{duration(eta)} left" if eta is not None else "",
        }
        # Until the total is known the bar pulses instead of standing still at its end.
        total = float(reading.total) if reading.sealed else None
        if self._task is None:
            self._task = self._progress.add_task("", total=total, **fields)
        self._progress.update(self._task, total=total, completed=reading.done, **fields)
        self._progress.refresh()
