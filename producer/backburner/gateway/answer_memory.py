"""The memory that answers of all calls take together: what is read of the store for them, until it is sent.

One answer may have hundreds of megabytes, and a gateway has a thousand places for calls. It bounds nothing else: what
calls bring is streamed, and small documents have a bound each.
"""

import asyncio
from weakref import WeakValueDictionary

from backburner.runtime.memory_budget import MemoryBudget, MemoryShare
from backburner_schemas.errors import Overloaded

MAX_ANSWERS_BYTES = 256 * 1024 * 1024
"""Of all answers, beside the one that may always go on; a gateway's pod has a gigabyte by default."""
_TENANT_RATIO = 0.25
"""Of these, what one tenant's answers may take, beside one of its own that may always go on: however slowly a tenant
takes what it asks for, it makes nobody wait but itself."""


class AnswerMemory:
    """The memory for answers, for which a call waits a while before it is told to come again."""

    def __init__(self, *, seconds: float, limit: int = MAX_ANSWERS_BYTES) -> None:
        """A call waits so many `seconds` at most; `limit` is in bytes."""
        self.budget = MemoryBudget(limit)
        """What counts all of it."""
        self._tenant_limit = round(limit * _TENANT_RATIO)
        self._tenants: WeakValueDictionary[str, MemoryBudget] = WeakValueDictionary()
        """Of those that have calls under way."""
        self._seconds = seconds

    def of(self, tenant: str) -> MemoryBudget:
        """What counts a tenant's answers.

        A download that is under way waits here, without a bound: it holds nothing meanwhile.
        """
        found = self._tenants.get(tenant)
        if found is None:
            found = self._tenants[tenant] = MemoryBudget(self._tenant_limit, whole=self.budget)
        return found

    async def take(self, share: MemoryShare, size: int) -> None:
        """Count so many bytes more as held by that share. Raises `Overloaded` where others hold it for too long."""
        try:
            async with asyncio.timeout(self._seconds):
                await share.take(size)
        except TimeoutError as error:
            raise Overloaded(
                "other answers take the memory that the gateway has for them, or that your tenant may have; "
                "call again after the time in Retry-After"
            ) from error

    async def wait(self, tenant: str) -> None:
        """Return once there is memory for another answer to a tenant. Raises `Overloaded` as `take` does."""
        with self.of(tenant).share() as share:
            await self.take(share, 1)
