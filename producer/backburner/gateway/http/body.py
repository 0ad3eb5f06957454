"""The body of a call as it comes: counted, and with a bound on how slowly it may come."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

from backburner_schemas.errors import CallTooLarge, CallTooSlow

T = TypeVar("T")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

IDLE_SECONDS = 30.0
"""Seconds without a byte after which a caller counts as gone."""
_LEAST_BYTES_PER_SECOND = 2048
"""A caller that is slower on the whole holds a connection for more than it is worth."""
_GENTLE_SECONDS = 30.0
"""Seconds in which a call may be as slow as it likes."""


class CallerGone(Exception):
    """The caller closed the connection; nobody reads an answer."""


class Body:
    """The body of one call; stands where ASGI's `receive` stood."""

    def __init__(
        self,
        receive: Receive,
        content_length: int | None,
        limit: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        idle: float = IDLE_SECONDS,
    ) -> None:
        """`limit` is in bytes, `idle` in seconds."""
        self._receive = receive
        self._length = content_length
        self._clock = clock
        self._idle = idle
        self._begun: float | None = None
        self._over = False
        self.limit = limit
        """Bytes of the body at most; a handler that takes more raises it before it reads."""
        self.received = 0
        """Bytes so far."""

    async def receive(self) -> Message:
        """The next message. Raises `CallTooLarge` and `CallTooSlow`."""
        if self._over:
            return await self._receive()
        if self._length is not None and self._length > self.limit:
            raise self._too_large()
        if self._begun is None:
            self._begun = self._clock()
        try:
            async with asyncio.timeout(self._idle):
                message = await self._receive()
        except TimeoutError:
            raise CallTooSlow(f"nothing of the body came for {self._idle:g} s; send it again, at once") from None
        if message["type"] == "http.request":
            self._count(len(message.get("body", b"")))
            self._over = not message.get("more_body", False)
        return message

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body in pieces. Raises as `receive` does, and `CallerGone`."""
        while not self._over:
            message = await self.receive()
            if message["type"] != "http.request":
                raise CallerGone
            yield message.get("body", b"")

    async def read(self, limit: int) -> bytes:
        """The whole body, of that many bytes at most. Raises as `pieces` does."""
        self.limit = limit
        pieces = [piece async for piece in self.pieces()]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def while_there(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns that the caller waits for. Where that goes away the work ends: raises `CallerGone`."""
        working, leaving = asyncio.create_task(work), asyncio.create_task(self._left())
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await leaving
                raise CallerGone
            return await working
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.wait({working, leaving})

    async def _left(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def _count(self, size: int) -> None:
        self.received += size
        if self.received > self.limit:
            raise self._too_large()
        assert self._begun is not None
        lasting = self._clock() - self._begun
        if lasting > _GENTLE_SECONDS and self.received < (lasting - _GENTLE_SECONDS) * _LEAST_BYTES_PER_SECOND:
            raise CallTooSlow(f"the body comes at less than {_LEAST_BYTES_PER_SECOND:,} bytes a second; send it faster")

    def _too_large(self) -> CallTooLarge:
        return CallTooLarge(f"the body has more than the {self.limit:,} bytes that are taken here; send less at once")
