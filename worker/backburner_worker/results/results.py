"""The results port: makes outcomes durable, each where it belongs. It decides no outcome."""

import asyncio

from backburner.storage import Storage
from backburner_schemas.envelope import AnswerMode
from backburner_schemas.result import encode_record
from backburner_schemas.segment import Line
from backburner_worker.outcome import Outcome
from backburner_worker.results.answers import store_answer
from backburner_worker.results.writer import SegmentWriter
from backburner_worker.retrying import until_stored

_OBJECTS_AT_ONCE = 32
_WAITING_BYTES = 64 * 1024 * 1024
_WAITING_OUTCOMES = 50_000
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
        """Make the outcome durable. Raises what no retry can mend."""
        record = encode_record(outcome.record) if outcome.record is not None else b""
        letter = outcome.letter.model_dump_json(exclude_none=True).encode() if outcome.letter is not None else b""
        size = len(record) + len(letter)
        self._waiting += 1
        self._waiting_bytes += size
        if not self.has_room:
            self._segments.flush()
        try:
            if letter:
                await self._put_letter(outcome.letter_key, letter)
            if record:
                await self._put_record(outcome, record)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= size

    async def flush(self, under_way: set[asyncio.Task[None]]) -> None:
        """Write at once what waits, until these tasks, which are storing, have ended."""
        while under_way:
            # Again and again: a record may reach its segment only after its letter is written.
            self._segments.flush()
            _, under_way = await asyncio.wait(under_way, timeout=_FLUSH_AGAIN_SECONDS)

    async def _put_record(self, outcome: Outcome, data: bytes) -> None:
        record, address = outcome.record, outcome.address
        assert record is not None
        assert address is not None
        if outcome.answer is AnswerMode.OBJECT:
            async with self._objects:
                if await until_stored(lambda: store_answer(self._storage, address, record, data), "write an answer"):
                    return
        line = Line(
            index=address.index,
            data=data,
            error_code=record.error.code if record.error else None,
            prompt_tokens=outcome.usage.prompt_tokens,
            completion_tokens=outcome.usage.completion_tokens,
            engine_s=outcome.engine_s,
        )
        await self._segments.put((address.tenant, address.job), line)

    async def _put_letter(self, key: str, data: bytes) -> None:
        async with self._objects:
            await until_stored(lambda: self._storage.put(key, data), "write a dead letter")
