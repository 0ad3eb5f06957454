"""Whether the broker answers and the group gives this member its share. Reading alone does not tell: it is silent."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer

from backburner.availability import Availability
from backburner.logs import get_logger
from backburner_worker.sources.kafka.consumer import answers

log = get_logger(__name__)

_LOOK_SECONDS = 1.0
_QUIET_SECONDS = 2.0
"""After so long without a sign the broker is asked for one."""
_ASK_SECONDS = 2.0
_SILENT_SECONDS = 6.0
"""After so long without a sign the broker counts as away: two questions, and then some."""
_REASON_SECONDS = 10.0
"""Between two tries to find out why a broker is silent."""


class KafkaAvailability(Availability):
    """Whether one member's broker answers, and whether its group gives it a share."""

    def __init__(self, group: str, session_seconds: float, refusal: Callable[[], Awaitable[str | None]]) -> None:
        """`refusal` finds out whether the broker is silent because it refuses this member's credentials."""
        self._group = group
        self._patience_seconds = session_seconds * 3
        self._find_refusal = refusal
        self._refusal: str | None = None
        self._looked = float("-inf")
        self.started()

    def started(self) -> None:
        """The member is connected and asks for its share."""
        self._answered_at = self._warned = time.monotonic()
        self._apart: float | None = self._answered_at

    def answered(self) -> None:
        """The broker returned records or took a commit."""
        self._answered_at = time.monotonic()
        self._refusal = None

    def joined(self) -> None:
        """A share came, empty or not."""
        self.answered()
        self._apart = None

    def parted(self) -> None:
        """The share was taken away."""
        if self._apart is None:
            self._apart = self._warned = time.monotonic()

    def unavailable_reason(self) -> str | None:
        """Why the broker or the group gives nothing, in one line; None while both do."""
        now = time.monotonic()
        if now - self._answered_at > _SILENT_SECONDS:
            silent = f"the broker has not answered for {now - self._answered_at:.0f} s"
            return silent if self._refusal is None else f"{silent}: {self._refusal}"
        if self._apart is not None and now - self._apart > self._patience_seconds:
            return f"the group {self._group} has given this worker no share for {now - self._apart:.0f} s"
        return None

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Ask a broker that is silent for a sign of life, and log now and then that there is no share; for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            if now - self._answered_at > _QUIET_SECONDS and await answers(consumer, seconds=_ASK_SECONDS):
                self.answered()
            await self._find_reason()
            if self._apart is not None and now - max(self._apart, self._warned) > self._patience_seconds:
                self._warned = now
                log.warning(
                    "the group has given this worker no share yet; look at the group's members if this goes on",
                    group=self._group,
                )

    async def _find_reason(self) -> None:
        """Find out now and then why a silent broker is silent: nobody may look at its log."""
        now = time.monotonic()
        if now - self._answered_at <= _SILENT_SECONDS or now - self._looked < _REASON_SECONDS:
            return
        self._looked = now
        found = await self._find_refusal()
        if found is not None and found != self._refusal:
            log.error("the broker lets this worker in no more; trying again until the credentials are right", why=found)
        self._refusal = found
