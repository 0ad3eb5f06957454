"""What is held of one tenant in one lane, and which of it is next. Pure.

In *runs*: the first work of a run is the one with the earliest deadline, and then come up to 31 more that share its
adapter and its prompt's beginning, those that share the most before the others. What all held work shares is no
reason to run on. Every eighth run begins with the work that came first, however late its deadline.

Among equals, first come, first served; but near the end, when few are held, the one that is expected to take the
longest goes first, so that none is left to run alone afterwards.
"""

from math import inf

from backburner_worker.scheduling.deadline_buckets import DeadlineBuckets
from backburner_worker.scheduling.prefix_tree import PrefixTree
from backburner_worker.scheduling.work_set import QueuedWork, Step, WorkSet

MAX_RUN_WORKS = 32
"""Works that one run takes at most: their shared prompt costs a 32nd of what it would, and the next waits no longer."""
RUNS_PER_FIRST_COME = 8
"""Runs of which one begins with the work that came first."""
BUCKET_SECONDS = 60
"""Deadlines in the same bucket are equally early: work with deadlines of its own would never be grouped otherwise."""


class TenantQueue:
    """The works of one tenant. Each operation costs O(log n) at most, over many of them."""

    __slots__ = (
        "_begun",
        "_buckets",
        "_deadline",
        "_ending",
        "_few",
        "_front",
        "_last",
        "_left",
        "_tree",
        "allowance",
        "tenant",
        "works",
    )

    def __init__(self, tenant: str, few: int) -> None:
        """The end is near while not more than `few` are held."""
        self.tenant = tenant
        self.allowance = 0
        """Tokens that it may still take in its turn; what it took beyond, if negative. Kept by `FairQueue`."""
        self._few = few
        self._ending = True
        """Whether the longest goes first: once few are held, until twice as many are, so that this seldom changes."""
        self._tree = PrefixTree()
        self.works = self._tree.all.works
        """All that is held, in the order in which it came, by number. Others only read."""
        self._deadline = inf
        """The bucket of all that is held, unless there are `_buckets`."""
        self._buckets: DeadlineBuckets | None = None
        self._front: tuple[QueuedWork, bool] | None = None
        """The next and whether it goes on with the run, once it is chosen."""
        self._last: tuple[Step, ...] = ()
        self._left = 0
        """Works that the run may still take."""
        self._begun = 0
        """Runs that were begun."""

    def put(self, queued: QueuedWork) -> None:
        """Hold one more, which came after all others."""
        self._front = None
        if not self.works:
            self._deadline, self._buckets = queued.deadline, None
        elif self._buckets is None and queued.deadline != self._deadline:
            self._buckets = DeadlineBuckets()
            for one in self.works.values():
                self._buckets.put(one)
        if self._buckets is not None:
            self._buckets.put(queued)
        self._tree.put(queued)
        if self._ending and len(self.works) > 2 * self._few:
            self._ending = False

    def remove(self, queued: QueuedWork) -> None:
        """Let go of one that is held."""
        self._front = None
        self._tree.remove(queued)
        if self._buckets is not None:
            self._buckets.remove(queued)
        if not self._ending and len(self.works) <= self._few:
            self._ending = True

    def front(self) -> QueuedWork:
        """The next. There must be one."""
        if self._front is None:
            self._front = self._choose()
        return self._front[0]

    def pop(self) -> QueuedWork:
        """Take the one that `front` returns."""
        queued, goes_on = self._front or self._choose()
        if goes_on:
            self._left -= 1
        else:
            self._left = MAX_RUN_WORKS - 1
            self._begun += 1
        self._last = queued.path
        self.remove(queued)
        return queued

    def _choose(self) -> tuple[QueuedWork, bool]:
        everything, count = self._tree.all, len(self.works)
        if self._left > 0 and count > 1:
            near = self._tree.nearest(self._last)
            if isinstance(near, QueuedWork):
                return near, True
            if len(near.works) < count:
                return self._first_of(near), True
        if self._begun % RUNS_PER_FIRST_COME == RUNS_PER_FIRST_COME - 1:
            return everything.first(), False
        return self._first_of(everything if self._buckets is None else self._buckets.earliest()), False

    def _first_of(self, works: WorkSet) -> QueuedWork:
        if self._ending:
            return works.longest()
        works.forget_longest()
        return works.first()
