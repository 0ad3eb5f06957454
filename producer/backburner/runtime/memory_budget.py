"""Bounds what all of a kind hold in memory together: a bound for each would count as many times as there are at once.

What finds no memory left waits until others are done. One may always go on, so that they do not all wait for each
other, and so that what is larger than the whole budget comes through, alone.
"""

import asyncio
from typing import Self


class MemoryBudget:
    """The memory that shares of one kind may take together, beside the one that may always go on."""

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes."""
        self._limit = limit
        self._freed = asyncio.Event()
        self._beyond: MemoryShare | None = None
        """The share that goes on although there is no memory left."""
        self.used = 0
        """Bytes that are held now. Others only read."""

    def share(self) -> "MemoryShare":
        """A share of it, to be entered for as long as what it counts is held."""
        return MemoryShare(self)

    def fits(self, size: int) -> bool:
        """Whether there are so many bytes left."""
        return self.used + size <= self._limit

    async def take(self, share: "MemoryShare", size: int) -> None:
        """Count `size` more bytes as held by that share, once it may go on."""
        while not self.fits(size) and self._beyond not in (None, share):
            self._freed.clear()
            await self._freed.wait()
        self.count(share, size)

    def count(self, share: "MemoryShare", size: int) -> None:
        """Count `size` more bytes as held by that share, or fewer if it is negative, without asking."""
        if size > 0 and not self.fits(size) and self._beyond is None:
            self._beyond = share
        self.used += size
        share.held += size
        if size < 0:
            self._freed.set()

    def free(self, share: "MemoryShare") -> None:
        """That share is held no longer."""
        self.used -= share.held
        share.held = 0
        if self._beyond is share:
            self._beyond = None
        self._freed.set()


class MemoryShare:
    """What one holds, until it is left."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.held = 0
        """Bytes."""

    async def take(self, size: int) -> None:
        """Count so many bytes more, once there is memory for them."""
        await self._budget.take(self, size)

    def settle(self, size: int) -> None:
        """It holds so many bytes by now, however many it took before: what is there already waits for nothing."""
        self._budget.count(self, size - self.held)

    def free(self) -> None:
        """Nothing of it is held any more."""
        self._budget.free(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.free()
