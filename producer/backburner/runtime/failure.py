"""Why a process ends by an error: the reasons that have a remedy, in the log and as an exit status."""

from backburner.logs import get_logger
from backburner_schemas.errors import UNUSABLE_STATUS, BackburnerError, SettingsError

log = get_logger(__name__)


def log_reasons(error: BaseException, part: str) -> bool:
    """Log why the process ends, if every error in `error` has a remedy. Returns whether that is so.

    `part` is what the log calls the process: `worker`, `dispatcher`.
    """
    found = reasons(error)
    for reason in found:
        log.error("process failed; exiting", process=part, code=reason.code, error=reason.message)
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
