"""Bounds what all of a kind hold in memory together: a bound for each would count as many times as there are at once.

What finds no memory left waits until others are done. One may always go on, so that they do not all wait for each
other, and so that what is larger than the whole budget comes through, alone.
"""

import asyncio
from typing import Self


class MemoryBudget:
    """The memory that shares of one kind may take together, beside the one that may always go on."""

    def __init__(self, limit: int, *, whole: "MemoryBudget | None" = None) -> None:
        """`limit` is in bytes.

        What is taken of this budget counts in the `whole` too, up to the limit: what goes on beyond it must not take
        the room of those who share the rest.
        """
        self._limit = limit
        self._whole = whole
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
        while (full := self.full(share, size)) is not None:
            await full.wait()
        self.count(share, size)

    def count(self, share: "MemoryShare", size: int) -> None:
        """Count `size` more bytes as held by that share, or fewer if it is negative, without asking."""
        self.add(share, size)
        share.held += size

    def free(self, share: "MemoryShare") -> None:
        """That share is held no longer."""
        self.count(share, -share.held)
        self.leave(share)

    def full(self, share: "MemoryShare", size: int) -> "MemoryBudget | None":
        """Which budget has no room for so many more bytes of that share: this one or the whole; None if both have."""
        if not self.fits(size) and self._beyond not in (None, share):
            return self
        counted = self._counted(size)
        return self._whole.full(share, counted) if self._whole is not None and counted > 0 else None

    async def wait(self) -> None:
        """Return once some of it was given back."""
        self._freed.clear()
        await self._freed.wait()

    def add(self, share: "MemoryShare", size: int) -> None:
        """Count `size` more bytes of that share here and in the whole, but not in the share."""
        if size > 0 and not self.fits(size) and self._beyond is None:
            self._beyond = share
        counted = self._counted(size)
        self.used += size
        if size < 0:
            self._freed.set()
        if self._whole is not None and counted:
            self._whole.add(share, counted)

    def leave(self, share: "MemoryShare") -> None:
        """Let another be the one that may always go on, if it was that share, here and in the whole."""
        if self._beyond is share:
            self._beyond = None
        self._freed.set()
        if self._whole is not None:
            self._whole.leave(share)

    def _counted(self, size: int) -> int:
        """How much of `size` more bytes counts in the whole."""
        return min(self.used + size, self._limit) - min(self.used, self._limit)


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
