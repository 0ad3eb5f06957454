"""Writes one object in pieces, so that one larger than memory passes through. It knows no key."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from backburner.logs import get_logger
from backburner.storage.native_calls import NativeCalls
from backburner_schemas.errors import StoreError

if TYPE_CHECKING:
    from obstore import AsyncWritableFile

PART_BYTES = 8 * 1024 * 1024
"""Bytes of each part of an object that is written in parts; S3 takes 10,000 parts, so that 80 GB fit."""
PARTS_UNDER_WAY_COUNT = 2
"""Parts that are sent at once; with the one that is being filled they bound the memory of a writer."""
_PIECE_BYTES = 1 << 20
"""Pieces are handed on in lumps of this size: a call for each packet of a network would cost more than the copy."""
_ABORT_SECONDS = 10.0

log = get_logger(__name__)


class ObjectWriter:
    """One object on its way into the store. `Storage.writer` opens it, and ends it at the end of its block."""

    def __init__(
        self,
        file: "AsyncWritableFile",
        calls: NativeCalls,
        asking: Callable[[Callable[[], Awaitable[object]]], Awaitable[object]],
    ) -> None:
        self._file = file
        self._calls = calls
        self._asking = asking
        self._held: list[bytes] = []
        self._held_bytes = 0

    async def write(self, data: bytes) -> None:
        """Add these bytes; waits while the store is behind. Raises `StoreError`."""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= _PIECE_BYTES:
            await self._hand_on()

    async def finish(self) -> None:
        """Make the object exist, whole. Raises `StoreError`; then it does not exist, or, after a lost answer, whole."""
        await self._hand_on()
        await self._asking(lambda: self._calls.run(self._file.close))

    async def abort(self) -> None:
        """Leave nothing behind, as far as the store can be reached; parts that stay are not seen by anyone."""
        self._held.clear()
        try:
            async with asyncio.timeout(_ABORT_SECONDS):
                # How the library is told to abort: its context ends by an error.
                await self._calls.run(self._file.__aexit__, StoreError, StoreError(), None)
        except Exception as error:  # noqa: BLE001 - whatever it is, the error at hand matters more
            log.warning("aborting an upload failed; the store may keep its parts, unseen", error=str(error)[:200])

    async def _hand_on(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if not held:
            return
        data = held[0] if len(held) == 1 else b"".join(held)

        async def write() -> None:
            with self._calls.lend(data) as payload:
                await self._calls.run(self._file.write, payload)

        await self._asking(write)
