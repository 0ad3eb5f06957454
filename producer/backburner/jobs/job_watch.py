"""Since when this process sees what may end a job, by its own monotonic clock. Pure; whoever looks at jobs tells it.

A grace that only a wall clock measured would be over at once where that clock is wrong, or is set.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from backburner_schemas.job import Cursor
from backburner_schemas.status import JobView

_MAX_JOBS = 100_000
"""Jobs that are remembered at most, the least recently seen going first: theirs begins anew."""


@dataclass(frozen=True, slots=True)
class Observed:
    """For how many seconds each thing has been seen; 0 for what is not so."""

    cursor_unchanged: float = 0.0
    cancelled: float = 0.0
    overdue: float = 0.0


@dataclass(slots=True)
class _Seen:
    cursor: int | None
    """Its hash: of very many jobs nobody wants to remember the cursors themselves."""
    cursor_since: float
    cancelled_since: float | None = None
    overdue_since: float | None = None
    missing_since: float | None = None


class JobWatch:
    """What one process has seen of the jobs that it looks at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, max_jobs: int = _MAX_JOBS) -> None:
        self._clock = clock
        self._max_jobs = max_jobs
        self._jobs: OrderedDict[tuple[str, str], _Seen] = OrderedDict()

    def observe(self, view: JobView, now: float) -> Observed:
        """The job looks like this, at `now` by the store's clock; -inf where that is not known."""
        cancelled, overdue = view.cancelled_at is not None, now > view.manifest.deadline
        clock, seen = self._clock(), self._of((view.manifest.tenant, view.manifest.id), view.cursor)
        seen.missing_since = None
        if seen.cursor != (cursor := _hash(view.cursor)):
            seen.cursor, seen.cursor_since = cursor, clock
        seen.cancelled_since = _since(seen.cancelled_since, clock) if cancelled else None
        seen.overdue_since = _since(seen.overdue_since, clock) if overdue else None
        return Observed(
            cursor_unchanged=clock - seen.cursor_since,
            cancelled=clock - _since(seen.cancelled_since, clock),
            overdue=clock - _since(seen.overdue_since, clock),
        )

    def observe_missing(self, job: tuple[str, str]) -> None:
        """There is no such job, though something names it."""
        seen = self._of(job, None)
        seen.missing_since = _since(seen.missing_since, self._clock())

    def missing_seconds(self, job: tuple[str, str]) -> float:
        """For how many seconds that has been seen; 0 if it was there at the last look."""
        seen = self._jobs.get(job)
        return 0.0 if seen is None or seen.missing_since is None else self._clock() - seen.missing_since

    def keep_only(self, jobs: Collection[tuple[str, str]]) -> None:
        """Forget all others."""
        self._jobs = OrderedDict((job, seen) for job, seen in self._jobs.items() if job in jobs)

    def _of(self, job: tuple[str, str], cursor: Cursor | None) -> _Seen:
        seen = self._jobs.get(job)
        if seen is None:
            seen = self._jobs[job] = _Seen(_hash(cursor), self._clock())
            if len(self._jobs) > self._max_jobs:
                self._jobs.popitem(last=False)
        self._jobs.move_to_end(job)
        return seen


def _hash(cursor: Cursor | None) -> int | None:
    return None if cursor is None else hash(cursor)


def _since(before: float | None, clock: float) -> float:
    return clock if before is None else before
