"""Freezes jobs: reads what is stored, lets `status` decide, writes the summary once, whoever runs it."""

import asyncio
import time
from dataclasses import dataclass

from backburner.storage import Storage
from backburner.storage.parse import MAX_LISTS_BYTES, read_stored
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.job import Cursor, JobManifest, Sealed, Summary
from backburner_schemas.segment import DIGEST_BYTES, SegmentDigest, read_digest
from backburner_schemas.status import Clock, JobView, decide_freeze, must_read_digests

_MAX_CONCURRENT_READS = 16
_MAX_DIGEST_BYTES = 1 << 20
"""A digest of thousands of ranges is shorter; what has none by then never will."""


async def view_job(storage: Storage, tenant: str, job: str, *, with_segments: bool = True) -> JobView | None:
    """A job as it is stored now: a few reads and a listing. None if there is no such job. Raises `StoreError`."""
    manifest, cursor, sealed, cancelled_at, frozen = await asyncio.gather(
        read_stored(storage, JobManifest, keys.manifest(tenant, job)),
        read_stored(storage, Cursor, keys.cursor(tenant, job)),
        read_stored(storage, Sealed, keys.sealed(tenant, job)),
        storage.modified(keys.cancelled(tenant, job)),
        read_summary(storage, tenant, job),
    )
    if manifest is None:
        return None
    segments: tuple[str, ...] = frozen.segments if frozen else ()
    if frozen is None and with_segments:
        prefix = keys.segments(tenant, job)
        found = [one.key[len(prefix) :] async for one in storage.scan(prefix)]
        segments = tuple(sorted(name for name in found if keys.SegmentName.parse(name) is not None))
    return JobView(
        manifest=manifest,
        cursor=cursor,
        sealed=sealed,
        cancelled_at=cancelled_at,
        segments=segments,
        summary=frozen,
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """A job that is frozen."""

    summary: Summary
    ours: bool
    """Whether this call froze it: of concurrent calls, one does."""


async def finalize(
    storage: Storage, tenant: str, job: str, *, grace: float, cursor_unchanged: float = 0.0
) -> Ending | None:
    """The job's end, its summary written now if it has ended; None if it has not, or if there is no such job.

    `grace` is in seconds; `cursor_unchanged` is for how many seconds the cursor has not moved.
    Raises `StoreError`.
    """
    view = await view_job(storage, tenant, job)
    if view is None:
        return None
    summary, ours = view.summary, False
    if summary is None:
        clock = Clock(now=time.time(), grace=grace, cursor_unchanged=cursor_unchanged)
        if not must_read_digests(view, clock):
            return None
        summary = decide_freeze(view, await read_digests(storage, tenant, job, view.segments), clock)
        if summary is None:
            return None
        ours = await storage.create(keys.summary(tenant, job), summary.model_dump_json().encode())
        if not ours:
            summary = await read_summary(storage, tenant, job)
            if summary is None:
                # A store may refuse one of two that race, and then let neither win.
                raise StoreError(f"the summary of job {job} was neither written nor found; trying again")
    # Also where another wrote the summary: it may have died before this.
    await storage.delete([keys.open_job(tenant, job)])
    return Ending(summary, ours=ours)


async def read_summary(storage: Storage, tenant: str, job: str) -> Summary | None:
    """The job's frozen end; None while it has none. Raises `StoredObjectBroken`, and `StoreError`."""
    return await read_stored(storage, Summary, keys.summary(tenant, job), max_bytes=MAX_LISTS_BYTES)


async def read_digests(storage: Storage, tenant: str, job: str, names: tuple[str, ...]) -> list[SegmentDigest]:
    """The digest of each of these segments, in the same order. Raises `StoreError`."""
    places = asyncio.Semaphore(_MAX_CONCURRENT_READS)

    async def read(name: str) -> SegmentDigest:
        key = keys.segments(tenant, job) + name
        async with places:
            length = DIGEST_BYTES
            while (head := await storage.head(key, length)) is not None:
                digest = read_digest(head)
                if digest is not None or len(head) < length or length >= _MAX_DIGEST_BYTES:
                    return digest or SegmentDigest()
                length *= 8
        return SegmentDigest()

    return list(await asyncio.gather(*(read(name) for name in names)))
