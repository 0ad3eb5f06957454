"""The marks of suspects that run alone, in the store: how the next owner learns that its predecessor died of one.

A worker that dies takes its memory with it, and not every queue keeps a note. So a suspect's mark is made before it
runs and taken away after it has run, or was given up. Where one is still there, its maker died in between.
"""

import asyncio
from functools import partial

from pydantic_core import to_json

from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.stored import parse_stored
from backburner_schemas import keys
from backburner_schemas.envelope import Address
from backburner_schemas.errors import PoisonRequest, StoredObjectBroken, StoreError
from backburner_schemas.letter import DeadLetter
from backburner_worker.retrying import until_stored

_CLOSE_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 5.0
"""How long a mark's maker gets to take it away: a rebalance can give its suspect to the next owner before that."""

log = get_logger(__name__)


class Suspects:
    """Makes and clears the marks. While the store is away its calls wait, and no suspect runs."""

    def __init__(self, storage: Storage, worker: str) -> None:
        self._storage = storage
        self._worker = worker
        self._ours: dict[str, bytes] = {}
        self._making: dict[str, asyncio.Task[bool]] = {}

    async def accuse(self, address: Address) -> bool:
        """Mark a suspect that is to run alone now; False if it is convicted: whoever ran it before died of it.

        Cancelled, it may have made the mark; `give_up` knows.
        """
        key = _key(address)
        if not await self._mark(key):
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            if not await self._mark(key):
                log.warning("a suspect's mark is still there: it is poison", key=key)
                return False
        if await self._was_convicted(address):
            log.info("a suspect was convicted before, and comes again", key=key)
            return False
        return True

    def convict(self, address: Address) -> None:
        """It killed again: its mark stays, whatever happens, until `clear`."""
        self._ours.pop(_key(address), None)

    async def clear(self, address: Address) -> None:
        """The suspect's end is known: take its mark away, whoever made it."""
        key = _key(address)
        ours = self._ours.get(key)
        await self._made(key)
        await until_stored(lambda: self._storage.delete([key]), "clear a suspect's mark")
        # A copy of the same suspect may have begun meanwhile: its mark is ours too, and not gone.
        if self._ours.get(key) == ours:
            self._ours.pop(key, None)

    async def give_up(self, address: Address) -> None:
        """The suspect is left to another worker: take the mark away if it is ours. A mark of another stays."""
        await self._give_up(_key(address))

    async def close(self) -> None:
        """Give up what is ours still: the worker ends, but did not die. Bounded, and raises nothing."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                for key in [*self._ours]:
                    await self._give_up(key)
        except (StoreError, TimeoutError):
            log.warning("suspects' marks could not be cleared; they will count as poison", keys=[*self._ours])

    async def _was_convicted(self, address: Address) -> bool:
        """Whether its dead letter is there: whoever convicted it cleared the mark and ended before the queue heard."""
        key = keys.dead_letter(address.tenant, address.job, address.index)
        stored = await until_stored(partial(self._storage.get, key), "look for a suspect's dead letter")
        try:
            return stored is not None and parse_stored(DeadLetter, key, stored.data).code == PoisonRequest.code
        except StoredObjectBroken:
            return False

    async def _give_up(self, key: str) -> None:
        if (ours := self._ours.get(key)) is None:
            return
        await self._made(key)
        found = await until_stored(partial(self._storage.get, key), "read a suspect's mark")
        if found is not None and found.data == ours:
            await until_stored(lambda: self._storage.delete([key]), "clear a suspect's mark")
        self._ours.pop(key, None)

    async def _mark(self, key: str) -> bool:
        # Unique, since a create whose answer got lost is tried again, and then finds its own mark.
        mark = to_json({"worker": self._worker, "mark": keys.new_ulid()})
        self._ours[key] = mark
        if await until_stored(partial(self._create, key, mark), "mark a suspect"):
            return True
        found = await until_stored(partial(self._storage.get, key), "read a suspect's mark")
        if found is not None and found.data == mark:
            return True
        self._ours.pop(key, None)
        return False

    async def _create(self, key: str, mark: bytes) -> bool:
        """Create the mark; cancelled, the request goes on, since it may have been sent."""
        making = self._making[key] = asyncio.create_task(self._storage.create(key, mark))
        making.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(making)

    async def _made(self, key: str) -> None:
        """Return when no request is on its way that could make the mark after it was taken away."""
        if (making := self._making.get(key)) is not None:
            await asyncio.wait([making])


def _key(address: Address) -> str:
    return keys.suspect(address.tenant, address.job, address.index)
