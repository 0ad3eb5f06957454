"""Who did what: a line of JSON each, in objects of the tenant's own. Nothing secret reaches it.

Lines are gathered for a few seconds and written together. What was refused is counted, so that an attack fills no
store. Refusals that belong to no tenant are counted in the log alone.
"""

import asyncio
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

from pydantic_core import to_json

from backburner.gateway.auth.principal import Principal, Scope
from backburner.gateway.auth.refusal import Reason
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreError

_FLUSH_SECONDS = 5.0
_CLOSE_SECONDS = 10.0
"""At the end the store gets this long."""
_MAX_OBJECT_LINES = 5_000
_MAX_WAITING_LINES = 50_000
"""While the store is away; what comes after is counted and lost."""
_MAX_REFUSED_KINDS = 1_000
"""Kinds of refusals that are counted apart, between two flushes."""
_MAX_VALUE_CHARACTERS = 255

log = get_logger(__name__)


class Action(StrEnum):
    """What is recorded."""

    FILE_UPLOADED = "file.uploaded"
    FILE_DOWNLOADED = "file.downloaded"
    FILE_DELETED = "file.deleted"
    BATCH_CREATED = "batch.created"
    BATCH_CANCELLED = "batch.cancelled"
    REQUEST_CREATED = "request.created"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    REFUSED = "refused"


class AuditLog:
    """Records what callers do. A context manager: what was recorded is stored when the block ends.

    `record` and `refused` return at once and raise nothing: a request does not wait for its audit line, and the line is
    stored within seconds. One that cannot be stored for long is lost, counted in `lost` and told in the log.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        now: Callable[[], float] | None = None,
        flush_seconds: float = _FLUSH_SECONDS,
    ) -> None:
        self.lost = 0
        """Lines that could not be kept."""
        self.refusals: Counter[Reason] = Counter()
        """How often what was refused, since the start."""
        self._storage = storage
        self._now = now or storage.clock.now
        self._flush_seconds = flush_seconds
        self._writer = keys.new_ulid(self._now())
        self._sequence = 0
        self._waiting: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
        # By tenant and day.
        self._waiting_lines = 0
        self._refused: Counter[tuple[Reason, str | None, str | None]] = Counter()
        self._full = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._timer: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._timer = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.wait([self._timer])
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.flush()
        except TimeoutError:
            log.warning("the audit log could not be stored before the end", lines=self._waiting_lines)

    def record(self, principal: Principal, action: Action, target: str, **facts: str | float | None) -> None:
        """Note that this caller did this with that object. Values are cut at 255 characters."""
        self._add(principal.tenant, action, {"subject": principal.subject, "target": target, **facts})

    def refused(self, reason: Reason, *, tenant: str | None = None, subject: str | None = None) -> None:
        """Count what was not let in, or with `Reason.SCOPE` not let through."""
        self.refusals[reason] += 1
        kind = reason, tenant, subject
        self._refused[
            kind if kind in self._refused or len(self._refused) < _MAX_REFUSED_KINDS else (reason, None, None)
        ] += 1

    def denied(self, principal: Principal, scope: Scope) -> None:
        """Count what a caller lacked the scope for."""
        del scope
        self.refused(Reason.SCOPE, tenant=principal.tenant, subject=principal.subject)

    async def flush(self) -> None:
        """Store what waits. What cannot be stored now waits on; raises nothing for it."""
        async with self._flushing:
            self._note_refusals()
            for tenant, day in [*self._waiting]:
                lines = self._waiting[tenant, day]
                # What comes meanwhile waits for the next flush: a busy gateway would store a few lines over and over.
                left = len(lines)
                while left:
                    some = lines[: min(left, _MAX_OBJECT_LINES)]
                    # A new one at each try: what a try that seemed to fail has stored may lack lines that came since.
                    self._sequence += 1
                    key = f"{keys.audit(tenant, day)}{self._writer}-{self._sequence:08d}.jsonl"
                    try:
                        await self._storage.put(key, b"".join(some))
                    except StoreError as error:
                        log.warning(
                            "the audit log cannot be stored now", reason=error.message, lines=self._waiting_lines
                        )
                        return
                    del lines[: len(some)]
                    self._waiting_lines -= len(some)
                    left -= len(some)
                if not lines:
                    del self._waiting[tenant, day]
            self._full.clear()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._flush_seconds):
                    await self._full.wait()
            except TimeoutError:
                pass
            else:
                # Where the store is away, a full buffer must not make this loop spin.
                self._full.clear()
            try:
                await self.flush()
            except Exception:
                # Nobody waits for this task: if it ended, no later line would be stored, and nobody would notice.
                log.exception("storing the audit log failed; trying again")

    def _note_refusals(self) -> None:
        counted, self._refused = self._refused, Counter()
        nobodys: Counter[str] = Counter()
        for (reason, tenant, subject), count in counted.items():
            if tenant is None:
                nobodys[reason.value] += count
            else:
                self._add(tenant, Action.REFUSED, {"subject": subject, "reason": reason.value, "count": count})
        if nobodys:
            log.warning("callers were not let in", **nobodys)

    def _add(self, tenant: str, action: Action, facts: dict[str, str | float | None]) -> None:
        if self._waiting_lines >= _MAX_WAITING_LINES:
            self.lost += 1
            if self.lost.bit_count() == 1:  # at 1, 2, 4, 8 …
                log.warning("lines of the audit log are lost: the store does not take them", lost=self.lost)
            return
        at = dt.datetime.fromtimestamp(self._now(), dt.UTC)
        line = {"at": at.isoformat(timespec="milliseconds"), "action": action.value}
        line |= {name: _short(value) for name, value in facts.items() if value is not None}
        self._waiting[tenant, at.date().isoformat()].append(to_json(line) + b"\n")
        self._waiting_lines += 1
        if self._waiting_lines >= _MAX_OBJECT_LINES:
            self._full.set()


def _short(value: str | float) -> Any:
    return value[:_MAX_VALUE_CHARACTERS] if isinstance(value, str) else value
