"""Writes segments: takes records, gives back once their segment is durable. It knows no outcome and no engine."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from backburner.logs import get_logger
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.segment import Line, encode_segment
from backburner_worker.jobs import JobBook, JobKey
from backburner_worker.results.segments import Buffer, Buffers, SegmentLimits
from backburner_worker.retrying import until_stored
from backburner_worker.telemetry import Telemetry

_TICK_SECONDS = 0.02
_QUIET_SECONDS = 0.1
"""How long a job that this worker holds nothing more of must be quiet while the queue has more: some may be its own."""
_STREAM_QUIET_SECONDS = 1.0
"""The same for a stream, which is never sealed."""
_SEAL_CHECK_SECONDS = 1.0
_PUTS_AT_ONCE = 4
_WAITING_BYTES = 64 * 1024 * 1024
_WAITING_RECORDS = 50_000

log = get_logger(__name__)

JobQuiet = Callable[[JobKey], None]
"""“This worker holds nothing more of that job”: time to see whether it is whole. Must not block."""


class SegmentWriter:
    """Gathers the records of each job into segments.

    `put` returns when its record is durable, and not before. `flush` writes at once all that waits. While the store is
    away both wait, and `has_room` turns false before memory grows. `holds` and `lets_go` tell how many requests of a
    job the worker still has, so that a job's last records do not wait for their age. `run` drives the timers.
    """

    def __init__(
        self,
        storage: Storage,
        jobs: JobBook,
        *,
        writer: str,
        limits: SegmentLimits,
        job_quiet: JobQuiet,
        telemetry: Telemetry,
    ) -> None:
        self._storage = storage
        self._jobs = jobs
        self._writer = writer
        self._sequence = 0
        self._started = time.time()
        self._buffers = Buffers(limits)
        self._job_quiet = job_quiet
        self._telemetry = telemetry
        self._durable: dict[Buffer, asyncio.Future[None]] = {}
        self._writes: set[asyncio.Task[None]] = set()
        self._held: Counter[JobKey] = Counter()
        self._let_go: set[JobKey] = set()
        """Jobs that nothing more is held of, until their buffers are written."""
        self._seal_checked: dict[JobKey, float] = {}
        self._waiting_bytes = 0
        self._waiting_records = 0
        self._puts = asyncio.Semaphore(_PUTS_AT_ONCE)

    @property
    def has_room(self) -> bool:
        """Whether more records may come; false while too much waits for the store."""
        return self._waiting_bytes < _WAITING_BYTES and self._waiting_records < _WAITING_RECORDS

    def holds(self, job: JobKey) -> None:
        """The worker has one more request of that job."""
        self._held[job] += 1
        self._let_go.discard(job)

    def lets_go(self, job: JobKey) -> None:
        """The worker has one request of that job less: its outcome is here, or it went to another worker."""
        self._held[job] -= 1
        if self._held[job] <= 0:
            del self._held[job]
            self._let_go.add(job)

    async def put(self, job: JobKey, line: Line) -> None:
        """Store a record. Returns when it is durable; raises what no retry can mend."""
        buffer, full = self._buffers.add(job, line, now=time.monotonic(), job_age=self._job_age(job))
        durable = self._durable.get(buffer)
        if durable is None:
            durable = self._durable[buffer] = asyncio.get_running_loop().create_future()
        self._waiting_bytes += len(line.data) + 1
        self._waiting_records += 1
        if full:
            self._write(buffer)
        elif not self.has_room:
            self._write_all()
        # Shielded: many records wait for this one segment, and one that is cancelled must not take it from the others.
        await asyncio.shield(durable)

    async def flush(self) -> None:
        """Write everything that waits, now. Returns when all of it is durable, or has failed for good."""
        self._write_all()
        if self._writes:
            await asyncio.wait([*self._writes])

    async def run(self, more_to_come: Callable[[], bool]) -> None:
        """Write buffers as they come due, for ever. `more_to_come` tells whether the queue has more for this worker."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            for buffer in self._buffers.take_due(now):
                self._write(buffer)
            for job in [*self._let_go]:
                await self._look_at(job, more_to_come)

    async def _look_at(self, job: JobKey, more_to_come: Callable[[], bool]) -> None:
        """Write what a job has here, if nothing more of it can be expected soon."""
        buffer, now = self._buffers.of(job), time.monotonic()
        if buffer is None:
            self._let_go.discard(job)
            return
        quiet = now - buffer.touched >= _QUIET_SECONDS or not more_to_come()
        if quiet and await self._ends_here(buffer, now) and job not in self._held and self._buffers.take(buffer):
            self._write(buffer)

    async def _ends_here(self, buffer: Buffer, now: float) -> bool:
        """Whether no more records can be expected soon for a buffer whose job this worker holds nothing more of."""
        facts = self._jobs.facts(buffer.job)
        if facts.sealed is not None or facts.cancelled:
            return True
        if facts.manifest is None:
            return now - buffer.touched >= _STREAM_QUIET_SECONDS
        if now - self._seal_checked.get(buffer.job, 0.0) < _SEAL_CHECK_SECONDS:
            return False
        self._seal_checked[buffer.job] = now
        try:
            return await self._jobs.is_sealed(buffer.job)
        except StoreError as error:
            log.warning("could not see whether a job is sealed", job=buffer.job[1], error=error.message)
            return False

    def _write_all(self) -> None:
        for buffer in self._buffers.take_all():
            self._write(buffer)

    def _write(self, buffer: Buffer) -> None:
        task = asyncio.create_task(self._store(buffer))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _store(self, buffer: Buffer) -> None:
        durable = self._durable.pop(buffer)
        name = buffer.name(self._writer, self._sequence)
        self._sequence += 1
        key = keys.segment(*buffer.job, name)
        try:
            data = encode_segment(buffer.lines)
            async with self._puts:
                started = time.monotonic()
                await until_stored(lambda: self._storage.put(key, data), "write a segment")
                self._telemetry.segment_written(len(data), time.monotonic() - started)
        except asyncio.CancelledError:
            durable.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - raised to every record that waits for this segment
            durable.set_exception(error)
            return
        finally:
            self._waiting_bytes -= buffer.size
            self._waiting_records -= len(buffer.lines)
        durable.set_result(None)
        log.debug("segment written", tenant=buffer.job[0], job=buffer.job[1], key=key, records=len(buffer.lines))
        if buffer.job not in self._held and self._jobs.facts(buffer.job).manifest is not None:
            self._seal_checked.pop(buffer.job, None)
            self._job_quiet(buffer.job)

    def _job_age(self, job: JobKey) -> float:
        """Seconds since the job was made; streams have no beginning, so they age with this worker."""
        manifest = self._jobs.facts(job).manifest
        return max(time.time() - (manifest.created_at if manifest else self._started), 0.0)
