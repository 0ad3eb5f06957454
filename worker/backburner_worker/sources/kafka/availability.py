"""Whether the broker answers and the group gives this member its share. Reading alone does not tell: it is silent."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from backburner.availability import Availability
from backburner.logs import get_logger
from backburner_schemas.names import Lane
from backburner_worker.sources.kafka.consumer import answers, broken, denied_rights

log = get_logger(__name__)

_LOOK_SECONDS = 1.0
_QUIET_SECONDS = 2.0
"""After so long without a sign the broker is asked for one."""
_ASK_SECONDS = 2.0
_SILENT_SECONDS = 6.0
"""After so long without a sign the broker counts as away: two questions, and then some."""
_RIGHTS_SECONDS = 2.0
"""Between two questions for the rights that are missing."""
_DENIED_SECONDS = 15.0
"""After so long without a denial none is left: a read that failed is tried again sooner, and so is a commit."""
_REASON_SECONDS = 10.0
"""Between two tries to find out why a broker is silent."""


class KafkaAvailability(Availability):
    """Whether one member's broker answers, lets it do its work, and whether its group gives it a share."""

    def __init__(
        self,
        topics: Mapping[str, Lane],
        group: str,
        session_seconds: float,
        refusal: Callable[[], Awaitable[str | None]],
    ) -> None:
        """`refusal` finds out whether the broker is silent because it refuses this member's credentials."""
        self._topics = dict(topics)
        self._group = group
        self._denial: str | None = None
        self._denied_at = self._rights_looked = float("-inf")
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

    def denied(self, error: KafkaError) -> None:
        """The broker answers, and denies a right that was there at the start. It is asked which until all are back."""
        self._denied_at = time.monotonic()
        if self._denial is None:
            self._note_denial(broken(error).message)

    def unavailable_reason(self) -> str | None:
        """Why the broker or the group gives nothing, in one line; None while both do."""
        now = time.monotonic()
        if self._denial is not None:
            return self._denial
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
            if self._denial is not None and now - self._rights_looked >= _RIGHTS_SECONDS:
                self._rights_looked = now
                self._note_rights(await denied_rights(consumer, self._topics, self._group, seconds=_ASK_SECONDS))
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

    def _note_rights(self, lacking: str | None) -> None:
        if lacking is not None:
            self._note_denial(lacking)
        # Not every broker tells rights: then it shows by being denied no more.
        elif time.monotonic() - self._denied_at > _DENIED_SECONDS:
            log.info("the broker denies nothing any more; going on", group=self._group)
            self._denial = None

    def _note_denial(self, why: str) -> None:
        if why != self._denial:
            log.error("the broker denies this worker a right; trying again until it is granted", why=why)
        self._denial = why
