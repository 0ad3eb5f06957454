"""Whether SQS answers: what fails at the moment, since when, and when that had better end the process. No calls."""

import time
from collections.abc import Callable

from backburner.logs import get_logger
from backburner.publishers.sqs.connection import is_lasting, is_missing, queue_error
from backburner.settings import Settings
from backburner_schemas.errors import QueueError

log = get_logger(__name__)

_PATIENCE_SECONDS = 30.0
"""Seconds after which a refusal that only a human can end is one: credentials that are being exchanged are not."""
_LASTS_SECONDS = 30.0
"""Seconds that a failure counts: longer than a call takes with its tries, and what is not tried again is over."""
_MAX_PAUSE_SECONDS = 2.0
_SAY_SECONDS = 30.0


class Outage:
    """What of `receive`, `extend`, `delete`, `send` and `count` does not work."""

    def __init__(self, settings: Settings, fail: Callable[[BaseException], None]) -> None:
        """`fail` is called with what cannot get better by waiting."""
        self._settings = settings
        self.fail = fail
        self._failures: dict[str, int] = {}
        self._lasting: dict[str, float] = {}
        self._errors: dict[str, tuple[float, QueueError]] = {}
        self._said = 0.0

    @property
    def line(self) -> str | None:
        """What is wrong, in one line; None while all is well."""
        since = time.monotonic() - _LASTS_SECONDS
        return next((error.message for at, error in self._errors.values() if at >= since), None)

    def began(self, what: str, error: BaseException) -> float:
        """It failed, once more; the seconds to wait before it is tried again."""
        now = time.monotonic()
        self._failures[what] = failures = self._failures.get(what, 0) + 1
        told = queue_error(self._settings, error)
        self._errors[what] = (now, told)
        if failures == 1 or now - self._said > _SAY_SECONDS:
            self._said = now
            log.warning("SQS does not do it; trying again", call=what, error=told.message, failures=failures)
        if is_lasting(error) or is_missing(error):
            if now - self._lasting.setdefault(what, now) > _PATIENCE_SECONDS:
                self.fail(told)
        else:
            self._lasting.pop(what, None)
        return min(_MAX_PAUSE_SECONDS, 0.1 * 2.0 ** min(failures, 8))

    def ended(self, what: str) -> None:
        """It worked."""
        if self._failures.pop(what, 0):
            log.info("SQS does it again", call=what)
            self._errors.pop(what, None)
            self._lasting.pop(what, None)
