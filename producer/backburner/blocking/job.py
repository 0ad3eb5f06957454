"""What the blocking client returns: jobs and handles whose methods wait for the loop in its thread."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar, overload

from backburner.blocking.loop_thread import LoopThread
from backburner.handle import Handle
from backburner.inputs.findings import SkippedLine
from backburner.inputs.items import Item
from backburner.job import Job
from backburner.jobs.join import JoinedResult
from backburner.jobs.reconcile import Reconciliation
from backburner.jobs.record_lines import RecordLines
from backburner_schemas.result import ResultRecord
from backburner_schemas.status import BatchStatus

T = TypeVar("T")


class SyncHandle:
    """`Handle`, blocking: the same results and errors."""

    def __init__(self, thread: LoopThread, handle: Handle) -> None:
        self._thread = thread
        self._handle = handle
        self.id = handle.id
        """See `Handle.id`."""
        self.job = handle.job
        """See `Handle.job`."""
        self.custom_id = handle.custom_id
        """See `Handle.custom_id`."""
        self.tenant = handle.tenant
        """See `Handle.tenant`."""
        self.deadline = handle.deadline
        """See `Handle.deadline`."""
        self.key = handle.key
        """See `Handle.key`."""
        self.warnings = handle.warnings
        """See `Handle.warnings`."""

    def __repr__(self) -> str:
        return f"Sync{self._handle!r}"

    def result(self, *, timeout: float | None = None) -> ResultRecord:
        """See `Handle.result`."""
        return self._thread.call(lambda: self._handle.result(timeout=timeout))

    def cancel(self) -> ResultRecord | None:
        """See `Handle.cancel`."""
        return self._thread.call(self._handle.cancel)

    def peek(self) -> ResultRecord | None:
        """See `Handle.peek`."""
        return self._thread.call(self._handle.peek)


class SyncJob:
    """`Job`, blocking: the same results and errors."""

    def __init__(self, thread: LoopThread, job: Job) -> None:
        self._thread = thread
        self._job = job
        self.id = job.id
        """See `Job.id`."""
        self.tenant = job.tenant
        """See `Job.tenant`."""
        self.skipped: Sequence[SkippedLine] = job.skipped
        """See `Job.skipped`."""
        self.warnings = job.warnings
        """See `Job.warnings`."""

    def __repr__(self) -> str:
        return f"Sync{self._job!r}"

    def status(self) -> BatchStatus:
        """See `Job.status`."""
        return self._thread.call(self._job.status)

    @overload
    def results(
        self, *, join: None = None, follow: bool = True, timeout: float | None = None
    ) -> Iterator[ResultRecord]: ...
    @overload
    def results(
        self, *, join: Path | str | Iterable[Item], follow: bool = True, timeout: float | None = None
    ) -> Iterator[JoinedResult]: ...
    def results(
        self, *, join: Path | str | Iterable[Item] | None = None, follow: bool = True, timeout: float | None = None
    ) -> Iterator[ResultRecord]:
        """See `Job.results`."""
        return self._thread.iterate(lambda: self._job.result_batches(join=join, follow=follow, timeout=timeout))

    def result_batches(
        self, *, join: Path | str | Iterable[Item] | None = None, follow: bool = True, timeout: float | None = None
    ) -> Iterator[Sequence[ResultRecord]]:
        """See `Job.result_batches`."""
        return self._thread.iterate(
            lambda: _singly(self._job.result_batches(join=join, follow=follow, timeout=timeout))
        )

    def result_lines(self, *, follow: bool = True, timeout: float | None = None) -> Iterator[RecordLines]:
        """See `Job.result_lines`."""
        return self._thread.iterate(lambda: _singly(self._job.result_lines(follow=follow, timeout=timeout)))

    def wait(
        self, *, timeout: float | None = None, progress: Callable[[BatchStatus], object] | None = None
    ) -> BatchStatus:
        """See `Job.wait`."""
        return self._thread.call(lambda: self._job.wait(timeout=timeout, progress=progress))

    def cancel(self) -> BatchStatus:
        """See `Job.cancel`."""
        return self._thread.call(self._job.cancel)

    def delete(self) -> None:
        """See `Job.delete`."""
        self._thread.call(self._job.delete)

    def pause(self) -> BatchStatus:
        """See `Job.pause`."""
        return self._thread.call(self._job.pause)

    def resume(self) -> BatchStatus:
        """See `Job.resume`."""
        return self._thread.call(self._job.resume)

    def reconcile(self) -> Reconciliation:
        """See `Job.reconcile`."""
        return self._thread.call(self._job.reconcile)


async def _singly(pieces: AsyncGenerator[T]) -> AsyncGenerator[Sequence[T]]:
    """Each by itself: a piece is large enough to cross threads alone."""
    async with aclosing(pieces):
        async for piece in pieces:
            yield [piece]
