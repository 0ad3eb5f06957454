"""API keys in the object store: made, listed, revoked. Who may do that is decided by who reaches the store."""

import asyncio
from collections.abc import Callable, Iterable

from backburner.gateway.auth.api_key import ApiKey, digest_of, digest_prefix, id_of, is_secret, new_secret, shown
from backburner.gateway.auth.principal import Scope
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.storage.parse import parse_stored, read_stored
from backburner_schemas import keys
from backburner_schemas.errors import ApiKeyNotFound, StoredObjectBroken, StoreError

_MAX_ATTEMPTS = 5
_MAX_CONCURRENT_READS = 16

log = get_logger(__name__)


class ApiKeyStore:
    """The API keys of all tenants. Every method raises `StoreError` where the store does not answer."""

    def __init__(self, storage: Storage, *, now: Callable[[], float] | None = None) -> None:
        self._storage = storage
        self._now = now or storage.clock.now

    async def create(
        self, tenant: str, name: str, scopes: Iterable[Scope], *, lifetime: float | None = None
    ) -> tuple[str, ApiKey]:
        """Make a key; returns it and what is stored of it. The key itself cannot be had again.

        `lifetime` in seconds; None for a key that does not expire.
        """
        secret = new_secret()
        made = self._key(secret, tenant, name, scopes, lifetime)
        await self._storage.put(keys.api_key(digest_of(secret)), _encoded(made))
        return secret, made

    async def register(self, secret: str, tenant: str, name: str, scopes: Iterable[Scope]) -> tuple[ApiKey, bool]:
        """Have a key that somebody else keeps, made by `new_secret`, be accepted from now on. Safe to repeat.

        Returns what is stored of it, and whether that is new: a key that is known stays as it is, a revoked one too.
        Raises `ValueError` for a text without the form of a key.
        """
        if not is_secret(secret):
            raise ValueError("the text has not the form of an API key")
        stored_as, made = keys.api_key(digest_of(secret)), self._key(secret, tenant, name, scopes, None)
        if await self._storage.create(stored_as, _encoded(made)):
            return made, True
        return await self._read(stored_as) or made, False

    def _key(self, secret: str, tenant: str, name: str, scopes: Iterable[Scope], lifetime: float | None) -> ApiKey:
        now = self._now()
        return ApiKey(
            id=id_of(digest_of(secret)),
            tenant=tenant,
            name=name,
            prefix=shown(secret),
            scopes=tuple(sorted(set(scopes))),
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
        )

    async def read(self, tenant: str | None = None) -> list[ApiKey]:
        """The keys of that tenant, or of all, the oldest first; revoked and expired ones among them.

        One that cannot be read is logged and left out.
        """
        names = [one.key async for one in self._storage.scan(keys.API_KEYS)]
        slots = asyncio.Semaphore(_MAX_CONCURRENT_READS)

        async def read_one(key: str) -> ApiKey | None:
            async with slots:
                try:
                    return await self._read(key)
                except StoredObjectBroken as error:
                    log.warning("an API key cannot be read", reason=error.message)
                    return None

        found = await asyncio.gather(*map(read_one, names))
        chosen = [one for one in found if one is not None and tenant in {None, one.tenant}]
        return sorted(chosen, key=lambda one: (one.created_at, one.id))

    async def revoke(self, key_id: str, tenant: str | None = None) -> ApiKey:
        """Revoke a key for good; gateways refuse it within ten seconds. Safe to repeat.

        Raises `ApiKeyNotFound` where there is no such key, or it is another tenant's.
        """
        for name in await self._named(key_id):
            for _ in range(_MAX_ATTEMPTS):
                stored = await self._storage.get(name)
                if stored is None:
                    break
                found = parse_stored(ApiKey, name, stored.data)
                if tenant not in {None, found.tenant}:
                    break
                if found.revoked_at is not None:
                    return found
                revoked = found.model_copy(update={"revoked_at": self._now()})
                if await self._storage.replace(name, _encoded(revoked), stored.etag):
                    return revoked
            else:
                raise StoreError(f"the API key {key_id} changes all the time; try again")
        raise ApiKeyNotFound(f"there is no API key {key_id[:40]!r}; `backburner keys list` shows those that there are")

    async def _named(self, key_id: str) -> list[str]:
        """Keys of the objects that an id may mean: one, or none."""
        digest = digest_prefix(key_id)
        if digest is None:
            return []
        begin = keys.API_KEYS + digest
        # A store lists whole folders only; what stands before is passed over.
        return [one.key async for one in self._storage.scan(keys.API_KEYS, after=begin) if one.key.startswith(begin)]

    async def _read(self, key: str) -> ApiKey | None:
        return await read_stored(self._storage, ApiKey, key)


def _encoded(key: ApiKey) -> bytes:
    return key.model_dump_json(exclude_none=True).encode()
