"""Levels that were read a moment ago, with what was let in since. A new reading goes on beside those who ask."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from backburner.gateway.limits.levels import Amount, Level
from backburner.logs import get_logger
from backburner_schemas.errors import StoreError

FRESH_SECONDS = 5.0
"""A level that is younger counts as it is."""

_MAX_AGE_SECONDS = 60.0
"""One that is older is not used at all: who asks waits for a new one."""
_READING_FACTOR = 10
"""A level counts for so many times as long as it took to read: levels cost a tenth of the time at most."""
_READ_SECONDS = 8.0
"""A reading that somebody waits for is given up after this."""
MAX_TENANTS = 10_000
"""That are remembered."""

log = get_logger(__name__)


class KnownLevel:
    """The level of one tenant: as it was read, and what was added since."""

    def __init__(self, level: Level, read_at: float, took_seconds: float) -> None:
        self.now = level
        """What was read, and what was added since."""
        self.read_at = read_at
        """When the reading began: what was let in after that it may have missed."""
        self.took_seconds = took_seconds
        self._later: Level | None = None

    def add(self, caller: str | None, amount: Amount) -> None:
        """Count what is let in now."""
        self.now.add(caller, amount)
        if self._later is not None:
            self._later.add(caller, amount)

    def begin(self) -> Level:
        """A reading begins: what is let in from now on is gathered here as well, to be added to what it finds."""
        self._later = Level()
        return self._later


class RememberedLevels:
    """The levels of all tenants that were asked for lately."""

    def __init__(self, read: Callable[[str], Awaitable[Level]], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._known: dict[str, KnownLevel] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}

    def known(self, tenant: str) -> KnownLevel | None:
        """The level as far as it is known, however old; None where it was not read yet."""
        return self._known.get(tenant)

    async def of(self, tenant: str) -> KnownLevel:
        """A level that is young enough to decide by. Raises `StoreError` where there is none and it cannot be read."""
        known = self._known.get(tenant)
        age = float("inf") if known is None else self._clock() - known.read_at
        if known is not None and age < max(FRESH_SECONDS, _READING_FACTOR * known.took_seconds):
            return known
        task = self._reading.get(tenant)
        if task is None:
            task = self._reading[tenant] = asyncio.create_task(self._renew(tenant))
            task.add_done_callback(lambda ended: self._ended(tenant, ended))
        if known is None or age >= _MAX_AGE_SECONDS:
            try:
                async with asyncio.timeout(_READ_SECONDS):
                    # One caller that goes away must not take the answer from the others.
                    await asyncio.shield(task)
            except TimeoutError as error:
                raise StoreError("the object store did not answer in time, so that no quota can be checked") from error
        return self._known[tenant]

    async def _renew(self, tenant: str) -> None:
        before, begun_at = self._known.get(tenant), self._clock()
        later = before.begin() if before is not None else Level()
        found = await self._read(tenant)
        found.merge(later)
        self._known.pop(tenant, None)
        while len(self._known) >= MAX_TENANTS:
            del self._known[next(iter(self._known))]
        self._known[tenant] = KnownLevel(found, begun_at, self._clock() - begun_at)

    def _ended(self, tenant: str, task: asyncio.Task[None]) -> None:
        del self._reading[tenant]
        if not task.cancelled() and (error := task.exception()) is not None:
            # Whoever waited for it was told as well.
            log.warning("a tenant's level could not be read", tenant=tenant, reason=str(error)[:200])
