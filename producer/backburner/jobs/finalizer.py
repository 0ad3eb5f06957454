"""Freezes jobs: reads what is stored, lets `status` decide, writes the summary once, whoever runs it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace

from backburner.jobs.job_watch import JobWatch
from backburner.storage import Storage
from backburner.storage.parse import MAX_LISTS_BYTES, read_manifest, read_stored
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.job import Cursor, Sealed, Summary
from backburner_schemas.segment import DIGEST_BYTES, SegmentDigest, read_digest
from backburner_schemas.segment_tally import SegmentTally
from backburner_schemas.status import Clock, JobView, decide_freeze, must_read_digests

_MAX_CONCURRENT_READS = 16
_MAX_DIGEST_BYTES = 1 << 20
"""A digest of thousands of ranges is shorter; what has none by then never will."""


async def view_job(storage: Storage, tenant: str, job: str, *, with_segments: bool = True) -> JobView | None:
    """A job as it is stored now: a few reads and a listing. None if there is no such job. Raises `StoreError`."""
    manifest, cursor, sealed, cancelled_at, frozen = await asyncio.gather(
        read_manifest(storage, tenant, job),
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
    storage: Storage, tenant: str, job: str, *, grace: float, watch: JobWatch | None = None, at_once: bool = False
) -> Ending | None:
    """The job's end, its summary written now if it has ended; None if it has not, or if there is no such job.

    `grace` is this process's setting, in seconds: the job's own counts where it is longer. `watch` is what this process
    has seen of the job before; without it this is its first look, at which a grace begins. `at_once`: nothing of it can
    come any more, so there is no grace. Raises `StoreError`.
    """
    watch = JobWatch() if watch is None else watch
    view = await view_job(storage, tenant, job)
    if view is None:
        watch.observe_missing((tenant, job), back_at=storage.back_at())
        return None
    if view.summary is not None:
        watch.forget((tenant, job))
        # Whoever wrote it may have died before this.
        await storage.delete([keys.open_job(tenant, job)])
        return Ending(view.summary, ours=False)
    clock = await clock_of(storage, view, watch, grace=grace)
    ending = await freeze(storage, view, replace(clock, grace=0.0) if at_once else clock)
    if ending is not None:
        watch.forget((tenant, job))
    return ending


async def clock_of(storage: Storage, view: JobView, watch: JobWatch, *, grace: float) -> Clock:
    """What the job's end is judged by now. `grace` is as in `finalize`. Raises `StoreError`.

    The store's clock is measured where the job may have ended: what a look costs otherwise stays as it is.
    """
    if view.cancelled_at is not None or view.may_be_whole() or storage.clock.now() > view.manifest.deadline:
        await storage.measure_clock()
    seen = watch.observe(view, storage.clock.trusted_now(), back_at=storage.back_at())
    return Clock(
        now=storage.clock.now(),
        grace=max(grace, view.manifest.grace_seconds or 0.0),
        cursor_unchanged=seen.cursor_unchanged,
        cancelled_for=seen.cancelled,
        overdue_for=seen.overdue,
        trusted=storage.clock.trusted,
    )


async def freeze(storage: Storage, view: JobView, clock: Clock) -> Ending | None:
    """The job's end, its summary written now if it has ended by that clock; None if it has not. Raises `StoreError`."""
    if not must_read_digests(view, clock):
        return None
    tenant, job = view.manifest.tenant, view.manifest.id
    summary = decide_freeze(view, await tally_segments(storage, view, below=view.most), clock)
    if summary is None:
        return None
    ours = await storage.create(keys.summary(tenant, job), summary.model_dump_json().encode())
    if not ours:
        summary = await read_summary(storage, tenant, job)
        if summary is None:
            # A store may refuse one of two that race, and then let neither win.
            raise StoreError(f"the summary of job {job} was neither written nor found; trying again")
    await storage.delete([keys.open_job(tenant, job)])
    return Ending(summary, ours=ours)


async def read_summary(storage: Storage, tenant: str, job: str) -> Summary | None:
    """The job's frozen end; None while it has none. Raises `StoredObjectBroken`, and `StoreError`."""
    return await read_stored(storage, Summary, keys.summary(tenant, job), max_bytes=MAX_LISTS_BYTES)


async def read_digests(storage: Storage, tenant: str, job: str, names: Iterable[str]) -> AsyncGenerator[SegmentDigest]:
    """The digest of each of these segments, one after another in the same order. Raises `StoreError`."""
    ahead: deque[asyncio.Task[bytes]] = deque()
    left = iter(names)
    try:
        while True:
            while len(ahead) < _MAX_CONCURRENT_READS and (name := next(left, None)) is not None:
                ahead.append(asyncio.create_task(_head(storage, keys.segments(tenant, job) + name)))
            if not ahead:
                return
            # Parsed one by one: what a digest becomes may be twenty times as large.
            yield read_digest(await ahead[0]) or SegmentDigest()
            ahead.popleft()
    finally:
        for task in ahead:
            task.cancel()


async def tally_segments(storage: Storage, view: JobView, *, below: int | None = None) -> SegmentTally:
    """What the segments of the view hold together, as far as the indexes are below that.

    Raises `StoredObjectBroken` where they name more ranges than any job has, and `StoreError`.
    """
    tenant, job = view.manifest.tenant, view.manifest.id
    tally = SegmentTally(job, below=below)
    async with aclosing(read_digests(storage, tenant, job, view.segments)) as digests:
        async for digest in digests:
            tally.add(digest)
    return tally


async def _head(storage: Storage, key: str) -> bytes:
    """The first bytes of a segment, as many as its digest has."""
    length = DIGEST_BYTES
    while (head := await storage.head(key, length)) is not None:
        # A digest holds no object: its first closing brace is its end.
        if b"}" in head or len(head) < length or length >= _MAX_DIGEST_BYTES:
            return head
        length *= 8
    return b""
