"""Reports which dependencies are unavailable: in the readiness and the gauge always, in the log once a change."""

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol

from backburner.availability import Availability
from backburner.logs import get_logger
from backburner.process.readiness import Readiness

_LOOK_SECONDS = 1.0

log = get_logger(__name__)


class DependencyGauge(Protocol):
    """Where it is counted whether each dependency is up: a part's telemetry."""

    def dependency(self, name: str, *, up: bool) -> None:
        """Record whether that dependency answers."""
        ...


class DependencyMonitor:
    """Looks at each dependency on a timer. Nothing is retried here: a call that fails waits where it was made."""

    def __init__(
        self, dependencies: Mapping[str, Availability], readiness: Readiness, telemetry: DependencyGauge
    ) -> None:
        """Look at these, by the names that people see: `store` and `queue` among them."""
        self._dependencies = dependencies
        self._readiness = readiness
        self._telemetry = telemetry
        self._since: dict[str, float] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    def look(self) -> None:
        """Ask each dependency once, and report its state."""
        for name, dependency in self._dependencies.items():
            reason = dependency.unavailable_reason()
            changed = self._readiness.note(name, reason)
            self._telemetry.dependency(name, up=reason is None)
            if changed is None:
                continue
            if changed:
                self._since[name] = time.monotonic()
                log.warning("dependency unavailable; work waits", dependency=name, error=reason)
            else:
                seconds = round(time.monotonic() - self._since.pop(name))
                log.warning("dependency available again", dependency=name, unavailable_seconds=seconds)
