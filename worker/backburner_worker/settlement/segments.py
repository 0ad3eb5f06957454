"""Buffers of records that become segments, and when each of them must be written. Pure: the clock is an argument."""

import math
from dataclasses import dataclass, field

from backburner_schemas.keys import SegmentName
from backburner_schemas.segment import Line
from backburner_worker.jobs import JobKey


@dataclass(frozen=True, slots=True)
class SegmentLimits:
    """When a segment is written; ages in seconds."""

    max_bytes: int = 8 * 1024 * 1024
    max_records: int = 4096
    min_age: float = 1.0
    max_age: float = 60.0

    def age(self, job_age: float, job_left: float = math.inf) -> float:
        """How old a buffer may grow: a tenth of its job's age, so that a young job shows results at once.

        It does not wait past the job's deadline, `job_left` seconds from now.
        """
        return max(min(job_age / 10, self.max_age, job_left), self.min_age)

    def quiet_age(self, job_age: float) -> float:
        """How old it may grow once the worker holds nothing more of a job that may go on: a sixth of that."""
        return max(self.age(job_age) / 6, self.min_age)


@dataclass(slots=True, eq=False)
class Buffer:
    """Records of one job that are on their way into one segment."""

    job: JobKey
    opened: float
    """Monotonic seconds of the first record."""
    due: float
    """Monotonic seconds by which it must be written."""
    lines: list[Line] = field(default_factory=list)
    size: int = 0
    """Bytes of its records."""
    quiet_due: float = math.inf
    """Monotonic seconds by which it must be written if nothing more of its job comes."""
    seal_sought_at: float = -math.inf
    """Monotonic seconds at which the job's seal was last looked for."""

    def name(self, writer: str, sequence: int) -> SegmentName:
        """The segment's name, with the totals of its records."""
        failed = sum(line.error_code is not None for line in self.lines)
        return SegmentName(
            writer=writer,
            sequence=sequence,
            ok=len(self.lines) - failed,
            failed=failed,
            prompt_tokens=sum(line.prompt_tokens for line in self.lines),
            completion_tokens=sum(line.completion_tokens for line in self.lines),
            engine_ms=round(sum(line.engine_s for line in self.lines) * 1000),
        )


class Buffers:
    """The open buffers, one a job, and their size together."""

    def __init__(self, limits: SegmentLimits) -> None:
        self._limits = limits
        self._open: dict[JobKey, Buffer] = {}

    def get(self, job: JobKey) -> Buffer | None:
        """The job's open buffer."""
        return self._open.get(job)

    def open(self, job: JobKey, *, now: float, job_age: float, job_left: float = math.inf) -> Buffer:
        """A new buffer for the job, which has none."""
        buffer = self._open[job] = Buffer(job, opened=now, due=now + self._limits.age(job_age, job_left))
        return buffer

    def add(self, buffer: Buffer, line: Line) -> bool:
        """Put a record into that open buffer. Whether it is full now, and was taken out."""
        buffer.lines.append(line)
        buffer.size += len(line.data)
        full = buffer.size >= self._limits.max_bytes or len(buffer.lines) >= self._limits.max_records
        if full:
            del self._open[buffer.job]
        return full

    def set_quiet(self, job: JobKey, due: float) -> None:
        """Nothing more of the job is held: what it has here must be written by then."""
        if (buffer := self._open.get(job)) is not None:
            buffer.quiet_due = due

    def clear_quiet(self, job: JobKey) -> None:
        """More of the job came."""
        if (buffer := self._open.get(job)) is not None:
            buffer.quiet_due = math.inf

    def hurry(self, job: JobKey) -> None:
        """What the job has here must be written now."""
        if (buffer := self._open.get(job)) is not None:
            buffer.due = -math.inf

    def take_due(self, now: float) -> list[Buffer]:
        """Take out the buffers whose time has come."""
        due = [buffer for buffer in self._open.values() if now >= min(buffer.due, buffer.quiet_due)]
        for buffer in due:
            del self._open[buffer.job]
        return due

    def take_all(self) -> list[Buffer]:
        """Take out every buffer."""
        taken = [*self._open.values()]
        self._open.clear()
        return taken

    def __len__(self) -> int:
        return len(self._open)
