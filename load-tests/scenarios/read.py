"""What reading results costs: a job's records through the client, and the same objects through bare GETs.

And what a status costs: how many LIST requests one takes of a job whose segments several workers wrote in an hour.
"""

import asyncio
import time
from collections import deque
from enum import StrEnum

import obstore

from backburner import Client
from backburner.settings import Settings
from backburner.storage import Storage
from measuring.cpu import cpu_seconds
from measuring.figures import Bound, Check, Figures
from measuring.pairs import Measured, Pair, Side, interleaved
from measuring.servers import servers
from measuring.store_requests import counted_requests
from measuring.stored_jobs import segment_names, store_job, store_results, store_segments

GOAL_RATIO = 0.7
MAX_LISTS = 5
"""LIST requests of one status at most; each returns up to a thousand keys."""
_READ_AHEAD_OBJECTS = 4
"""Objects that are fetched side by side, on both sides."""
_WORKER_COUNT = 4
_WRITTEN_SECONDS = 3600.0
_LISTED_REQUESTS = 1_000_000


class Form(StrEnum):
    """How the client returns the records."""

    LINES = "lines"
    """As JSON lines, which is what `backburner results` writes."""
    RECORDS = "records"
    """As objects, parsed and checked."""


def read(pairs: int, records: int, *, form: Form = Form.LINES, quick: bool = False) -> Figures:
    """Run the pairs over a frozen job with that many records. The ratio is our rate over that of the bare GETs."""
    with servers("fake", durable=False):
        settings = Settings.load()
        storage = Storage.open(settings)
        keys = asyncio.run(store_results(storage, "read", records))
        asyncio.run(_freeze("read"))
        found = interleaved(
            pairs,
            Side("bare GET", lambda _: asyncio.run(_bare(storage, keys, records))),
            Side("client", lambda _: asyncio.run(_client(form, records))),
            check=_all_read,
        )
        other = next(one for one in Form if one is not form)
        also = asyncio.run(_client(other, records))
        segments, lists = asyncio.run(_status(storage))
    print(f"as {other}: {also.rate:,.0f} records/s, {also.cpu_seconds / records * 1e6:.1f} µs of CPU each")
    print(f"status of {_LISTED_REQUESTS:,} requests in {segments} segments: {lists} LISTs, goal ≤ {MAX_LISTS}")
    return Figures.of_pairs(
        "read",
        found,
        ("bare GET", "client"),
        goal=GOAL_RATIO,
        unit="records",
        against="bare GETs of the same objects",
        settings={"records": records, "form": form, "objects": len(keys), "ahead": _READ_AHEAD_OBJECTS},
        details={
            f"{other}_per_s": also.rate,
            f"{other}_cpu_us": also.cpu_seconds / records * 1e6,
            "listed_segments": segments,
        },
        checks=[
            Check.of(f"LISTs for a status of {_LISTED_REQUESTS:,} requests", lists, MAX_LISTS, bound=Bound.AT_MOST)
        ],
        quick=quick,
    )


async def _freeze(job: str) -> None:
    async with Client() as client:
        await client.job(job).wait(timeout=60)


async def _bare(storage: Storage, keys: list[str], records: int) -> Measured:
    """Fetch the objects, a few ahead, and do nothing with their bytes."""
    # The client's own store, and nothing of the client around it.
    store, root = storage._store, storage._root  # noqa: SLF001
    ahead: deque[asyncio.Task[int]] = deque()

    async def fetch(key: str) -> int:
        found = await obstore.get_async(store, root + key)
        return len(await found.bytes_async())

    cpu, started = cpu_seconds(), time.monotonic()
    size, left = 0, iter(keys)
    while True:
        while len(ahead) < _READ_AHEAD_OBJECTS and (key := next(left, None)) is not None:
            ahead.append(asyncio.create_task(fetch(key)))
        if not ahead:
            break
        size += await ahead.popleft()
    seconds = time.monotonic() - started
    return Measured(seconds, cpu_seconds() - cpu, records, {"read": records, "bytes": size})


async def _client(form: Form, records: int) -> Measured:
    """Read the whole job."""
    async with Client() as client:
        job = client.job("read")
        cpu, started = cpu_seconds(), time.monotonic()
        count = 0
        if form is Form.LINES:
            async for lines in job.result_lines():
                count += lines.count
        else:
            async for batch in job.result_batches():
                count += len(batch)
        seconds = time.monotonic() - started
        return Measured(seconds, cpu_seconds() - cpu, records, {"read": count})


def _all_read(pair: Pair) -> None:
    if pair.ours.extra["read"] != pair.ours.work:
        raise RuntimeError(f"{pair.ours.extra['read']:,} of {pair.ours.work:,} records were read")


async def _status(storage: Storage) -> tuple[int, int]:
    """How many segments the large job has, and how many LIST requests one status of it takes."""
    await store_job(storage, "listed", _LISTED_REQUESTS)
    names = list(segment_names(_LISTED_REQUESTS, _WORKER_COUNT, _WRITTEN_SECONDS))
    await store_segments(storage, "listed", names)
    async with Client() as client:
        with counted_requests() as count:
            status = await client.job("listed").status()
    if status.request_counts.completed != _LISTED_REQUESTS:
        raise RuntimeError(f"the status reports {status.request_counts.completed:,} of {_LISTED_REQUESTS:,} requests")
    return len(names), count.lists
