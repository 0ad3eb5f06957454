"""Reads a job's records out of its segments, while it runs and after it is frozen: each index once.

While a job runs the records are provisional: the first that is seen for an index is yielded, and an error may be
followed by a response that this reader then skips. Once the job is frozen only the segments in its summary are
read, a response comes before an error, and requests that were cut off get one error record each.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from itertools import islice

from pydantic import ValidationError

from backburner.jobs.finalizer import view_job
from backburner.jobs.polling import Patience, PollPace
from backburner.jobs.record_lines import RecordLines, WholeSegment
from backburner.jobs.seen_indexes import SeenIndexes
from backburner.runtime.memory_budget import MemoryBudget, MemoryShare
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.envelope import Address
from backburner_schemas.errors import (
    Cancelled,
    Expired,
    JobNotFound,
    ProducerAbandoned,
    StoreError,
    Unanswered,
)
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import Summary
from backburner_schemas.result import ResultRecord, error_record
from backburner_schemas.status import JobView

BATCH_RECORDS = 32
"""Records that are handed on together at most. With 256 the memory that one batch frees is cold when the next is
created, which was measured to double the cost of parsing."""
_READ_AHEAD_SEGMENTS = 4
"""Segments that are fetched ahead of the reader; each has a few megabytes at most. None where memory is shared: as long
as its reader is slow, each would be missing to others."""
_COPIES_COUNT = 2
"""Of a segment, once its lines are apart."""
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_EMPTY = IndexSet()

Piece = list[ResultRecord] | RecordLines
"""Some records, or the lines of some."""

_CUT_OFF: dict[str | None, type[Unanswered]] = {
    Expired.code: Expired,
    Cancelled.code: Cancelled,
    ProducerAbandoned.code: ProducerAbandoned,
}


class UnreadableSegment(StoreError):
    """A segment holds what is not a result record; find out what wrote it."""

    retryable = False


class RecordReader:
    """One reading of a job's records."""

    def __init__(
        self,
        storage: Storage,
        tenant: str,
        job: str,
        *,
        cut_off: bool = True,
        errors_only: bool = False,
        memory: MemoryBudget | None = None,
        look: Callable[[], Awaitable[JobView | None]] | None = None,
        moved: Callable[[], object] = lambda: None,
    ) -> None:
        """`cut_off`: whether requests that a freeze cut off get a record each. There may be any number of them.

        `errors_only`: only error records are wanted. Segments that have none by their names are not read then, and
        those that are read may give responses all the same.

        `memory` bounds what all readers that have it hold of segments; without it, each holds some. `look` returns the
        job at each poll; one that is followed has to freeze it if it has ended, or the reading of a job that nobody
        else ends would have no end. `moved` is called whenever a segment was read, of which nothing may be new.
        """
        self._storage = storage
        self._memory = memory
        self._most_ahead = _READ_AHEAD_SEGMENTS if memory is None else 1
        self._view = look or partial(view_job, storage, tenant, job)
        self._moved = moved
        self._with_cut_off = cut_off
        self._errors_only = errors_only
        self._errors = 0
        """Error records that were yielded."""
        self._tenant = tenant
        self._job = job
        self._seen = SeenIndexes()
        self._read: set[str] = set()
        self._numbered = True
        self._ended = False
        self._below: int | None = None

    async def pieces(self, *, follow: bool, timeout: float | None = None) -> AsyncGenerator[Piece]:
        """The records, some at a time. With `follow` until the job is frozen, otherwise those that are there now.

        Where every record of a segment counts they are its lines, which `records_of` parses. `timeout` is how many
        seconds the job may take to end; what is there by then is yielded.

        Raises `JobNotFound` if there is nothing of that name, `ResultTimeout`, and `StoreError`, with `follow` only
        after the store was away for minutes.
        """
        pace, patience = (
            PollPace(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, timeout, job=self._job),
            (Patience() if follow else Patience(0.0)),
        )
        late = f"job {self._job} did not end"
        while True:
            before = len(self._read)
            try:
                async with pace.look(late):
                    view = await self._view()
                async with aclosing(self._news(view, follow=follow)) as news:
                    while True:
                        async with pace.reading(late):
                            piece = await anext(news, None)
                        if piece is None:
                            break
                        yield piece
                patience.went_well()
            except StoreError as error:
                patience.bear(error)
            if self._ended or not follow:
                return
            if len(self._read) > before:
                pace.quicken()
            await pace.pause(late)

    async def _news(self, view: JobView | None, *, follow: bool) -> AsyncGenerator[Piece]:
        """What is new since the last poll. What a failed poll has yielded already is not yielded again."""
        if view is None:
            if follow:
                raise not_found(self._job)
            async with aclosing(self._stream()) as stream:
                async for batch in stream:
                    yield batch
            return
        if view.sealed is not None:
            self._below = view.total
        if view.summary is not None:
            self._below = view.summary.counts.total
            async with aclosing(self._frozen(view.summary)) as rest:
                async for batch in rest:
                    yield batch
            self._ended = True
            return
        new = [name for name in view.segments if name not in self._read]
        async with aclosing(self._segments(new)) as segments:
            async for batch in segments:
                yield batch

    async def _stream(self) -> AsyncGenerator[Piece]:
        self._numbered = False
        prefix = keys.segments(self._tenant, self._job)
        names = [one.key[len(prefix) :] async for one in self._storage.scan(prefix)]
        if not names:
            raise not_found(self._job)
        new = sorted(name for name in names if keys.SegmentName.parse(name) is not None)
        async with aclosing(self._segments(new)) as segments:
            async for batch in segments:
                yield batch

    async def _frozen(self, summary: Summary) -> AsyncGenerator[Piece]:
        # Of a segment that was read while the job ran everything was yielded, or skipped for good.
        while True:
            new = [name for name in summary.segments if name not in self._read]
            async with aclosing(self._segments(new, superseded=summary.superseded)) as segments:
                async for batch in segments:
                    yield batch
            if not self._errors_only or self._errors >= summary.counts.failed - len(summary.missing):
                break
            # A segment's name is what its writer says, and the summary counts what they hold: then the rest is read.
            self._errors_only = False
        if not self._with_cut_off:
            return
        error = _CUT_OFF.get(summary.missing_code, Expired)()
        cut_off: list[ResultRecord] = []
        for index in summary.missing:
            if self._seen.add(index):
                cut_off.append(error_record(Address(self._tenant, self._job, index, None), error))
                if len(cut_off) >= BATCH_RECORDS:
                    yield cut_off
                    cut_off = []
        if cut_off:
            yield cut_off

    async def _segments(self, names: Sequence[str], *, superseded: IndexSet = _EMPTY) -> AsyncGenerator[Piece]:
        prefix = keys.segments(self._tenant, self._job)
        ahead: deque[tuple[str, MemoryShare, asyncio.Task[memoryview]]] = deque()
        left = deque(name for name in names if not self._errors_only or _may_have_errors(name))
        try:
            while True:
                while left and len(ahead) < self._most_ahead:
                    key = prefix + left[0]
                    share = await self._room(key)
                    ahead.append((left.popleft(), share, asyncio.create_task(self._fetch(key))))
                if not ahead:
                    return
                name, share, task = ahead.popleft()
                with share:
                    try:
                        data = await task
                    finally:
                        task.cancel()
                    self._moved()
                    for batch in self._records(name, data, superseded):
                        self._errors += _errors_in(batch)
                        yield batch
                    del data
                self._read.add(name)
        finally:
            for _, share, task in ahead:
                task.cancel()
                share.free()

    async def _room(self, key: str) -> MemoryShare:
        """The memory for a segment. Who waits holds none: otherwise readers could wait for each other."""
        if self._memory is None:
            return MemoryBudget(0).share()
        size = (await self._storage.size(key) or 0) * _COPIES_COUNT
        share = self._memory.share()
        await share.take(size)
        return share

    async def _fetch(self, key: str) -> memoryview:
        # Whole, not as a stream: a slow reader would hold the connection over the store's time-out.
        data = await self._storage.view(key)
        if data is None:
            raise StoreError(f"the segment {key} has vanished while the job was read; read its results again")
        return data

    def _records(self, name: str, data: memoryview, superseded: IndexSet) -> Iterator[Piece]:
        whole = WholeSegment.of(data) if self._numbered else None
        if whole is not None and self._all_count(whole, superseded) and self._seen.add_all(whole.indexes):
            yield from whole.lines
            return
        batch: list[ResultRecord] = []
        for record in parsed(name, bytes(data)):
            if self._counts(record, superseded) and self._seen.add(record.backburner.index):
                batch.append(record)
                if len(batch) >= BATCH_RECORDS:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def _all_count(self, whole: WholeSegment, superseded: IndexSet) -> bool:
        """Whether each record can be the one of its index."""
        return (self._below is None or whole.indexes.stop <= self._below) and not whole.failed & superseded

    def _counts(self, record: ResultRecord, superseded: IndexSet) -> bool:
        """Whether the record can be the one of its index. A job with a manifest has numbers below its total alone."""
        index = record.backburner.index
        if isinstance(index, str):
            return not self._numbered
        if self._below is not None and index >= self._below:
            return False
        return record.ok or index not in superseded


def _may_have_errors(segment: str) -> bool:
    name = keys.SegmentName.parse(segment)
    return name is None or name.failed > 0


def _errors_in(piece: Piece) -> int:
    return piece.failed if isinstance(piece, RecordLines) else sum(not record.ok for record in piece)


def records_of(piece: Piece) -> Iterator[list[ResultRecord]]:
    """The records of a piece, some at a time. Raises `UnreadableSegment` for what is none."""
    if not isinstance(piece, RecordLines):
        yield piece
        return
    records = parsed("that was read", piece.data)
    while batch := list(islice(records, BATCH_RECORDS)):
        yield batch


def parsed(segment: str, data: bytes) -> Iterator[ResultRecord]:
    """The records in a segment's lines. Raises `UnreadableSegment`, which names the segment, for what is none."""
    for line in data.splitlines():
        try:
            yield ResultRecord.model_validate_json(line)
        except ValidationError as error:
            raise UnreadableSegment(
                f"the segment {segment} holds a line that is not a result record; find out what wrote it"
            ) from error


def not_found(job: str) -> JobNotFound:
    """The error for a job that has no manifest."""
    if job.startswith(keys.STREAM):
        remedy = (
            f"{job} is a stream, which has no end; see what is there with `backburner status {job}`, or "
            f"client.stream(…), and read it with `backburner results {job} --no-follow`, or results(follow=False)"
        )
    elif job.startswith(keys.SINGLE):
        remedy = (
            f"{job} is a single request, which has no job; ask for it with `backburner results {job}`, "
            f"or client.handle({job!r})"
        )
    else:
        remedy = f"there is no job {job}; `backburner jobs` lists those of the tenant"
    return JobNotFound(remedy).of_job(job)
