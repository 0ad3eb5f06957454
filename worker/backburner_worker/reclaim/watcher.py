"""Looks for notices that the machine is taken back, as long as a worker lives, and tells when one comes or goes again.

No failure of a look ends a worker: it is logged once, and the looks go on.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress

from backburner.logs import get_logger
from backburner_worker.reclaim.notice import NoticeKind, NoticeSource, NoticeUnavailable, ReclaimNotice

_STORE_SECONDS = 12.0
"""Kept of a notice's time for what comes after the running requests: up to 10 s of storing, and leaving the queue."""
_WITHDRAWN_COUNT = 3
"""Looks without a notice, one after the other, after which it is taken for withdrawn."""
_JITTER_RATIO = 0.2
"""So that hundreds of workers that start together do not ask together."""

log = get_logger(__name__)


class ReclaimWatcher:
    """The notices of one machine."""

    def __init__(self, sources: Sequence[NoticeSource], *, poll_seconds: float | None = None) -> None:
        """`poll_seconds` takes the place of the sources' own pauses."""
        self._sources = sources
        self._poll_seconds = poll_seconds
        self._standing: set[NoticeKind] = set()
        self._withdrawn = asyncio.Event()

    @property
    def noticed(self) -> bool:
        """Whether there is a notice, or was one that is withdrawn by now."""
        return bool(self._standing) or self._withdrawn.is_set()

    async def withdrawn(self) -> None:
        """Return when there was a notice and there is none any more."""
        await self._withdrawn.wait()

    async def run(self, on_notice: Callable[[ReclaimNotice], None]) -> None:
        """Look until cancelled, if there is a source; `on_notice` is called once for each source's notice."""
        async with asyncio.TaskGroup() as tasks:
            for source in self._sources:
                tasks.create_task(self._watch(source, on_notice))

    async def close(self) -> None:
        """End the sources' connections."""
        for source in self._sources:
            with suppress(Exception):
                await source.close()

    async def _watch(self, source: NoticeSource, on_notice: Callable[[ReclaimNotice], None]) -> None:
        failing, without = False, 0
        while True:
            try:
                notice = await source.look()
            except Exception as error:  # noqa: BLE001 - nothing that a look meets may end a worker that works
                if not failing:
                    known = isinstance(error, NoticeUnavailable)
                    reason = str(error) if known else f"{type(error).__name__}: {error}"
                    log.warning("reclaim notices cannot be read; looking on", source=source.kind.value, error=reason)
                failing = True
            else:
                if failing:
                    log.info("reclaim notices can be read again", source=source.kind.value)
                failing = False
                without = 0 if notice is not None else without + 1
                if notice is not None and source.kind not in self._standing:
                    self._standing.add(source.kind)
                    self._withdrawn.clear()
                    on_notice(notice)
                elif without >= _WITHDRAWN_COUNT and source.kind in self._standing:
                    self._standing.discard(source.kind)
                    if not self._standing:
                        self._withdrawn.set()
            pause = source.poll_seconds if self._poll_seconds is None else self._poll_seconds
            await asyncio.sleep(pause * random.uniform(1 - _JITTER_RATIO, 1))  # noqa: S311 - not a secret


def drain_within(notice: ReclaimNotice) -> float | None:
    """Seconds that running requests may take after this notice; None where it sets no bound."""
    return None if notice.seconds is None else max(0.0, notice.seconds - _STORE_SECONDS)
