"""Reads what was stored of late and counts it by release: the newest segments first, within bounds. Decides nothing."""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from backburner.canary.tally import Tallies
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.storage.storage import Listed
from backburner_schemas import keys

_LONGEST_JOB_SECONDS = 7 * 86_400.0
"""A job that was made longer before the time in question, and is not open, is taken to have had its records then."""
_MAX_JOBS = 2_000
_MAX_SEGMENT_BYTES = 256 * 1024 * 1024
_MAX_CONCURRENT_LISTINGS = 16
_MAX_CONCURRENT_READS = 4
_DAY_SECONDS = 86_400.0
_DAY = re.compile(r"-([0-9]{4}-[0-9]{2}-[0-9]{2})")

log = get_logger(__name__)


@dataclass(slots=True)
class Survey:
    """What was found."""

    tallies: Tallies = field(default_factory=Tallies)
    records: int = 0
    """Records that were read."""
    is_cut: bool = False
    """Whether there was more than the bounds admit, so that older records were left out."""
    oldest: float | None = None
    """Unix seconds at which the oldest segment that was read was stored."""


async def survey(storage: Storage, tenant: str | None, *, since: float, max_records: int) -> Survey:
    """Count the records of jobs and streams that were stored in the last `since` seconds, of one tenant or of all.

    The newest first, and about `max_records` of them at most. Answers of single requests are not read. Raises
    `StoreError`.
    """
    found, begin = Survey(), await storage.time() - since
    jobs = await _jobs(storage, tenant, begin)
    found.is_cut = len(jobs) > _MAX_JOBS
    segments = await _segments(storage, jobs[:_MAX_JOBS], begin)
    chosen, left = list[Listed](), max_records
    for size, one in segments:
        if left <= 0:
            found.is_cut = True
            break
        left -= size
        chosen.append(one)
    places = asyncio.Semaphore(_MAX_CONCURRENT_READS)

    async def read(one: Listed) -> None:
        async with places:
            data = await storage.view(one.key)
            if data is not None:
                found.records += _count(found.tallies, one.key, data)

    async with asyncio.TaskGroup() as tasks:
        for one in chosen:
            tasks.create_task(read(one))
    found.oldest = min((one.modified for one in chosen), default=None)
    return found


def _count(tallies: Tallies, key: str, data: memoryview) -> int:
    counted = 0
    for line in bytes(data).splitlines():
        try:
            tallies.count(line)
        except ValueError:
            log.warning("a record cannot be read; leaving it out", key=key)
        else:
            counted += 1
    return counted


async def _jobs(storage: Storage, tenant: str | None, begin: float) -> list[tuple[str, str]]:
    """Jobs and streams that may have records since then: those that are open first, then the latest."""
    prefix = keys.OPEN if tenant is None else f"{keys.OPEN}{tenant}/"
    opened = {found async for one in storage.scan(prefix) if (found := keys.marked(one.key)) is not None}
    ranked: dict[tuple[str, str], float] = dict.fromkeys(opened, math.inf)
    for owner in await storage.folders("tenants/") if tenant is None else [tenant]:
        for name in await storage.folders(keys.jobs(owner)):
            at = _latest(name)
            if not name.startswith(keys.SINGLE) and (at is None or at > begin - _LONGEST_JOB_SECONDS):
                # Of an id that a user chose the time is not known without reading: those come last.
                ranked.setdefault((owner, name), at or 0.0)
    return sorted(ranked, key=lambda job: (-ranked[job], job))


def _latest(name: str) -> float | None:
    """Unix seconds that a name tells of a job's creation, or of a stream's end."""
    if not name.startswith(keys.STREAM):
        return keys.job_made_at(name)
    day = _DAY.fullmatch(name[-11:])
    try:
        return datetime.fromisoformat(day[1]).replace(tzinfo=UTC).timestamp() + _DAY_SECONDS if day else None
    except ValueError:
        return None


async def _segments(storage: Storage, jobs: Sequence[tuple[str, str]], begin: float) -> list[tuple[int, Listed]]:
    """Segments that were stored since then, the newest first, with the number of their records."""
    places = asyncio.Semaphore(_MAX_CONCURRENT_LISTINGS)

    async def listed(tenant: str, name: str) -> list[tuple[int, Listed]]:
        async with places:
            return [one async for one in _named(storage, tenant, name) if one[1].modified >= begin]

    found = [one for some in await asyncio.gather(*(listed(*job) for job in jobs)) for one in some]
    return sorted(found, key=lambda one: (-one[1].modified, one[1].key))


async def _named(storage: Storage, tenant: str, name: str) -> AsyncIterator[tuple[int, Listed]]:
    async for one in storage.scan(keys.segments(tenant, name)):
        segment = keys.SegmentName.parse(one.key)
        if segment is not None and one.size <= _MAX_SEGMENT_BYTES:
            yield segment.ok + segment.failed, one
