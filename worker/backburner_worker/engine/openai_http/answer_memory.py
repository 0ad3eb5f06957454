"""Bounds what all answers that are being read hold in memory together: a bound for each would count as many times.

An answer for which there is no memory left is read no further until others are done; its server waits, as for any slow
reader. One of them may always go on, so that they do not all wait for each other.
"""

import asyncio
from typing import Self

MAX_SUM_BYTES = 256 * 1024 * 1024
"""Of all answers together, beside the one that may always go on."""


class AnswerMemory:
    """The memory for the answers of one engine."""

    def __init__(self, limit: int = MAX_SUM_BYTES) -> None:
        """`limit` is in bytes."""
        self._limit = limit
        self._freed = asyncio.Event()
        self._beyond: AnswerShare | None = None
        """The answer that goes on although there is no memory left."""
        self.used = 0
        """Bytes that answers hold now. Others only read."""

    def share(self) -> "AnswerShare":
        """An answer's share, to be entered for as long as the answer is held."""
        return AnswerShare(self)

    async def take(self, share: "AnswerShare", size: int) -> None:
        """Count `size` more bytes as held by that answer, once it may go on."""
        while self.used + size > self._limit and self._beyond not in (None, share):
            self._freed.clear()
            await self._freed.wait()
        if self.used + size > self._limit:
            self._beyond = share
        self.used += size
        share.held += size

    def free(self, share: "AnswerShare") -> None:
        """That answer is held no longer."""
        self.used -= share.held
        share.held = 0
        if self._beyond is share:
            self._beyond = None
        self._freed.set()


class AnswerShare:
    """What one answer holds, until it is left."""

    def __init__(self, memory: AnswerMemory) -> None:
        self._memory = memory
        self.held = 0
        """Bytes."""

    async def take(self, size: int) -> None:
        """Count so many bytes more, once there is memory for them."""
        await self._memory.take(self, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.free(self)
