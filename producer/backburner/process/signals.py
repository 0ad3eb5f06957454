"""How a signal ends a process: the first SIGTERM or SIGINT with a drain, a second one without.

Before there is anything to drain, SIGTERM ends it at once, and SIGINT as Python has it.
"""

import asyncio
import os
import signal
from collections.abc import Callable

from backburner.logs import get_logger

log = get_logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def end_at_sigterm() -> None:
    """Have SIGTERM end the process at once, until `on_stop_signal`. Call first, in the main thread.

    The kernel drops it where nobody handles it and the process is the first of a container: a pod that is deleted while
    it loads would load on, and begin to work. What the process has started ends with it as with any other end. It is
    no handler of the event loop, which a load may hold for minutes.
    """
    signal.signal(signal.SIGTERM, _end_at_once)


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


def _end_at_once(number: int, _: object) -> None:
    try:
        log.info("signal received before anything was begun; ending", signal=signal.Signals(number).name)
    finally:
        # As where nobody handles it, which supervisors know by the status. A container's first process outlives that.
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        os._exit(128 + number)


def _end_now(number: int, _: object) -> None:
    os._exit(128 + number)
