"""What a job's segments hold together: their digests folded one after another, none of them kept. Pure.

A job may have any number of segments, and whoever may write below a tenant chooses what their digests say: only the
ranges that are left of all together are held, and no more of them than any job has.
"""

from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.indexset import IndexSet
from backburner_schemas.segment import SegmentDigest

MAX_RANGES_COUNT = 2_000_000
"""Of one kind: 32 MB, and twice that while they are folded. A job of eight million requests that are answered in any
order has as many when half of them are."""


class SegmentTally:
    """The indexes of a job's segments, by what became of them. Digests are added in the order of their keys."""

    def __init__(self, job: str, *, below: int | None = None, max_ranges: int = MAX_RANGES_COUNT) -> None:
        """Indexes from `below` on are passed over. More than `max_ranges` separate ranges of a kind are refused.

        Then every method and property raises `StoredObjectBroken`.
        """
        self._below = None if below is None else IndexSet.below(below)
        self._ok, self._failed, self._expired, self._cancelled = (_Union(job, max_ranges) for _ in range(4))
        self.records = 0
        """Records, each index once a segment and kind. Others only read."""

    @property
    def ok(self) -> IndexSet:
        """Indexes with a response."""
        return self._ok.joined()

    @property
    def failed(self) -> IndexSet:
        """Indexes with an error record, those with a response as well among them."""
        return self._failed.joined()

    @property
    def expired(self) -> IndexSet:
        """Indexes whose first error record says that they expired; the first is the one that counts."""
        return self._expired.joined()

    @property
    def cancelled(self) -> IndexSet:
        """Indexes whose first error record says that they were cancelled."""
        return self._cancelled.joined()

    @property
    def range_count(self) -> int:
        """Ranges that are held: what the tally takes in memory."""
        return sum(one.range_count for one in (self._ok, self._failed, self._expired, self._cancelled))

    def add(self, digest: SegmentDigest) -> None:
        """Count a segment in."""
        ok, failed = self._cut(digest.ok), self._cut(digest.failed)
        self.records += len(ok) + len(failed)
        if digest.expired or digest.cancelled:
            # Of two error records of one index, the first counts.
            first = self._failed.without(failed)
            self._expired.add(digest.expired & first)
            self._cancelled.add(digest.cancelled & first)
        self._ok.add(ok)
        self._failed.add(failed)

    def _cut(self, indexes: IndexSet) -> IndexSet:
        if self._below is None or indexes.stop <= self._below.stop:
            return indexes
        return indexes & self._below


class _Union:
    """A union that grows, in parts of which each has twice the ranges of the next: adding costs little at any size."""

    __slots__ = ("_job", "_max_ranges", "_parts", "range_count")

    def __init__(self, job: str, max_ranges: int) -> None:
        self._job = job
        self._max_ranges = max_ranges
        self._parts: list[IndexSet] = []
        self.range_count = 0

    def add(self, indexes: IndexSet) -> None:
        if not indexes:
            return
        self._parts.append(indexes)
        first = len(self._parts) - 1
        while first and self._parts[first - 1].range_count < 2 * sum(one.range_count for one in self._parts[first:]):
            first -= 1
        self._join(first)
        if self.range_count > 2 * self._max_ranges:
            self.joined()

    def joined(self) -> IndexSet:
        """All of it."""
        self._join(0)
        if self.range_count > self._max_ranges:
            raise StoredObjectBroken(
                f"the segments of job {self._job} name more than {self._max_ranges:,} separate ranges of requests; "
                "find out what wrote them, and remove those that no worker wrote"
            )
        return self._parts[0] if self._parts else IndexSet()

    def without(self, indexes: IndexSet) -> IndexSet:
        """Those of the indexes that are not in it."""
        for part in self._parts:
            indexes -= part
        return indexes

    def _join(self, first: int) -> None:
        if len(self._parts) - first > 1:
            self._parts[first:] = [IndexSet.union(self._parts[first:])]
        self.range_count = sum(one.range_count for one in self._parts)
