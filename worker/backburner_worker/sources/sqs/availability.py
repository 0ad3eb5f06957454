"""Whether SQS answers: what fails at the moment, since when, and when that had better end the process. No calls."""

import time
from collections.abc import Callable

from backburner.availability import Availability
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
_LOG_INTERVAL_SECONDS = 30.0


class SqsAvailability(Availability):
    """Whether SQS answers each kind of call: `receive`, `extend`, `delete`, `send` and `count`."""

    def __init__(self, settings: Settings, fail: Callable[[BaseException], None]) -> None:
        """`fail` is called with what cannot get better by waiting."""
        self._settings = settings
        self._fail = fail
        self._failures: dict[str, int] = {}
        self._lasting: dict[str, float] = {}
        self._errors: dict[str, tuple[float, QueueError]] = {}
        self._logged = 0.0

    def failed(self, call: str, error: BaseException) -> float:
        """A call of that kind failed, once more; the seconds to wait before it is tried again."""
        now = time.monotonic()
        self._failures[call] = failures = self._failures.get(call, 0) + 1
        reported = queue_error(self._settings, error)
        self._errors[call] = (now, reported)
        if failures == 1 or now - self._logged > _LOG_INTERVAL_SECONDS:
            self._logged = now
            log.warning("SQS call failed; retrying", call=call, error=reported.message, failures=failures)
        if is_lasting(error) or is_missing(error):
            if now - self._lasting.setdefault(call, now) > _PATIENCE_SECONDS:
                self._fail(reported)
        else:
            self._lasting.pop(call, None)
        return min(_MAX_PAUSE_SECONDS, 0.1 * 2.0 ** min(failures, 8))

    def answered(self, call: str) -> None:
        """A call of that kind was answered."""
        if self._failures.pop(call, 0):
            log.info("SQS call works again", call=call)
            self._errors.pop(call, None)
            self._lasting.pop(call, None)

    def unavailable_reason(self) -> str | None:
        """What a call failed of, in one line; None while none has failed lately."""
        since = time.monotonic() - _LASTS_SECONDS
        return next((error.message for at, error in self._errors.values() if at >= since), None)
