"""Uploads that are under way at the same time, of all tenants and of each: memory holds parts of every one."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from backburner_schemas.errors import Overloaded

_TENANT_RATIO = 0.75
"""Share of the places that one tenant may hold: an upload may take as long as it likes, and the others need some."""


class UploadPlaces:
    """So many places; one tenant has three quarters of them at most, rounded up."""

    def __init__(self, count: int) -> None:
        self._all = asyncio.Semaphore(count)
        self._each = math.ceil(count * _TENANT_RATIO)
        self._tenants: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """Of the tenants that have a place or wait for one."""

    @asynccontextmanager
    async def one(self, tenant: str, seconds: float) -> AsyncIterator[None]:
        """A place of that tenant while the block lasts. Raises `Overloaded` if none is free within so many seconds."""
        own = self._tenants.setdefault(tenant, asyncio.Semaphore(self._each))
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(seconds):
                    # The tenant's first: who waits behind its own tenant's uploads is in nobody else's way.
                    await held.enter_async_context(own)
                    await held.enter_async_context(self._all)
            except TimeoutError as error:
                raise Overloaded from error
            yield
