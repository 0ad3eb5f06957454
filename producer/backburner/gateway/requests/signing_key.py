"""The key that all replicas sign ids with: made by whichever asks first, kept in the store."""

import asyncio
import secrets

from backburner.gateway.requests.request_ids import RequestIds
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoredObjectBroken, StoreError

_KEY_BYTES = 32


class SigningKey:
    """Reads the key once."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._ids: RequestIds | None = None
        self._asking = asyncio.Lock()

    async def ids(self) -> RequestIds:
        """What makes and tells ids. Raises `StoreError`."""
        if self._ids is None:
            # Once for all who ask: stores make many who create one object at the same time wait for long.
            async with self._asking:
                if self._ids is None:
                    self._ids = RequestIds(await self._read() or await self._create())
        return self._ids

    async def _read(self) -> bytes | None:
        stored = await self._storage.get(keys.GATEWAY_SIGNING_KEY)
        if stored is None:
            return None
        if len(stored.data) != _KEY_BYTES:
            raise StoredObjectBroken(
                f"the object {keys.GATEWAY_SIGNING_KEY} is no key; remove it, and a new one is made"
            )
        return stored.data

    async def _create(self) -> bytes:
        made = secrets.token_bytes(_KEY_BYTES)
        if await self._storage.create(keys.GATEWAY_SIGNING_KEY, made):
            return made
        found = await self._read()
        if found is None:
            raise StoreError("the signing key was neither written nor found; call again")
        return found
