"""Knows callers by their API keys, which it reads from the object store and remembers for ten seconds.

Junk must not cost a request to the store each. A hash that was never seen is first looked for in a listing of all keys,
and that is made once a second at most, for all who wait for it. So a new key works at once, and a flood of junk shuts
nobody out.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from backburner.gateway.auth.api_key import ApiKey, digest_of, is_secret
from backburner.gateway.auth.principal import Principal
from backburner.gateway.auth.refusal import Reason, Refused
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.storage.parse import read_stored
from backburner_schemas import keys
from backburner_schemas.errors import Overloaded, StoredObjectBroken, StoreError

_REMEMBER_SECONDS = 10.0
"""A key that was revoked is refused after this long, everywhere: it counts from before the key was read."""
_LISTING_SECONDS = 1.0
_STORE_SECONDS = 5.0
"""The store may take this long, less than what its own retries take: the caller waits."""
_MAX_REMEMBERED_ENTRIES = 10_000

_MAX_UNKNOWN_KEYS = 1_000
"""Keys never seen before that are looked for at the same time."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    key: ApiKey | None
    """None for a hash that is no key's."""
    read_at: float


class ApiKeyAuthenticator:
    """Tells whose an API key is."""

    def __init__(
        self,
        storage: Storage,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] | None = None,
        listing_seconds: float = _LISTING_SECONDS,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._now = now or storage.clock.now
        self._listing = _Listing(storage, clock, listing_seconds)
        self._entries: dict[str, _Entry] = {}
        self._reading: dict[str, asyncio.Task[ApiKey | None]] = {}

    async def close(self) -> None:
        """End the listing that may be under way: nobody asks any more."""
        await self._listing.close()

    async def verify(self, secret: str) -> Principal:
        """The caller that has this key.

        Raises `Refused`, `StoreError` where it cannot be found out, `Overloaded` while too many unknown keys wait.
        """
        if not is_secret(secret):
            raise Refused(Reason.MALFORMED)
        digest = digest_of(secret)
        entry = self._entries.get(digest)
        key = entry.key if entry is not None and self._is_fresh(entry) else await self._find(digest)
        if key is None:
            raise Refused(Reason.UNKNOWN_KEY, "this API key is not known; check that it is complete")
        if key.revoked_at is not None:
            raise Refused(
                Reason.REVOKED_KEY, "this API key was revoked; use another one", tenant=key.tenant, subject=key.id
            )
        if key.expires_at is not None and key.expires_at <= self._now():
            raise Refused(
                Reason.EXPIRED_KEY, "this API key has expired; use another one", tenant=key.tenant, subject=key.id
            )
        return key.principal

    def _is_fresh(self, entry: _Entry) -> bool:
        return self._clock() - entry.read_at < _REMEMBER_SECONDS

    async def _find(self, digest: str) -> ApiKey | None:
        """Read the key, once for all who ask at the same time."""
        task = self._reading.get(digest)
        if task is None:
            if len(self._reading) >= _MAX_UNKNOWN_KEYS and not self._listing.had(digest):
                raise Overloaded
            task = self._reading[digest] = asyncio.create_task(self._read(digest))
            task.add_done_callback(lambda ended: self._ended(digest, ended))
        # One caller that goes away must not take the answer from the others.
        return await asyncio.shield(task)

    def _ended(self, digest: str, task: asyncio.Task[ApiKey | None]) -> None:
        del self._reading[digest]
        if not task.cancelled():
            # Its callers were told; where all of them went away, nobody is.
            task.exception()

    async def _read(self, digest: str) -> ApiKey | None:
        begun, before, key = self._clock(), self._entries.get(digest), None
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                if (before is not None and before.key is not None) or await self._listing.has(digest):
                    key = await self._stored(digest)
        except TimeoutError as error:
            raise StoreError("the object store did not answer in time, so that no API key can be checked") from error
        self._remember(digest, _Entry(key, begun))
        return key

    async def _stored(self, digest: str) -> ApiKey | None:
        name = keys.api_key(digest)
        try:
            return await read_stored(self._storage, ApiKey, name)
        except StoredObjectBroken as error:
            log.warning("an API key cannot be read, and is refused", reason=error.message)
            return None

    def _remember(self, digest: str, entry: _Entry) -> None:
        self._entries.pop(digest, None)
        while len(self._entries) >= _MAX_REMEMBERED_ENTRIES:
            # The one that was read first.
            del self._entries[next(iter(self._entries))]
        self._entries[digest] = entry


class _Listing:
    """The hashes of all keys."""

    def __init__(self, storage: Storage, clock: Callable[[], float], pause_seconds: float) -> None:
        self._storage = storage
        self._clock = clock
        self._pause_seconds = pause_seconds
        self._digests: frozenset[str] = frozenset()
        self._begun_at = float("-inf")
        self._begun_count = 0
        """Listings that were begun."""
        self._ended_number = 0
        """Of the listing that ended last, the first being 1."""
        self._renewing: asyncio.Task[None] | None = None

    def had(self, digest: str) -> bool:
        """Whether there was such a key at the last listing."""
        return digest in self._digests

    async def has(self, digest: str) -> bool:
        """Whether there is such a key, by a listing that was begun after this was asked."""
        number = self._begun_count + 1
        while not self.had(digest) and self._ended_number < number:
            if self._renewing is None:
                self._renewing = asyncio.create_task(self._renew())
                self._renewing.add_done_callback(self._ended)
            # It goes on where nobody has the time to wait for it: with very many keys it would never come to its end.
            await asyncio.shield(self._renewing)
        return self.had(digest)

    async def close(self) -> None:
        """End the listing that is under way."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])

    async def _renew(self) -> None:
        await asyncio.sleep(self._begun_at + self._pause_seconds - self._clock())
        self._begun_at = self._clock()
        self._begun_count += 1
        found = [one.key async for one in self._storage.scan(keys.API_KEYS)]
        self._digests = frozenset(key.removeprefix(keys.API_KEYS).removesuffix(".json") for key in found)
        self._ended_number = self._begun_count

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._renewing = None
        if not task.cancelled():
            # Those who waited were told; where all of them went away, nobody is.
            task.exception()
