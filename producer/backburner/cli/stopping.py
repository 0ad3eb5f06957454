"""SIGTERM and SIGHUP end a command as Ctrl-C does: what was begun is noted, and temporary files go.

Python itself does so for SIGINT alone. How a stack of `up` is stopped is in `backburner.local`.
"""

import asyncio
import signal
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import Any, Self

from backburner.cli.exit_codes import ExitCode

_SIGNALS = {signal.SIGTERM: ExitCode.TERMINATED, signal.SIGHUP: ExitCode.HUNG_UP}


class Stopping:
    """A context manager within which these signals raise `KeyboardInterrupt`, in a coroutine at its next await."""

    def __init__(self) -> None:
        self.exit_code = ExitCode.INTERRUPTED
        """That of the signal which came; of Ctrl-C if none did."""
        self._previous: dict[signal.Signals, Any] = {}
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # Started with nohup: the terminal may go.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def run(self, coroutine: Coroutine[Any, Any, int | None]) -> int | None:
        """What the coroutine returns. A signal cancels it, so that it ends as it does at Ctrl-C."""

        async def known() -> int | None:
            self._task = asyncio.current_task()
            return await coroutine

        try:
            return asyncio.run(known())
        except asyncio.CancelledError:
            if self.exit_code is ExitCode.INTERRUPTED:
                raise
            raise KeyboardInterrupt from None
        finally:
            self._task = None

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        first = self.exit_code is ExitCode.INTERRUPTED
        self.exit_code = _SIGNALS[signal.Signals(number)]
        if self._task is None or not first:
            raise KeyboardInterrupt
        self._task.cancel()
        # The loop may be waiting for something that does not come.
        self._task.get_loop().call_soon_threadsafe(lambda: None)
