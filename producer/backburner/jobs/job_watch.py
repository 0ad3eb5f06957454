"""Since when this process sees what may end a job, by its own monotonic clock. Pure; whoever looks at jobs tells it.

A grace that only a wall clock measured would be over at once where that clock is wrong, or is set.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from backburner_schemas.job import Cursor
from backburner_schemas.status import JobView

JobKey = tuple[str, str]
"""Tenant and job."""
_MAX_JOBS = 100_000
"""Jobs that are remembered at most. Beyond them the graces of some begin only once others have ended."""
_UNSEEN_SECONDS = 24 * 3600.0
"""Whoever looks at jobs on a timer looks more often: what was not seen for so long is looked at by nobody here."""


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
    seen_at: float = 0.0


class JobWatch:
    """What one process has seen of the jobs that it looks at.

    Of a job that nothing may end there is nothing to remember. When there are too many others, those that were seen
    first stay, so that their graces pass and they make room; to forget the one that was seen longest ago would let no
    grace pass any more, where all are looked at in turns. A tenant's many jobs take places from no tenant with fewer.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, max_jobs: int = _MAX_JOBS) -> None:
        self._clock = clock
        self._max_jobs = max_jobs
        self._jobs: OrderedDict[JobKey, _Seen] = OrderedDict()
        """By when they were looked at last."""
        self._of_tenants: dict[str, dict[JobKey, None]] = {}
        """Of each tenant its jobs, by when they were seen first."""

    def observe(self, view: JobView, now: float, *, back_at: float = -math.inf) -> Observed:
        """The job looks like this, at `now` by the store's clock; -inf where that is not known.

        `back_at`: the monotonic time at which the store answered again after it had been away. Nobody could write
        before, so that graces begin there.
        """
        job = view.manifest.tenant, view.manifest.id
        cancelled, overdue = view.cancelled_at is not None, now > view.manifest.deadline
        produced = view.sealed is None and view.manifest.stored is None
        if view.summary is not None or not (cancelled or overdue or produced):
            self.forget(job)
            return Observed()
        seen = self._of(job, view.cursor)
        if seen is None:
            return Observed()
        clock = seen.seen_at
        seen.missing_since = None
        if seen.cursor != (cursor := _hash(view.cursor)):
            seen.cursor, seen.cursor_since = cursor, clock
        seen.cursor_since = max(seen.cursor_since, back_at)
        seen.cancelled_since = max(_since(seen.cancelled_since, clock), back_at) if cancelled else None
        seen.overdue_since = max(_since(seen.overdue_since, clock), back_at) if overdue else None
        return Observed(
            cursor_unchanged=clock - seen.cursor_since,
            cancelled=clock - _since(seen.cancelled_since, clock),
            overdue=clock - _since(seen.overdue_since, clock),
        )

    def observe_missing(self, job: JobKey, *, back_at: float = -math.inf) -> None:
        """There is no such job, though something names it. `back_at` is as in `observe`."""
        seen = self._of(job, None)
        if seen is not None:
            seen.missing_since = max(_since(seen.missing_since, seen.seen_at), back_at)

    def missing_seconds(self, job: JobKey) -> float:
        """For how many seconds that has been seen; 0 if it was there at the last look."""
        seen = self._jobs.get(job)
        return 0.0 if seen is None or seen.missing_since is None else self._clock() - seen.missing_since

    def keep_only(self, jobs: Collection[JobKey]) -> None:
        """Forget all others."""
        for job in [job for job in self._jobs if job not in jobs]:
            self.forget(job)

    def forget(self, job: JobKey) -> None:
        """The job has ended, or is gone."""
        if self._jobs.pop(job, None) is not None:
            of_tenant = self._of_tenants[job[0]]
            del of_tenant[job]
            if not of_tenant:
                del self._of_tenants[job[0]]

    def _of(self, job: JobKey, cursor: Cursor | None) -> _Seen | None:
        """What is remembered of the job, which is looked at now; None where there is no place for it yet."""
        clock, seen = self._clock(), self._jobs.get(job)
        if seen is None:
            if len(self._jobs) >= self._max_jobs and not self._make_room(job[0], clock):
                return None
            seen = self._jobs[job] = _Seen(_hash(cursor), clock)
            self._of_tenants.setdefault(job[0], {})[job] = None
        seen.seen_at = clock
        self._jobs.move_to_end(job)
        return seen

    def _make_room(self, tenant: str, clock: float) -> bool:
        """Forget a job for one of that tenant; False where all that are remembered come first."""
        oldest, seen = next(iter(self._jobs.items()))
        if clock - seen.seen_at > _UNSEEN_SECONDS:
            self.forget(oldest)
            return True
        mine = len(self._of_tenants.get(tenant, ()))
        if (mine + 1) * len(self._of_tenants) > self._max_jobs:
            return False
        most = max(self._of_tenants.values(), key=len)
        if len(most) <= mine + 1:
            return False
        self.forget(next(reversed(most)))
        return True


def _hash(cursor: Cursor | None) -> int | None:
    return None if cursor is None else hash(cursor)


def _since(before: float | None, clock: float) -> float:
    return clock if before is None else before
