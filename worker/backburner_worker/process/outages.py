"""Notices that a system is away or back, and says so once: in the log, the metrics and the readiness."""

import asyncio
import time
from collections.abc import Callable, Mapping

from backburner.logs import get_logger
from backburner_worker.process.readiness import Readiness
from backburner_worker.process.telemetry import Telemetry

_LOOK_SECONDS = 1.0

log = get_logger(__name__)

UnavailableReason = Callable[[], str | None]
"""Why a system is away, in one line; None while it answers. Must not block."""


class Outages:
    """Looks at each system on a timer. The calls that fail wait and are tried again, each where it was made."""

    def __init__(self, systems: Mapping[str, UnavailableReason], readiness: Readiness, telemetry: Telemetry) -> None:
        """Look at these, `store` and `queue` among them."""
        self._systems = systems
        self._readiness = readiness
        self._telemetry = telemetry
        self._since: dict[str, float] = {}

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    def look(self) -> None:
        """See how it stands now."""
        for system, unavailable_reason in self._systems.items():
            why = unavailable_reason()
            changed = self._readiness.note(system, why)
            self._telemetry.away(system, away=why is not None)
            if changed is None:
                continue
            if changed:
                self._since[system] = time.monotonic()
                log.warning("a system is away; work waits and nothing is lost", system=system, error=why)
            else:
                seconds = round(time.monotonic() - self._since.pop(system))
                log.warning("a system answers again", system=system, away_for_s=seconds)
