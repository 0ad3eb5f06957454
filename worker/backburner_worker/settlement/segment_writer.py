"""Writes segments: accepts records, and reports once their segment is durable. It knows no outcome and no engine."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from backburner.logs import get_logger
from backburner.runtime.until_stored import until_stored
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.segment import Line, encode_segment
from backburner_worker.jobs import JobCache, JobKey
from backburner_worker.settlement.segments import Buffer, Buffers, SegmentLimits
from backburner_worker.telemetry.telemetry import Telemetry

_TICK_SECONDS = 0.02
_LULL_SECONDS = 0.1
"""How long to wait for more of an ended job that nothing is held of, while the queue has more: some may be its own."""
_MIN_SEAL_SECONDS = 0.25
"""Between two looks for the seal of a job of which nothing is held again and again."""
_MAX_PUTS_AT_ONCE = 16
"""Segments being written: many small ones, since their bytes are bounded elsewhere."""

log = get_logger(__name__)


class Durable:
    """What the records of one segment wait for: that it is written, or why it never will be."""

    __slots__ = ("_ended", "_error")

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        self._error: BaseException | None = None

    async def wait(self) -> None:
        """Return when it is written. Cancelling it does not affect others that wait."""
        await self._ended.wait()
        if self._error is not None:
            raise self._error

    def end(self, error: BaseException | None = None) -> None:
        """Release all that wait."""
        self._error = error
        self._ended.set()


JobQuiet = Callable[[JobKey], None]
"""“This worker holds nothing more of that job”: time to see whether it is whole. Must not block."""


class SegmentWriter:
    """Gathers the records of each job into segments.

    `add` returns what to wait for until its record is durable; while the store is away, that waits. `holds` and
    `lets_go` count how many requests of a job the worker still has, so that a job's last records do not wait for their
    age. `run` drives the timers.
    """

    def __init__(
        self,
        storage: Storage,
        jobs: JobCache,
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
        self._started = storage.clock.now()
        self._limits = limits
        self._buffers = Buffers(limits)
        self._job_quiet = job_quiet
        self._telemetry = telemetry
        self._durable: dict[Buffer, Durable] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._hushed: set[JobKey] = set()
        """Jobs that nothing more is held of, since the last turn of the timer."""
        self._puts = asyncio.Semaphore(_MAX_PUTS_AT_ONCE)
        self.waiting = 0
        """Records that are not durable yet."""
        self.waiting_bytes = 0
        """Their bytes."""

    def holds(self, job: JobKey) -> None:
        """The worker has one more request of that job."""
        if self._jobs.hold(job):
            self._hushed.discard(job)
            self._buffers.clear_quiet(job)

    def lets_go(self, job: JobKey) -> None:
        """The worker has one fewer request of that job: its outcome is here, or it went to another worker."""
        if self._jobs.let_go(job):
            self._hushed.add(job)

    def answered_earlier(self, job: JobKey) -> None:
        """A request of that job, which was let go of, has its record in the store: no segment will tell of its end."""
        if not self._jobs.is_held(job) and self._buffers.get(job) is None and self._jobs.facts(job).has_manifest:
            self._job_quiet(job)

    def add(self, job: JobKey, line: Line) -> Durable:
        """Put a record into its segment, and return what to wait for."""
        buffer = self._buffers.get(job)
        if buffer is None:
            now, age, left = time.monotonic(), self._job_age(job), self._job_left(job)
            buffer = self._buffers.open(job, now=now, job_age=age, job_left=left)
            self._durable[buffer] = Durable()
        durable = self._durable[buffer]
        self.waiting += 1
        self.waiting_bytes += len(line.data)
        if not self._jobs.is_held(job):
            self._hushed.add(job)
        if self._buffers.add(buffer, line):
            self._write(buffer)
        return durable

    def hurry(self, jobs: Iterable[JobKey]) -> None:
        """Write what these jobs have here at the next turn: they were cancelled."""
        for job in jobs:
            self._buffers.hurry(job)

    def flush(self) -> None:
        """Begin to write everything that waits."""
        for buffer in self._buffers.take_all():
            self._write(buffer)

    async def run(self, more_to_come: Callable[[], bool]) -> None:
        """Write buffers as they come due, for ever. `more_to_come`: whether the queue has more for this worker."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            if self._hushed:
                lull = _LULL_SECONDS if more_to_come() else 0.0
                for job in self._hushed:
                    self._buffers.set_quiet(job, now + self._quiet_age(job, lull))
                    self._look_for_seal(job, now, lull)
                self._hushed.clear()
            for buffer in self._buffers.take_due(now):
                self._write(buffer)

    def _look_for_seal(self, job: JobKey, now: float, lull: float) -> None:
        """The job's first request came before its seal: if that is there by now, its records wait no longer."""
        facts, buffer = self._jobs.facts(job), self._buffers.get(job)
        if facts.total is not None or not facts.has_manifest or buffer is None:
            return
        if now - buffer.seal_sought_at > _MIN_SEAL_SECONDS:
            buffer.seal_sought_at = now
            self._start(self._hasten_if_sealed(job, lull))

    async def _hasten_if_sealed(self, job: JobKey, lull: float) -> None:
        # What is wrong with the store, or with the seal, shows elsewhere.
        with suppress(StoreError):
            if await self._jobs.learn_seal(job) and not self._jobs.is_held(job):
                self._buffers.set_quiet(job, time.monotonic() + lull)

    def _quiet_age(self, job: JobKey, lull: float) -> float:
        """Seconds that a job's records may still wait once nothing more of it is held."""
        facts = self._jobs.facts(job)
        if facts.total is not None or facts.cancelled:
            return lull
        return self._limits.quiet_age(self._job_age(job))

    def _write(self, buffer: Buffer) -> None:
        self._start(self._store(buffer))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _store(self, buffer: Buffer) -> None:
        durable = self._durable.pop(buffer)
        records, size = len(buffer.lines), buffer.size
        try:
            name = buffer.name(self._writer, self._sequence)
            self._sequence += 1
            key = keys.segment(*buffer.job, name)
            async with self._puts:
                data = encode_segment(buffer.lines)
                buffer.lines.clear()
                started = time.monotonic()
                await until_stored(partial(self._storage.put, key, data), "write a segment")
                self._telemetry.segment_written(len(data), time.monotonic() - started)
        except BaseException as error:
            self._wrote(records, size)
            # Raised to every record that waits for this segment.
            durable.end(error)
            if not isinstance(error, Exception):
                raise
            return
        self._wrote(records, size)
        durable.end()
        log.debug("segment written", tenant=buffer.job[0], job=buffer.job[1], key=key, records=records)
        if not self._jobs.is_held(buffer.job) and self._jobs.facts(buffer.job).has_manifest:
            self._job_quiet(buffer.job)

    def _wrote(self, records: int, size: int) -> None:
        self.waiting -= records
        self.waiting_bytes -= size

    def _job_age(self, job: JobKey) -> float:
        """Seconds since the job was created; streams have no beginning, so they age with this worker."""
        created = self._jobs.facts(job).created_at
        return max(self._storage.clock.now() - (self._started if created is None else created), 0.0)

    def _job_left(self, job: JobKey) -> float:
        """Seconds until the job's deadline."""
        return self._jobs.facts(job).deadline - self._storage.clock.now()
