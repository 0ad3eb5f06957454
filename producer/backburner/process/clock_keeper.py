"""Measures the store's clock for as long as a part runs, and tells where it is too far from this machine's."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge

from backburner.logs import get_logger
from backburner.process.readiness import Readiness
from backburner_schemas.errors import StoreError

_PAUSE_SECONDS = 60.0
_FIRST_SECONDS = 5.0
"""Between two tries before anything was measured."""
_MEASURE_SECONDS = 20.0
"""A measurement that takes longer says nothing."""
_JITTER_RATIO = 0.2

log = get_logger(__name__)


class MeasuredClock(Protocol):
    """The store's clock, as far as it is known here."""

    @property
    def offset_seconds(self) -> float | None:
        """How far it is ahead of this machine's; None until it was measured."""
        ...

    def off_reason(self) -> str | None:
        """How far the two are apart, in one line, if that is too far."""
        ...


class ClockGauge(Protocol):
    """Where the offset is shown: a part's telemetry."""

    def clock_offset(self, seconds: float) -> None:
        """The store's clock is so many seconds ahead of this machine's."""
        ...


def clock_offset_gauge(registry: CollectorRegistry) -> Gauge:
    """The gauge that every part has."""
    return Gauge(
        "backburner_clock_offset_seconds",
        "How far the object store's clock is ahead of this machine's; NaN until it was measured.",
        registry=registry,
    )


class ClockKeeper:
    """Measures on a timer. A store that is away is asked again at the next turn."""

    def __init__(
        self,
        clock: MeasuredClock,
        measure: Callable[[], Awaitable[object]],
        readiness: Readiness,
        telemetry: ClockGauge,
        *,
        first_seconds: float = _FIRST_SECONDS,
    ) -> None:
        """`measure` measures that clock; it raises `StoreError`. After `first_seconds` a first one is tried again."""
        self._first_seconds = first_seconds
        self._clock = clock
        self._measure = measure
        self._readiness = readiness
        self._telemetry = telemetry
        self._told: str | None = None
        telemetry.clock_offset(float("nan"))

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_MEASURE_SECONDS):
                    await self._measure()
            except (StoreError, TimeoutError) as error:
                log.warning(
                    "measuring the store's clock failed; while that lasts, nothing ends or expires by time; retrying",
                    error=str(error) or "no answer in time",
                )
            self.look()
            seconds = self._first_seconds if self._clock.offset_seconds is None else _PAUSE_SECONDS
            await asyncio.sleep(seconds * random.uniform(1 - _JITTER_RATIO, 1 + _JITTER_RATIO))  # noqa: S311 - spreads load

    def look(self) -> None:
        """Show the offset; where it is too large, and where it is so no more, also in readiness and log."""
        offset = self._clock.offset_seconds
        if offset is not None:
            self._telemetry.clock_offset(offset)
        reason = self._clock.off_reason()
        self._readiness.remark("clock", reason)
        if reason is not None and self._told is None:
            log.warning("this machine's clock is off; ending and deleting nothing", error=reason)
        elif reason is None and self._told is not None:
            log.warning("this machine's clock agrees with the store's again")
        self._told = reason
