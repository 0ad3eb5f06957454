"""Which requests have their response already, by segments' digests and answer objects. Reads no records."""

import asyncio

from pydantic_core import from_json

from backburner.jobs.finalizer import tally_segments, view_job
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import AnswerMode, Envelope
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.indexset import IndexSet
from backburner_schemas.result import record_id
from backburner_schemas.status import JobView

_ANSWER_HEAD_BYTES = 8192
"""Of an answer object: its id, the longest custom_id there is, and how its response begins."""

log = get_logger(__name__)


async def answered_in(storage: Storage, view: JobView) -> IndexSet:
    """The indexes of a job that have a response; of a frozen job, those that count. Raises `StoreError`."""
    return (await tally_segments(storage, view)).ok


async def has_answer_object(storage: Storage, envelope: Envelope) -> bool:
    """Whether the request's answer object holds a response to it, by its first bytes. Raises `StoreError`."""
    key = keys.answer(envelope.tenant, envelope.job, envelope.custom_id)
    try:
        head = await storage.head(key, _ANSWER_HEAD_BYTES)
        # The end of it may be anywhere, within a character too.
        record = from_json(head.decode(errors="ignore"), allow_partial=True) if head is not None else None
    except (ValueError, StoredObjectBroken):
        log.warning("reading an answer failed; treating the request as unanswered", key=key)
        return False
    if not isinstance(record, dict) or record.get("id") != record_id(envelope.address):
        return False
    return isinstance(record.get("response"), dict)


class Answered:
    """Looks up one request after another whether it has its response, and caches what it read of the last job.

    Ask in the order of the jobs; those of one job may be looked up concurrently.

    The segments of a stream name no indexes, so its requests never have one here.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._reading = asyncio.Lock()
        self._job: tuple[str, str] | None = None
        self._indexes: IndexSet | None = None

    async def has(self, envelope: Envelope) -> bool:
        """Whether there is a response to this request. Raises `StoreError`."""
        indexes = await self._of(envelope.tenant, envelope.job)
        if indexes is not None:
            return isinstance(envelope.index, int) and envelope.index in indexes
        return envelope.answer is AnswerMode.OBJECT and await has_answer_object(self._storage, envelope)

    async def _of(self, tenant: str, job: str) -> IndexSet | None:
        """The answered indexes of a job; None if it has no manifest."""
        if not keys.has_manifest(job):
            return None
        async with self._reading:
            if self._job != (tenant, job):
                self._indexes = await self._read(tenant, job)
                self._job = tenant, job
            return self._indexes

    async def _read(self, tenant: str, job: str) -> IndexSet | None:
        try:
            view = await view_job(self._storage, tenant, job)
        except StoredObjectBroken as error:
            log.warning("reading a job failed; its dead letters may be stale", job=job, error=error.message)
            return IndexSet()
        return await answered_in(self._storage, view) if view is not None else None
