"""How a signal ends a process: the first SIGTERM or SIGINT with a drain, a second one without."""

import asyncio
import os
import signal
from collections.abc import Callable

from backburner.logs import get_logger

log = get_logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def on_stop_signal(stop: Callable[[], None]) -> None:
    """Have `stop` called at the first signal. Install after the engine is built, since engines bring their own."""
    loop = asyncio.get_running_loop()

    def stopped(number: int) -> None:
        log.info("signal received; stopping", signal=signal.Signals(number).name)
        for each in SIGNALS:
            loop.remove_signal_handler(each)
            # Restoring the default makes the second signal end the process; what is unsettled is run again elsewhere.
            signal.signal(each, _end_now)
        stop()

    for each in SIGNALS:
        loop.add_signal_handler(each, stopped, each)


def _end_now(number: int, _: object) -> None:
    os._exit(128 + number)
