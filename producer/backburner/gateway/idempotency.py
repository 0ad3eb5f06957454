"""Calls that come twice: what the first one made is kept under its key, and the store decides between replicas."""

import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.requests import Request

from backburner.gateway.auth.principal import Principal
from backburner.storage import Storage
from backburner.storage.parse import ModelT, parse_stored, read_stored
from backburner_schemas import keys
from backburner_schemas.envelope import UnixSeconds
from backburner_schemas.errors import CallRefused, IdempotencyConflict, StoredObjectBroken, StoreError

KEPT_SECONDS = 24 * 3600.0
"""For how long an Idempotency-Key is remembered."""
RETRY_WINDOW_SECONDS = 600.0
"""For how long the stock package's own retry of a call without a key finds what the call made."""
_MAX_KEY_CHARACTERS = 255


class MadeOnce(BaseModel):
    """What a call made."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: int = 1
    fingerprint: Annotated[str, Field(max_length=128)]
    """Of the call's content: the same key with another is a mistake."""
    made: str
    """What was made, or how to make it again to the last byte."""
    at: UnixSeconds


class Idempotency:
    """The calls of one caller to one route. Every method raises `StoreError`."""

    def __init__(self, storage: Storage, principal: Principal, route: str) -> None:
        self._storage = storage.of_tenant(principal.tenant)
        self._principal = principal
        self._route = route

    async def once(self, key: str, fingerprint: str, made: str) -> str:
        """What the first call with that key made: `made` if this is the first.

        Raises `IdempotencyConflict` if the first one's content was another.
        """
        stored_at = self._key("key", key)
        mine = MadeOnce(fingerprint=fingerprint, made=made, at=self._storage.clock.now())
        if await self._storage.create(stored_at, mine.model_dump_json().encode()):
            return made
        stored = await self._storage.get(stored_at)
        if stored is None:
            raise StoreError("what an earlier call with this key made has vanished; call again")
        found = parse_stored(MadeOnce, stored_at, stored.data)
        if not await self._counts(found, KEPT_SECONDS):
            if await self._storage.replace(stored_at, mine.model_dump_json().encode(), stored.etag):
                return made
            raise StoreError("another call with this key came at the same moment; call again")
        if found.fingerprint != fingerprint:
            raise IdempotencyConflict
        return found.made

    async def found(self, key: str, fingerprint: str) -> str | None:
        """What the first call with that key made; None if there was none. Raises `IdempotencyConflict` as `once`."""
        found = await self._remembered(self._key("key", key), KEPT_SECONDS)
        if found is not None and found.fingerprint != fingerprint:
            raise IdempotencyConflict
        return None if found is None else found.made

    async def first(self, fingerprint: str) -> str | None:
        """What the first call without a key made, of which this one is a retry; None if it came not as far as that."""
        found = await self._remembered(self._key("same", fingerprint), RETRY_WINDOW_SECONDS)
        return None if found is None else found.made

    async def retried(self, fingerprint: str, made: str, *, retry: bool) -> str:
        """What a call without a key is to make: of a first call, that; of its retry, what the first call made."""
        stored_at = self._key("same", fingerprint)
        mine = MadeOnce(fingerprint=fingerprint, made=made, at=self._storage.clock.now()).model_dump_json().encode()
        if not retry:
            await self._storage.put(stored_at, mine)
            return made
        stored = await self._storage.get(stored_at)
        if stored is not None:
            found = parse_stored(MadeOnce, stored_at, stored.data)
            if await self._counts(found, RETRY_WINDOW_SECONDS):
                return found.made
        # The first call never came as far as this, or long ago. Its other retry may be here at the same moment.
        if stored is None:
            written = await self._storage.create(stored_at, mine)
        else:
            written = await self._storage.replace(stored_at, mine, stored.etag)
        if written:
            return made
        stored = await self._storage.get(stored_at)
        if stored is None:
            raise StoreError("what the first call made has vanished; call again")
        return parse_stored(MadeOnce, stored_at, stored.data).made

    async def done(self, made: str) -> None:
        """What a call made is under way: another call that finds it has nothing to do any more.

        By what was made, not by the key: once that is forgotten, a call with it makes something new.
        """
        await self._storage.put(self._key("done", made), b"")

    async def is_done(self, made: str) -> bool:
        """Whether that is so."""
        return await self._storage.modified(self._key("done", made)) is not None

    async def _remembered(self, stored_at: str, seconds: float) -> MadeOnce | None:
        found = await read_stored(self._storage, MadeOnce, stored_at)
        return found if found is not None and await self._counts(found, seconds) else None

    async def _counts(self, found: MadeOnce, seconds: float) -> bool:
        """Whether a call is remembered that has to be for so many seconds.

        By the clock as well as it is known, also where it is not trusted: if nothing were old then, a call would get
        what one of any age made, and if everything were, a retry would make its batch twice. Mostly it is this
        machine's own clock that is off then, and what is compared here are dates by the store's. Where the store's
        cannot be measured, they are by the machines' own, which are right for most.
        """
        await self._storage.measure_clock()
        return abs(self._storage.clock.now() - found.at) <= seconds

    def _key(self, kind: str, key: str) -> str:
        parts = (kind, self._route, self._principal.subject, self._principal.key_id, key)
        return keys.idempotency(self._principal.tenant, hashlib.sha256(to_json(parts)).hexdigest())


def as_made(model: type[ModelT], made: str) -> ModelT:
    """What an earlier call made, of that kind. Raises `StoredObjectBroken` for what none can have made."""
    return parse_stored(model, "that an earlier call with this Idempotency-Key made", made.encode())


def not_made() -> StoredObjectBroken:
    """The error for what is kept of an earlier call and can be none of its doing."""
    return StoredObjectBroken(
        "what is kept of an earlier call with this Idempotency-Key is nothing that a call makes; choose a new key"
    )


def idempotency_key(request: Request) -> str | None:
    """The call's Idempotency-Key, or None. Raises `CallRefused` for one that cannot be."""
    given: list[str] = request.headers.getlist("idempotency-key")
    if not given:
        return None
    found: str = given[0]
    if len(given) > 1 or not 0 < len(found) <= _MAX_KEY_CHARACTERS or not found.isprintable():
        raise CallRefused(f"send one Idempotency-Key, of 1 to {_MAX_KEY_CHARACTERS} printable characters")
    return found


def is_retry(request: Request) -> bool:
    """Whether the stock package says that this call is its own retry of an earlier one."""
    count = request.headers.get("x-stainless-retry-count", "0")
    return count.isascii() and count.isdigit() and int(count[:4]) > 0


def fingerprint_of(content: object) -> str:
    """A digest of what can be written as JSON."""
    return hashlib.sha256(to_json(content)).hexdigest()
