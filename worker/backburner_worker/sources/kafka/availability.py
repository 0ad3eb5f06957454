"""Whether the broker answers and the group gives this member its share. Reading alone does not tell: it is silent."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer

from backburner.logs import get_logger
from backburner_worker.sources.kafka.consumer import answers

log = get_logger(__name__)

_LOOK_SECONDS = 1.0
_QUIET_SECONDS = 2.0
"""After so long without a sign the broker is asked for one."""
_ASK_SECONDS = 2.0
_SILENT_SECONDS = 6.0
"""After so long without a sign the broker counts as away: two questions, and then some."""


class Watch:
    """Watches one member's broker and group."""

    def __init__(self, group: str, session_seconds: float) -> None:
        self._group = group
        self._patience = session_seconds * 3
        self.started()

    def started(self) -> None:
        """The member is connected and asks for its share."""
        self._heard = self._warned = time.monotonic()
        self._apart: float | None = self._heard

    def heard(self) -> None:
        """The broker gave or took something."""
        self._heard = time.monotonic()

    def joined(self) -> None:
        """A share came, empty or not."""
        self.heard()
        self._apart = None

    def parted(self) -> None:
        """The share was taken away."""
        if self._apart is None:
            self._apart = self._warned = time.monotonic()

    def unavailable_reason(self) -> str | None:
        """What is wrong, in one line."""
        now = time.monotonic()
        if now - self._heard > _SILENT_SECONDS:
            return f"the broker has not answered for {now - self._heard:.0f} s"
        if self._apart is not None and now - self._apart > self._patience:
            return f"the group {self._group} has given this worker no share for {now - self._apart:.0f} s"
        return None

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Ask where nothing is heard, and say so again and again while there is no share."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            if now - self._heard > _QUIET_SECONDS and await answers(consumer, seconds=_ASK_SECONDS):
                self.heard()
            if self._apart is not None and now - max(self._apart, self._warned) > self._patience:
                self._warned = now
                log.warning(
                    "the group has given this worker no share yet; look at the group's members if this goes on",
                    group=self._group,
                )
