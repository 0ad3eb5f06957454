"""The store's clock, as this machine knows it: how far it is from the machine's own. Pure; `Storage` asks the store.

Deadlines, graces and ages are judged by this clock, so that no machine's wrong clock decides for others.
"""

import math
import time
from collections.abc import Callable

MAX_OFFSET_SECONDS = 30.0
"""A machine whose clock is further from the store's ends, expires and deletes nothing: one of the two is wrong."""
MAX_AGE_SECONDS = 300.0
"""A measurement is believed for so long; parts that run for long measure each minute."""
_MEASURED_AGAIN_SECONDS = 150.0
_TRIED_AGAIN_SECONDS = 10.0
"""Until the clock is measured anew where that failed, or where it is off: it may be right by then."""
_MAX_ERROR_SECONDS = 10.0
"""A measurement that took longer says too little."""
_RESOLUTION_SECONDS = 1.0
"""Of the dates that a store gives: they are cut to the second."""


class StoreClock:
    """Unix seconds by the store's clock, from one of its dates and this machine's monotonic clock since.

    The machine's own clock counts until something was measured, and is what the offset is told against: whenever it is
    set, the offset shows it at once.
    """

    def __init__(
        self, *, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`wall` gives Unix seconds by the machine's clock."""
        self._wall = wall
        self._monotonic = monotonic
        self._base: float | None = None
        """The store's time less the monotonic time."""
        self._measured_at = self._tried_at = -math.inf
        self.error_seconds = math.inf
        """How far the measurement may be from the truth."""

    @property
    def offset_seconds(self) -> float | None:
        """How far the store's clock is ahead of this machine's; None until it was measured."""
        return None if self._base is None else self._base + self._monotonic() - self._wall()

    @property
    def trusted(self) -> bool:
        """Whether it was measured lately, and the machine's own clock agrees with it."""
        return self.trusted_now() != -math.inf

    def now(self) -> float:
        """Unix seconds by the store's clock, as well as that is known. For ages, dates and hours of the day."""
        return self._wall() if self._base is None else self._base + self._monotonic()

    def trusted_now(self) -> float:
        """The same where it is trusted, else -inf: nothing is late or old then. For what cannot be undone."""
        if self._base is None:
            return -math.inf
        monotonic = self._monotonic()
        now = self._base + monotonic
        agrees = abs(now - self._wall()) <= MAX_OFFSET_SECONDS
        return now if agrees and monotonic - self._measured_at <= MAX_AGE_SECONDS else -math.inf

    def off_reason(self) -> str | None:
        """How far the clocks are apart, in one line for people, if that is too far."""
        offset = self.offset_seconds
        if offset is None or abs(offset) <= MAX_OFFSET_SECONDS:
            return None
        return (
            f"this machine's clock is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} the object store's; "
            "until they agree nothing is ended, expired or deleted from here: set the machine's clock by NTP, or the "
            "store's"
        )

    @property
    def must_be_measured(self) -> bool:
        """Whether whoever is about to judge by it should measure first."""
        bound = _MEASURED_AGAIN_SECONDS if self.off_reason() is None else _TRIED_AGAIN_SECONDS
        return self._age > bound and self._monotonic() - self._tried_at > _TRIED_AGAIN_SECONDS

    def begin(self) -> float:
        """The moment before the store is asked, for `note`."""
        self._tried_at = self._monotonic()
        return self._tried_at

    def note(self, dated: float, begun: float) -> None:
        """The store dated something so that was written since `begun`, and its answer came now."""
        received = self._monotonic()
        error = (received - begun + _RESOLUTION_SECONDS) / 2
        if error > _MAX_ERROR_SECONDS:
            return
        self._base = dated + _RESOLUTION_SECONDS / 2 - (begun + received) / 2
        self._measured_at, self.error_seconds = received, error

    @property
    def _age(self) -> float:
        return self._monotonic() - self._measured_at


class OwnClock(StoreClock):
    """The clock of a store that is on this machine: the machine's own, which needs no measuring."""

    offset_seconds = 0.0
    trusted = True
    must_be_measured = False

    def now(self) -> float:
        """Unix seconds by the machine's clock."""
        return time.time()

    def trusted_now(self) -> float:
        """The same."""
        return time.time()
