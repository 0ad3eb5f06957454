"""Whether a store answers, from when calls began and how they ended. Pure: the clock is an argument."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from backburner.availability import Availability

PATIENCE_SECONDS = 5.0
"""Seconds without an answer after which a store counts as away.

The client's own retries can hide an outage for 20 s; a large object on a slow line takes a second or two.
"""


@dataclass(slots=True, eq=False)
class Call:
    """A call under way."""

    begun: float
    """Monotonic seconds."""


class StorageAvailability(Availability):
    """Whether one kind of call is answered, reads or writes: a store that only reads would look well every other time.

    Each call ends once, with `answered`, `failed` or `dropped`.
    """

    def __init__(self, doing: str, clock: Callable[[], float]) -> None:
        self._doing = doing
        self._clock = clock
        self._calls: dict[Call, None] = {}
        """The calls under way, the oldest first."""
        self._answered = clock()
        self._failing: float | None = None
        """When the first call began that failed since the last answer."""
        self._failed_at = -math.inf
        """When the last of them failed."""
        self._last_failure = ""
        self.back_at = -math.inf
        """Monotonic seconds at which it answered again after it had counted as away. Others only read."""
        self.has_worked = False
        """Whether a call has succeeded. Set by who makes them."""

    def begin(self) -> Call:
        """A call goes out."""
        call = Call(self._clock())
        self._calls[call] = None
        return call

    def answered(self, call: Call) -> None:
        """The store answered, be it with a refusal."""
        del self._calls[call]
        self._answered = self._clock()
        # By failures alone: one slow call is no outage, and neither is the time in which nobody asked.
        if self._failing is not None and self._failed_at - self._failing >= PATIENCE_SECONDS:
            self.back_at = self._answered
        self._failing = None

    def failed(self, call: Call, why: str) -> None:
        """The store did not answer, or could not do it now."""
        del self._calls[call]
        if self._failing is None:
            self._failing = max(call.begun, self._answered)
        self._failed_at = self._clock()
        self._last_failure = why

    def dropped(self, call: Call) -> None:
        """The caller gave up: for reasons of its own, unless there has been no answer for long."""
        del self._calls[call]
        since = max(call.begun, self._answered)
        if self._failing is None and self._clock() - since >= PATIENCE_SECONDS:
            self._failing, self._last_failure = since, "no answer and no error"
            self._failed_at = self._clock()

    def unavailable_reason(self) -> str | None:
        """Since when and why the store is away, in one line; None while it answers or is not asked."""
        since = self._silent_since()
        if since is None or (silent := self._clock() - since) < PATIENCE_SECONDS:
            return None
        why = self._last_failure if self._failing is not None else "no answer and no error yet"
        return f"{self._doing} have not been answered for {silent:.0f} s: {why}"

    def _silent_since(self) -> float | None:
        """Since when it has been asked and has not answered; None where it is not asked."""
        if self._failing is not None:
            return self._failing
        return max(next(iter(self._calls)).begun, self._answered) if self._calls else None
