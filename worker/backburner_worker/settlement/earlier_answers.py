"""Which requests that come again have their response already: what earlier owners stored, and the queue does not know.

A worker that dies between storing and telling the queue leaves requests that are done and come again. The store knows
them: each segment names its indexes in its first line, and an answer object is there or not. A look at a job costs a
listing and a few short reads, and is made once for all that was handed over at one time.
"""

import asyncio
import heapq
import time
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from backburner.jobs.answered import has_answer_object
from backburner.jobs.finalizer import read_digests
from backburner.logs import get_logger
from backburner.runtime.until_stored import until_stored
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import AnswerMode, Envelope
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.indexset import IndexSet, NamedIndexes
from backburner_schemas.keys import SegmentName
from backburner_schemas.segment_tally import SegmentTally
from backburner_worker.jobs import JobCache, JobKey
from backburner_worker.sources.base import Delivery

_MAX_LISTED_COUNT = 20_000
"""Segments of a job beyond which nothing is looked up, in twenty calls: what was done may be done again then."""
_MAX_READ_COUNT = 256
"""Segments whose digest is read, the newest of each writer first: what was in flight when one died is in those."""
_MAX_RANGES_COUNT = 50_000
"""Of one job's indexes. Anybody who may write below the tenant says how many there are."""
_MAX_NAMES_COUNT = 10_000
_MAX_HELD_COUNT = 100_000
"""Names and ranges that are remembered of all jobs, some 10 MB; the least recently asked for go first."""
_UNITS_PER_JOB = 20
_UNITS_PER_SEGMENT = 10
"""What a job takes beside those, and one of its segments that names any."""
_MAX_CONCURRENT_LOOKS = 8
_MAX_CONCURRENT_READS = 32

_CLOCK_SECONDS = 2.0
"""That a sender's clock may be ahead of the store's, whose dates are cut to the second. By one further ahead what is
stored may run again; nothing is lost by it."""
_NOTHING = IndexSet()

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Found:
    """What one look at a job found."""

    looked_at: float = -1.0
    """Monotonic seconds at which it began."""
    indexes: IndexSet = _NOTHING
    names: tuple[tuple[float, NamedIndexes], ...] = ()
    """String indexes by segment, with the Unix seconds at which that was written."""

    @property
    def size(self) -> int:
        """What it takes in memory: names and ranges, and what it takes itself, in as many."""
        return _UNITS_PER_JOB + self.indexes.range_count + sum(_UNITS_PER_SEGMENT + one.count for _, one in self.names)

    def has(self, index: int | str, sent_at: float) -> bool:
        """Whether there is a response to that request, which was sent at that Unix time.

        A topic that is made anew has the same offsets, and so has a log that lost its end: what was stored before the
        request was sent answers another one.
        """
        if isinstance(index, int):
            return index in self.indexes
        return any(index in named for written, named in self.names if written >= sent_at - _CLOCK_SECONDS)


class EarlierAnswers:
    """Looks up the responses to requests that may have run before."""

    def __init__(self, storage: Storage, jobs: JobCache) -> None:
        self._storage = storage
        self._jobs = jobs
        self._found: OrderedDict[JobKey, _Found] = OrderedDict()
        self._held = 0
        """The size of all that."""
        self._looks = asyncio.Semaphore(_MAX_CONCURRENT_LOOKS)
        self._reads = asyncio.Semaphore(_MAX_CONCURRENT_READS)

    async def to(self, deliveries: Iterable[Delivery]) -> frozenset[Delivery]:
        """Those whose response is in the store, once their jobs are known. No request for what nobody had before.

        While the store is away it waits, as does the intake.
        """
        objects, in_segments = list[Delivery](), defaultdict[JobKey, list[Delivery]](list)
        for delivery in deliveries:
            if delivery.handed_over_at is None or delivery.job is None or not isinstance(delivery.message, Envelope):
                continue
            if delivery.message.answer is AnswerMode.OBJECT and not self._jobs.facts(delivery.job).has_manifest:
                objects.append(delivery)
            else:
                in_segments[delivery.job].append(delivery)
        found = await asyncio.gather(
            *(self._in_segments(job, held) for job, held in in_segments.items()), *map(self._as_object, objects)
        )
        return frozenset().union(*found)

    async def _as_object(self, delivery: Delivery) -> Collection[Delivery]:
        message = delivery.message
        assert isinstance(message, Envelope)
        async with self._reads:
            there = await until_stored(partial(has_answer_object, self._storage, message), "look for an answer")
        return (delivery,) if there else ()

    async def _in_segments(self, job: JobKey, deliveries: list[Delivery]) -> Collection[Delivery]:
        handed_over_at = max(delivery.handed_over_at or 0.0 for delivery in deliveries)
        found = self._found.get(job)
        if found is None or found.looked_at < handed_over_at:
            async with self._looks:
                found = await until_stored(partial(self._look, job), "look for earlier answers")
            self._keep(job, found)
        else:
            self._found.move_to_end(job)
        return [
            one
            for one in deliveries
            if (address := one.address) is not None and found.has(address.index, one.origin.timestamp)
        ]

    def _keep(self, job: JobKey, found: _Found) -> None:
        if (before := self._found.pop(job, None)) is not None:
            self._held -= before.size
        self._found[job] = found
        self._held += found.size
        while self._held > _MAX_HELD_COUNT and len(self._found) > 1:
            _, gone = self._found.popitem(last=False)
            self._held -= gone.size

    async def _look(self, job: JobKey) -> _Found:
        looked_at = time.monotonic()
        segments = await self._newest(job)
        indexes, names, room = SegmentTally(job[1], max_ranges=_MAX_RANGES_COUNT), [], _MAX_NAMES_COUNT
        written = iter(segments.values())
        try:
            async with aclosing(read_digests(self._storage, *job, segments)) as digests:
                async for digest in digests:
                    indexes.add(digest)
                    written_at, named = next(written), NamedIndexes(digest.named, room)
                    if named.count:
                        names.append((written_at, named))
                    room -= named.count
                    # Whoever wrote them says how much there is to unpack.
                    await asyncio.sleep(0)
            found = _Found(looked_at, indexes.ok, tuple(names))
        except StoredObjectBroken as error:
            log.warning("looking up earlier answers failed; the requests run", job=job[1], error=error.message)
            return _Found(looked_at)
        log.info("earlier answers looked up", tenant=job[0], job=job[1], segments=len(segments))
        return found

    async def _newest(self, job: JobKey) -> dict[str, float]:
        """The job's newest segments with responses, one of each writer, then the next of each: names, and when written.

        The times are Unix seconds.
        """
        prefix = keys.segments(*job)
        of_writers = defaultdict[str, list[tuple[int, float, str]]](list)
        count = 0
        async with aclosing(self._storage.scan(prefix)) as listed:
            async for one in listed:
                count += 1
                if count > _MAX_LISTED_COUNT:
                    log.warning("too many segments to look up earlier answers; the requests run", job=job[1])
                    return {}
                if (name := SegmentName.parse(one.key)) is not None and name.ok:
                    of_writers[name.writer].append((name.sequence, one.modified, one.key[len(prefix) :]))
        ranked = [
            (rank, -modified, name)
            for written in of_writers.values()
            for rank, (_, modified, name) in enumerate(sorted(written, reverse=True))
        ]
        return {name: -written for _, written, name in heapq.nsmallest(_MAX_READ_COUNT, ranked)}
