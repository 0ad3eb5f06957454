"""The results port: stores outcomes, each where it belongs. It decides no outcome."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from backburner.runtime.until_stored import until_stored
from backburner.storage import Storage
from backburner_schemas.envelope import Address, AnswerMode
from backburner_schemas.segment import Line
from backburner_worker.outcome import Outcome
from backburner_worker.settlement.answers import store_answer
from backburner_worker.settlement.segment_writer import Durable, SegmentWriter

T = TypeVar("T")

_MAX_OBJECTS_AT_ONCE = 32
_MAX_WAITING_BYTES = 16 * 1024 * 1024
_MAX_WAITING_OUTCOMES = 12_288
"""One segment that fills, and two being written: 25,000 requests/s with a put of 0.3 s. An outcome that waits takes
less than 1 KB beside its bytes; a worker at full speed has most of them waiting anyway, so that an outage adds little.
"""
_FLUSH_RETRY_SECONDS = 0.05


class Results:
    """Outcomes on their way to the store.

    What `gather` accepted is durable when the `Durable` that it returned is done, what `store` accepted when that
    returns: the dead letter first, then the record. While the store is away both wait, and `has_room` turns false
    before memory grows: take in no more then. Cancelling `store` leaves its outcome stored or not.
    """

    def __init__(self, storage: Storage, segments: SegmentWriter) -> None:
        self._storage = storage
        self._segments = segments
        self._at_once = asyncio.Semaphore(_MAX_OBJECTS_AT_ONCE)
        self._objects = 0
        self._object_bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether more outcomes may come; false while too much waits for the store."""
        segments = self._segments
        return (
            segments.waiting + self._objects < _MAX_WAITING_OUTCOMES
            and segments.waiting_bytes + self._object_bytes < _MAX_WAITING_BYTES
        )

    def gather(self, outcome: Outcome) -> Durable | None:
        """Put the outcome into its segment, and return what to wait for; None where that is not enough: `store` it.

        Many outcomes share one.
        """
        if outcome.letter or outcome.address is None or outcome.answer is AnswerMode.OBJECT:
            return None
        line = outcome.take_line()
        if line is None:
            return None
        return self._to_segment(outcome.address, line)

    async def store(self, outcome: Outcome) -> None:
        """Store the outcome. Raises what no retry can fix."""
        if outcome.letter:
            put = partial(self._storage.put, outcome.letter_key, outcome.letter)
            await self._object(len(outcome.letter), put, "write a dead letter")
        address, line = outcome.address, outcome.take_line()
        if address is None or line is None:
            return
        if outcome.answer is AnswerMode.OBJECT:
            write = partial(store_answer, self._storage, address, line.data, ok=not outcome.code)
            if await self._object(len(line.data), write, "write an answer"):
                return
            del write
        durable = self._to_segment(address, line)
        # Thousands wait here: nothing of the record stays but what is in the segment.
        del line
        await durable.wait()

    async def flush(self, under_way: set[asyncio.Task[None]]) -> None:
        """Write at once what waits, until these tasks, which are storing, have ended."""
        while under_way:
            # Again and again: a record may reach its segment only after its letter is written.
            self._segments.flush()
            _, under_way = await asyncio.wait(under_way, timeout=_FLUSH_RETRY_SECONDS)

    def _to_segment(self, address: Address, line: Line) -> Durable:
        had_room = self.has_room
        durable = self._segments.add((address.tenant, address.job), line)
        if had_room and not self.has_room:
            # Once, and not for each that follows: those would become segments of one record.
            self._segments.flush()
        return durable

    async def _object(self, size: int, write: Callable[[], Awaitable[T]], what: str) -> T:
        self._objects += 1
        self._object_bytes += size
        try:
            async with self._at_once:
                return await until_stored(write, what)
        finally:
            self._objects -= 1
            self._object_bytes -= size
