"""Tells what raw producers' messages have come to: the streams of a tenant, and the counts of one, from names alone.

A stream has no manifest, no total and no end: what is known of it is what workers have stored.
"""

import asyncio
import re
from collections.abc import AsyncGenerator

from pydantic import BaseModel, ConfigDict

from backburner.jobs.listing import no_such_page
from backburner.jobs.record_reader import not_found
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.job import Counts, UsageTotals
from backburner_schemas.status import Usage

_MAX_CONCURRENT_LISTINGS = 16
_DAY = re.compile(r"-([0-9]{4}-[0-9]{2}-[0-9]{2})")


class StreamStatus(BaseModel):
    """What is stored of a stream: how many of its requests have ended, and what they took."""

    model_config = ConfigDict(frozen=True)

    id: str
    """The stream's id: `stream-`, the topic or queue, and the day in UTC of its messages."""
    object: str = "stream"
    """Always `stream`."""
    request_counts: Counts
    """How many requests have ended; `total` is the same, since nobody knows how many are to come. An estimate:
    a redelivery can count one request twice."""
    usage: Usage = Usage()
    """Tokens and engine seconds so far."""
    first_record_at: int
    """Unix seconds at which the oldest of its records were stored."""
    last_record_at: int
    """Unix seconds at which the newest of its records were stored."""
    tenant: str
    """The stream's tenant."""


async def list_streams(
    storage: Storage, tenant: str, *, limit: int, after: str | None = None
) -> AsyncGenerator[StreamStatus]:
    """Up to `limit` streams, those of the latest day first, behind the stream `after`.

    Raises `JobNotFound` if there is no such stream, and `StoreError`.
    Costs a listing for each, and one request for a thousand of the tenant's jobs.
    """
    names = [name for name in await storage.folders(keys.jobs(tenant)) if name.startswith(keys.STREAM)]
    # By day, the latest first, and by name within a day; those that a producer named otherwise come last.
    ordered = sorted(sorted(names), key=_day_of, reverse=True)
    if after is not None:
        if after not in ordered:
            raise no_such_page(after)
        ordered = ordered[ordered.index(after) + 1 :]
    while ordered and limit > 0:
        count = min(limit, _MAX_CONCURRENT_LISTINGS)
        some, ordered = ordered[:count], ordered[count:]
        for found in await asyncio.gather(*(_look(storage, tenant, name) for name in some)):
            if found is not None:
                limit -= 1
                yield found


async def view_stream(storage: Storage, tenant: str, name: str) -> StreamStatus:
    """What is stored of one stream. Raises `JobNotFound` if nothing is, and `StoreError`."""
    found = await _look(storage, tenant, name)
    if found is None:
        raise not_found(name)
    return found


async def _look(storage: Storage, tenant: str, name: str) -> StreamStatus | None:
    ok = failed = 0
    read = written = milliseconds = 0
    times = []
    async for listed in storage.scan(keys.segments(tenant, name)):
        segment = keys.SegmentName.parse(listed.key)
        if segment is None:
            continue
        times.append(listed.modified)
        ok, failed = ok + segment.ok, failed + segment.failed
        read, written = read + segment.prompt_tokens, written + segment.completion_tokens
        milliseconds += segment.engine_ms
    if not times:
        return None
    return StreamStatus(
        id=name,
        request_counts=Counts(total=ok + failed, completed=ok, failed=failed),
        usage=Usage.of(UsageTotals(prompt_tokens=read, completion_tokens=written, engine_seconds=milliseconds / 1000)),
        first_record_at=int(min(times)),
        last_record_at=int(max(times)),
        tenant=tenant,
    )


def _day_of(name: str) -> str:
    """The day at the end of a stream's name; empty for a name that has none."""
    found = _DAY.fullmatch(name[-11:])
    return found[1] if found else ""
