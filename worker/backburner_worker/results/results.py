"""The results port: makes outcomes durable, each where it belongs. It decides no outcome."""

import asyncio
from functools import partial

from backburner.storage import Storage
from backburner_schemas.envelope import AnswerMode
from backburner_worker.outcome import Outcome
from backburner_worker.results.answers import store_answer
from backburner_worker.results.writer import SegmentWriter
from backburner_worker.retrying import until_stored

_OBJECTS_AT_ONCE = 32
_WAITING_BYTES = 16 * 1024 * 1024
_WAITING_OUTCOMES = 6144
"""A full segment that fills, and half of one on its way: 10,000 requests/s with a put of 0.2 s, and of 0.6 s if it
must be in smaller segments. An outcome that waits takes about 5 KB beside its bytes; a worker at full speed has most
of them waiting anyway, so that an outage adds little.
"""
_FLUSH_AGAIN_SECONDS = 0.05


class Results:
    """Outcomes on their way to the store.

    `store` returns when everything about its outcome is durable, and not before: the dead letter first, then the
    record. While the store is away it waits, and `has_room` turns false before memory grows: take in no more then.
    Cancelling `store` leaves its outcome stored or not.
    """

    def __init__(self, storage: Storage, segments: SegmentWriter) -> None:
        self._storage = storage
        self._segments = segments
        self._objects = asyncio.Semaphore(_OBJECTS_AT_ONCE)
        self._waiting_bytes = 0
        self._waiting = 0

    @property
    def has_room(self) -> bool:
        """Whether more outcomes may come; false while too much waits for the store."""
        return self._waiting_bytes < _WAITING_BYTES and self._waiting < _WAITING_OUTCOMES

    async def store(self, outcome: Outcome) -> None:
        """Make the outcome durable; what is left of it meanwhile is its bytes. Raises what no retry can mend."""
        outcome.pack()
        size = len(outcome.record_data) + len(outcome.letter_data)
        had_room = self.has_room
        self._waiting += 1
        self._waiting_bytes += size
        if had_room and not self.has_room:
            # Once, and not for each that comes behind: those would become segments of one record.
            self._segments.flush()
        try:
            if outcome.letter_data:
                await self._put_letter(outcome)
            if outcome.record_data:
                await self._put_record(outcome)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size

    async def flush(self, under_way: set[asyncio.Task[None]]) -> None:
        """Write at once what waits, until these tasks, which are storing, have ended."""
        while under_way:
            # Again and again: a record may reach its segment only after its letter is written.
            self._segments.flush()
            _, under_way = await asyncio.wait(under_way, timeout=_FLUSH_AGAIN_SECONDS)

    async def _put_record(self, outcome: Outcome) -> None:
        address = outcome.address
        assert address is not None
        if outcome.answer is AnswerMode.OBJECT:
            async with self._objects:
                write = partial(store_answer, self._storage, address, outcome.record_data, ok=not outcome.code)
                if await until_stored(write, "write an answer"):
                    return
            del write
        await self._segments.put((address.tenant, address.job), outcome.line())

    async def _put_letter(self, outcome: Outcome) -> None:
        async with self._objects:
            await until_stored(
                partial(self._storage.put, outcome.letter_key, outcome.letter_data), "write a dead letter"
            )
