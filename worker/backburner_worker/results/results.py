"""The results port: makes outcomes durable, each where it belongs. It decides no outcome."""

import asyncio

from backburner.storage import Storage
from backburner_schemas.envelope import Address, AnswerMode
from backburner_schemas.result import ResultRecord, encode_record
from backburner_schemas.segment import Line
from backburner_worker.outcome import Outcome
from backburner_worker.results.answers import store_answer
from backburner_worker.results.writer import SegmentWriter
from backburner_worker.retrying import until_stored

_OBJECTS_AT_ONCE = 32


class Results:
    """Outcomes on their way to the store.

    `store` returns when everything about its outcome is durable, and not before: the dead letter first, then the
    record. While the store is away it waits. Cancelling it leaves the outcome stored or not.
    """

    def __init__(self, storage: Storage, segments: SegmentWriter) -> None:
        self._storage = storage
        self._segments = segments
        self._objects = asyncio.Semaphore(_OBJECTS_AT_ONCE)

    async def store(self, outcome: Outcome) -> None:
        """Make the outcome durable. Raises what no retry can mend."""
        if outcome.letter is not None:
            await self._put_object(outcome.letter_key, outcome.letter.model_dump_json(exclude_none=True).encode())
        if outcome.record is None or outcome.address is None:
            return
        data = encode_record(outcome.record)
        if outcome.answer is AnswerMode.OBJECT and await self._put_answer(outcome.address, outcome.record, data):
            return
        error = outcome.record.error
        await self._segments.put(
            (outcome.address.tenant, outcome.address.job),
            Line(
                index=outcome.address.index,
                data=data,
                error_code=error.code if error else None,
                prompt_tokens=outcome.usage.prompt_tokens,
                completion_tokens=outcome.usage.completion_tokens,
                engine_s=outcome.engine_s,
            ),
        )

    async def flush(self) -> None:
        """Write at once every record that waits for its segment."""
        await self._segments.flush()

    async def _put_object(self, key: str, data: bytes) -> None:
        async with self._objects:
            await until_stored(lambda: self._storage.put(key, data), "write a dead letter")

    async def _put_answer(self, address: Address, record: ResultRecord, data: bytes) -> bool:
        async with self._objects:
            return await until_stored(lambda: store_answer(self._storage, address, record, data), "write an answer")
