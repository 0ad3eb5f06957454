"""Works by the buckets of their deadlines. Pure."""

from heapq import heapify, heappop, heappush

from backburner_worker.scheduling.work_set import SLACK_ENTRIES, QueuedWork, WorkSet


class DeadlineBuckets:
    """Works with quick access to the earliest. Each operation costs O(log n) at most, over many of them."""

    __slots__ = ("_buckets", "_order")

    def __init__(self) -> None:
        self._buckets: dict[float, WorkSet] = {}
        self._order: list[float] = []
        """A heap of the buckets, and of some that are gone."""

    def put(self, queued: QueuedWork) -> None:
        """Hold one more, which came after all others."""
        bucket = self._buckets.get(queued.deadline)
        if bucket is None:
            bucket = self._buckets[queued.deadline] = WorkSet()
            heappush(self._order, queued.deadline)
            if len(self._order) > 2 * len(self._buckets) + SLACK_ENTRIES:
                self._order = [*self._buckets]
                heapify(self._order)
        bucket.put(queued)

    def remove(self, queued: QueuedWork) -> None:
        """Let go of one that is held."""
        bucket = self._buckets[queued.deadline]
        bucket.remove(queued)
        if not bucket.works:
            del self._buckets[queued.deadline]

    def earliest(self) -> WorkSet:
        """The works of the earliest bucket. There must be one."""
        while (bucket := self._buckets.get(self._order[0])) is None:
            heappop(self._order)
        return bucket
