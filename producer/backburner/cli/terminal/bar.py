"""The progress bar that a terminal shows. Its numbers come from `meter.Reading`."""

from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from backburner.cli.terminal.meter import Reading, duration

_BAR_CHARACTERS = 16


def _columns() -> list[tuple[int, ProgressColumn]]:
    """Each column, with how wide a terminal has to be to show it: what matters most is shown on the narrowest."""
    return [
        (48, SpinnerColumn(finished_text=" ")),
        (0, _text("{task.fields[state]}")),
        (64, BarColumn(bar_width=_BAR_CHARACTERS)),
        (0, _text("{task.fields[counts]}")),
        (32, _text("{task.fields[failed]}", style="red")),
        (96, _text("{task.fields[rate]}", style="cyan")),
        (112, TimeElapsedColumn()),
        (48, _text("{task.fields[eta]}", style="dim")),
    ]


def _text(form: str, style: str = "none") -> TextColumn:
    """A column that is cut rather than broken into lines."""
    return TextColumn(form, style=style, markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))


class Bar:
    """A context manager; the bar stays on the screen, as it last was, when the block ends."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            *(column for needed, column in _columns() if console.width >= needed),
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
