"""How a worker ends: by an error, or at the first SIGTERM or SIGINT with a drain, at a second one without."""

import asyncio
import os
import signal
from collections.abc import Callable

from backburner.logs import get_logger
from backburner_schemas.errors import BackburnerError, SettingsError
from backburner_schemas.exit_status import UNUSABLE_STATUS

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


def log_reasons(error: BaseException) -> bool:
    """Log why the worker ends, if every error in `error` has a remedy. Returns whether that is so."""
    found = reasons(error)
    for reason in found:
        log.error("worker failed; exiting", code=reason.code, error=reason.message)
    return bool(found)


def exit_status(error: BaseException) -> int:
    """The exit status for this error: `UNUSABLE_STATUS` if another start can fix none of its reasons."""
    return UNUSABLE_STATUS if all(isinstance(reason, SettingsError) for reason in reasons(error)) else 1


def reasons(error: BaseException) -> list[BackburnerError]:
    """The errors with a remedy in what a task group raised, one of each kind; empty if anything else is among them."""
    if isinstance(error, BackburnerError):
        return [error]
    if not isinstance(error, BaseExceptionGroup):
        return []
    found = [reasons(each) for each in error.exceptions]
    # A segment that cannot be written is reported to each of its thousands of records.
    kinds = {type(reason): reason for each in reversed(found) for reason in reversed(each)}
    return [*kinds.values()] if all(found) else []
