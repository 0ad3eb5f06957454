"""Who sends a stored job: the owner in its cursor, which is only ever replaced under its tag.

No clock is shared and nobody leads. A claim counts for as long as others see its tag change; whoever holds it sends
nothing more when its last renewal is half that old, by its own clock, so two never send the same job for long. What
both have sent, workers answer twice, and readers see once.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from backburner.storage import Storage
from backburner.storage.parse import parse_stored
from backburner_schemas import keys
from backburner_schemas.errors import StoredObjectBroken, StoreError
from backburner_schemas.job import Cursor, Waiting

JobKey = tuple[str, str]
"""Tenant and job."""

_SAFE_RATIO = 0.5
"""Part of a claim's time for which a renewal allows sending."""
_MAX_WRITE_ATTEMPTS = 4
"""Writes of one cursor that an earlier write of ours, late or repeated by the client library, can get ahead of."""


class ClaimLost(Exception):
    """Another dispatcher has the job now."""


@dataclass(frozen=True, slots=True)
class Found:
    """A job's cursor as it was found; nothing where nobody has written one."""

    cursor: Cursor | None = None
    etag: str | None = None


class CursorWatch:
    """For how long each cursor has not changed, by this process's own clock. Pure."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[JobKey, tuple[str | None, float]] = {}

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._seen)

    def unchanged_seconds(self, job: JobKey, etag: str | None) -> float:
        """Seconds since the cursor was first seen with that tag."""
        now = self._clock()
        tag, since = self._seen.get(job, (None, now))
        if tag != etag:
            since = now
        self._seen[job] = etag, since
        return now - since

    def keep_only(self, jobs: Collection[JobKey]) -> None:
        """Forget all others: they are sent whole, or gone."""
        for job in [job for job in self._seen if job not in jobs]:
            del self._seen[job]


async def read_cursor(storage: Storage, job: JobKey) -> Found:
    """The job's cursor. Raises `StoredObjectBroken` where it cannot be read, and `StoreError`."""
    key = keys.cursor(*job)
    stored = await storage.get(key)
    return Found() if stored is None else Found(parse_stored(Cursor, key, stored.data), stored.etag)


class Claim:
    """A job that this process sends."""

    def __init__(
        self,
        storage: Storage,
        job: JobKey,
        owner: str,
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seconds`: for how long others must see no change of the cursor before they take the job."""
        self._storage = storage
        self._key = keys.cursor(*job)
        self._owner = owner
        self._seconds = seconds
        self._clock = clock
        self._renewed_at = clock() - seconds
        self._etag: str | None = None
        self._writing = asyncio.Lock()
        self._beginning = asyncio.Lock()
        self.cursor = Cursor(owner=owner)
        """As it was written last."""

    async def take(self, found: Found) -> bool:
        """Become the owner, of what was found so. Returns whether that worked: another may have been faster.

        Raises `StoreError`.
        """
        try:
            if found.cursor is None:
                begun = self._clock()
                self.cursor = Cursor(owner=self._owner, updated_at=time.time())
                await self._storage.create(self._key, self.cursor.model_dump_json().encode())
                # Read in any case: a creation that the client library repeated reports that it failed.
                return await self._is_written(begun)
            self.cursor, self._etag = found.cursor, found.etag
            await self.write()
        except ClaimLost:
            return False
        return True

    @property
    def safe(self) -> bool:
        """Whether nobody else can have taken the job yet, so that its requests may be sent."""
        return self._clock() - self._renewed_at < self._seconds * _SAFE_RATIO

    async def write(self, **changes: Any) -> None:
        """Renew the claim, with these fields of the cursor changed. Raises `ClaimLost`, and `StoreError`."""
        async with self._writing:
            for _ in range(_MAX_WRITE_ATTEMPTS):
                begun = self._clock()
                changed = {**changes, "owner": self._owner, "updated_at": time.time()}
                cursor = self.cursor.model_copy(update=changed)
                before, self.cursor = self.cursor, cursor
                try:
                    await self._storage.replace(self._key, cursor.model_dump_json().encode(), self._etag)
                    # A write returns no tag, so it is read back.
                    if await self._is_written(begun):
                        return
                except StoreError:
                    self.cursor = before
                    raise
                self.cursor = before
        raise StoreError("the cursor could not be written; trying again")

    async def begin(self) -> None:
        """Record, before the first request is sent, that some may be on the queue. Raises as `write` does.

        Returns once the store has it, for every turn that asks.
        """
        async with self._beginning:
            if not self.cursor.begun:
                await self.write(begun=True)

    async def hand_back(self, **changes: Any) -> None:
        """Let go of the job, so that it can be taken at once. Raises `ClaimLost`, and `StoreError`."""
        async with self._writing:
            self._renewed_at = self._clock() - self._seconds
            for _ in range(_MAX_WRITE_ATTEMPTS):
                cursor = self.cursor.model_copy(update={**changes, "owner": "", "updated_at": time.time()})
                if await self._storage.replace(self._key, cursor.model_dump_json().encode(), self._etag):
                    return
                found, self._etag = await self._read()
                # What the client library repeated reports that it failed.
                if not found.owner:
                    return
                if found.owner != self._owner:
                    raise ClaimLost
        raise StoreError("the cursor could not be written; trying again")

    async def _is_written(self, begun: float) -> bool:
        """Whether the cursor is what we wrote last. Raises `ClaimLost` if it is another's."""
        found, etag = await self._read()
        if found.owner != self._owner:
            raise ClaimLost
        self._etag = etag
        if found.updated_at != self.cursor.updated_at:
            return False
        self._renewed_at = begun
        return True

    async def _read(self) -> tuple[Cursor, str | None]:
        try:
            stored = await self._storage.get(self._key)
        except StoredObjectBroken as error:
            raise ClaimLost from error
        if stored is None:
            raise ClaimLost
        try:
            return parse_stored(Cursor, self._key, stored.data), stored.etag
        except StoredObjectBroken as error:
            raise ClaimLost from error


async def note_waiting(storage: Storage, job: JobKey, found: Found, reason: Waiting) -> None:
    """Tell in the cursor of a job that nobody has, why it waits, unless it has changed. Raises `StoreError`."""
    if found.cursor is not None:
        cursor = found.cursor.model_copy(update={"waiting": reason, "owner": "", "updated_at": time.time()})
        await storage.replace(keys.cursor(*job), cursor.model_dump_json().encode(), found.etag)
