"""The marks of suspects that run alone, in the store: how the next owner learns that its predecessor died of one.

A worker that dies takes its memory with it, and not every queue records it. So a suspect's mark is created before it
runs, renewed while it runs, and removed after it has run or was given up. Where one is there and is not renewed, its
maker vanished in between: a lost node is as likely as the suspect, so that the mark counts it, and convicts at the
second time. What a worker lived to see of a suspect convicts at once.
"""

import asyncio
import json
import time
from collections.abc import Coroutine
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from typing import Any, TypeVar

from pydantic_core import to_json

from backburner.logs import get_logger
from backburner.runtime.failure import reasons
from backburner.runtime.until_stored import until_stored
from backburner.storage import Storage, Stored
from backburner_schemas import keys
from backburner_schemas.envelope import MAX_AMONG_COUNT, Address
from backburner_schemas.errors import PoisonRequest, StoredObjectBroken, StoreError
from backburner_schemas.letter import CODE_BYTES, code_of
from backburner_worker.sources.base import Delivery

_CLOSE_SECONDS = 5.0
_RENEW_SECONDS = 2.0
_MAX_MARK_BYTES = 4096
_CONVICTING_DEATHS_COUNT = 2
"""Workers that vanished while it ran alone, or one that saw what it did."""
_MIN_EQUAL_READS = 4
"""Reads in a row, as far apart as two renewals, at which a mark has to be the same to convict: its creator may still
remove it, since a rebalance can assign its suspect to the next owner before that, or it runs a copy of the suspect."""

_MAX_CHANGES = 3
"""Changes of another's mark at which its creator certainly lives: a copy of the suspect runs there. The engine stands
empty while this looks, so it does not wait for the end of that."""

_MAX_READ_RENEWALS = 4
"""A read that took longer than so many renewals waited for the store."""

T = TypeVar("T")

log = get_logger(__name__)


_GONE = Stored(b"", None, 0.0)
"""In place of a mark that was there and is gone by the time it is read; one that is there may be empty, too."""


class Marking(Enum):
    """What came of marking a suspect."""

    OURS = auto()
    """It is marked, and may run alone now."""
    CONVICTED = auto()
    """Whoever ran it before died of it."""
    ELSEWHERE = auto()
    """A worker that lives runs a copy of it."""


class Suspects:
    """Creates and clears the marks. While the store is away its calls wait, and no suspect runs."""

    def __init__(self, storage: Storage, worker: str) -> None:
        self._storage = storage
        self._worker = worker
        self.crashed = False
        """Whether a request broke our own code: its next owner has to see that as a crash."""
        self._ours: dict[str, str] = {}
        """What distinguishes our marks from those of others, by key."""
        self._deaths: dict[str, int] = {}
        """What our marks count, where that is anything."""
        self._together: dict[str, int] = {}
        """With how many, itself included, what we mark runs."""
        self._renewed: set[str] = set()
        self._writing: dict[str, asyncio.Task[object]] = {}

    async def mark(self, address: Address, *, together: int = 1, left_cleanly: bool = False) -> Marking | int:
        """Mark a suspect that is to run now, with so many at most, itself included.

        Bounded to half a minute while the store answers within seconds. A number is that of those with which it ran in
        a worker that vanished: it is to run with fewer. `left_cleanly`: the queue shows that who ran it last let go of
        it in order. Then a mark that was left is one that its worker could not remove when it ended, since the store
        was away, and convicts nobody. Cancelled, it may have created the mark; `give_up` handles that.
        """
        key = _key(address)
        # Of a copy that runs here already.
        before = self._together.get(key)
        self._together[key] = together
        marking = await self._take_mark(key, left_cleanly=left_cleanly)
        if marking is Marking.CONVICTED:
            log.warning("suspect's mark is left once more and not renewed; convicting the request as poison", key=key)
        if marking is not Marking.OURS:
            if before is None:
                self._together.pop(key, None)
            else:
                self._together[key] = before
            return marking
        self._renewed.add(key)
        if await self._was_convicted(address):
            log.info("suspect was convicted before; ending it again", key=key)
            return Marking.CONVICTED
        return Marking.OURS

    async def renew(self) -> None:
        """Renew the marks of what runs, for ever."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            for key in [*self._renewed]:
                if key not in self._renewed:
                    continue
                try:
                    await self._write(key, self._storage.put(key, self._content(key)))
                except StoreError as error:
                    # Others cannot read either; their count starts anew when the store is back.
                    log.warning("renewing a suspect's mark failed; retrying", key=key, error=error.message)

    async def convict(self, address: Address) -> None:
        """It killed again: its mark stays, whatever happens, until `clear`, and convicts it if this worker dies too."""
        key = _key(address)
        await self._written(key)
        if key in self._ours:
            await self._witness(key)
            self._forget(key)

    async def record_crash(self, error: Exception, delivery: Delivery | None = None) -> None:
        """Record an error over the delivery: if our own code broke, a suspect's mark stays.

        Bounded, and raises nothing.
        """
        if reasons(error):
            return
        self.crashed = True
        if delivery is None or not delivery.facts.suspect or delivery.address is None:
            return
        key = _key(delivery.address)
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._create_mark(key)
                if key in self._ours:
                    await self._witness(key)
        self._renewed.discard(key)

    async def clear(self, address: Address) -> None:
        """The suspect's end is known: remove its mark, whoever created it."""
        key = _key(address)
        ours = self._ours.get(key)
        await self._written(key)
        await until_stored(lambda: self._storage.delete([key]), "clear a suspect's mark")
        # A copy of the same suspect may have begun meanwhile: its mark is ours too, and not gone.
        if self._ours.get(key) == ours:
            self._forget(key)

    async def give_up(self, address: Address) -> None:
        """The suspect is left to another worker: remove the mark if it is ours. A mark of another stays."""
        await self._give_up(_key(address))

    async def close(self) -> None:
        """Remove our marks that are left: the worker ends, but did not die. Bounded, and raises nothing."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                for key in [*self._ours]:
                    await self._give_up(key)
        except (StoreError, TimeoutError):
            log.warning(
                "clearing suspects' marks failed; the next owners convict these as poison, unless the queue tells them "
                "that this worker ended in order",
                keys=[*self._ours],
            )

    async def _was_convicted(self, address: Address) -> bool:
        """Whether its dead letter exists: whoever convicted it cleared the mark and ended before it was settled."""
        key = keys.dead_letter(address.tenant, address.job, address.index)
        head = await until_stored(partial(self._storage.head, key, CODE_BYTES), "look for a suspect's dead letter")
        return head is not None and code_of(head) == PoisonRequest.code

    async def _give_up(self, key: str) -> None:
        if (ours := self._ours.get(key)) is None:
            self._together.pop(key, None)
            return
        await self._written(key)
        found = await self._read_mark(key)
        if found is not None and ours.encode() in found.data:
            await until_stored(lambda: self._storage.delete([key]), "clear a suspect's mark")
        self._forget(key)

    async def _witness(self, key: str) -> None:
        """Have our mark convict by itself: this worker saw what the suspect did."""
        self._deaths[key], self._together[key] = _CONVICTING_DEATHS_COUNT, 1
        await until_stored(lambda: self._write(key, self._storage.put(key, self._content(key))), "mark a suspect")

    async def _take_mark(self, key: str, *, left_cleanly: bool) -> Marking | int:
        """Create the mark, or see what becomes of another's that is there."""
        seen: bytes | None = None
        reads, changes, began = 0, 0, time.monotonic()
        while (there := await self._create_mark(key)) is not None:
            # A read that waited for the store proves nothing: meanwhile nobody could renew.
            quick = time.monotonic() - began < _MAX_READ_RENEWALS * _RENEW_SECONDS
            same = quick and there is not _GONE and there.data == seen
            changes += seen is not None and there.data != seen
            seen, reads = there.data, reads + 1 if same else 0
            if changes == _MAX_CHANGES:
                return Marking.ELSEWHERE
            if reads == _MIN_EQUAL_READS:
                deaths, together = _count(there.data, "deaths"), _count(there.data, "together")
                if deaths >= _CONVICTING_DEATHS_COUNT:
                    return Marking.CONVICTED  # Who made it saw what the suspect did, however it ended itself.
                if left_cleanly:
                    log.info("suspect's mark is left by a worker that ended in order; marking it anew", key=key)
                elif together > 1:
                    return together
                elif (deaths := deaths + 1) >= _CONVICTING_DEATHS_COUNT:
                    return Marking.CONVICTED
                else:
                    log.warning("a worker vanished while a suspect ran alone; running it alone once more", key=key)
                if await self._take_over(key, there, deaths):
                    return Marking.OURS
                reads = 0
            began = time.monotonic()
            await asyncio.sleep(_RENEW_SECONDS)
        return Marking.OURS

    async def _take_over(self, key: str, left: Stored, deaths: int) -> bool:
        """Put our mark, which counts so many, into the place of that one. False if that has changed meanwhile."""
        before = self._ours.get(key)
        self._ours[key], self._deaths[key] = keys.new_ulid(), deaths
        content = self._content(key)
        write = partial(self._storage.replace, key, content, left.etag)
        if await until_stored(lambda: self._write(key, write()), "mark a suspect"):
            return True
        self._restore(key, before)
        return False

    async def _create_mark(self, key: str) -> Stored | None:
        """Create the mark. Returns the one that is there if that is another's; an empty one if that is gone by now."""
        # Unique, since a create whose answer got lost is retried, and then finds its own mark.
        before, ours = self._ours.get(key), keys.new_ulid()
        self._ours[key] = ours
        content = self._content(key)
        if await until_stored(lambda: self._write(key, self._storage.create(key, content)), "mark a suspect"):
            return None
        found = await self._read_mark(key)
        if found is not None and ours.encode() in found.data:
            return None
        self._restore(key, before)
        return found or _GONE

    def _restore(self, key: str, before: str | None) -> None:
        """The mark that we tried to create is not there: what we had `before` counts again."""
        if before is None:
            self._ours.pop(key, None)
            self._deaths.pop(key, None)
        else:
            self._ours[key] = before

    def _forget(self, key: str) -> None:
        self._ours.pop(key, None)
        self._deaths.pop(key, None)
        self._together.pop(key, None)

    async def _read_mark(self, key: str) -> Stored | None:
        """The mark that is there. What is too large to be one is somebody's all the same, and nobody renews it."""

        async def read() -> Stored | None:
            try:
                return await self._storage.get(key, max_bytes=_MAX_MARK_BYTES)
            except StoredObjectBroken:
                return Stored(b"no mark", await self._storage.etag(key), 0.0)

        return await until_stored(read, "read a suspect's mark")

    def _content(self, key: str) -> bytes:
        mark: dict[str, object] = {"worker": self._worker, "mark": self._ours[key], "renewed": time.time()}
        mark |= {"deaths": self._deaths.get(key, 0), "together": self._together.get(key, 1)}
        return to_json(mark)

    async def _write(self, key: str, request: Coroutine[Any, Any, T]) -> T:
        """Make the request; it goes on when this is cancelled, since it may have been sent."""
        writing = asyncio.create_task(request)
        self._writing[key] = writing

        def over(_: object) -> None:
            if self._writing.get(key) is writing:
                del self._writing[key]

        writing.add_done_callback(over)
        return await asyncio.shield(writing)

    async def _written(self, key: str) -> None:
        """Return when no request is or will be under way that could write the mark after it was removed."""
        self._renewed.discard(key)
        if (writing := self._writing.get(key)) is not None:
            await asyncio.wait([writing])


def _count(mark: bytes, name: str) -> int:
    """What that mark counts under the name. One that cannot be read, or of an earlier release, counts none."""
    try:
        count = json.loads(mark)[name]
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0
    return min(max(count, 0), MAX_AMONG_COUNT) if isinstance(count, int) else 0


def _key(address: Address) -> str:
    return keys.suspect(address.tenant, address.job, address.index)
