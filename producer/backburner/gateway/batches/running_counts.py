"""How many requests of a running batch have ended, each once: by its segments' digests, which are read once each.

The names of segments alone count a request twice that was delivered twice, and such counts fall when the batch ends.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import aclosing
from weakref import WeakValueDictionary

from backburner.jobs.finalizer import read_digests
from backburner.storage import Storage
from backburner_schemas.errors import StoredObjectBroken, StoreError
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import Counts
from backburner_schemas.segment_tally import SegmentTally
from backburner_schemas.status import JobView

_MAX_UNITS = 2_000_000
"""Ranges and names of segments that are kept of all batches together, some 100 MB; one batch may have more."""
_UNITS_PER_BATCH = 40
"""What a batch takes beside those: 2 KB."""
_IDLE_SECONDS = 600.0
"""Nobody asks for a batch any more after so long without a question: its end was told, here or by another gateway."""
_MAX_CONCURRENT_BATCHES = 4
"""Whose segments are read at once: what each may take is the bound of a tally."""


class _Counted:
    """What was counted of one batch."""

    def __init__(self, job: str) -> None:
        self.tally = SegmentTally(job)
        self.names: set[str] = set()
        self.asked_at = 0.0
        """Monotonic seconds."""
        self.broken: str | None = None
        """What is wrong with the segments that cannot be counted, if any cannot."""
        self.broken_names: frozenset[str] = frozenset()
        """As long as all of these are there."""

    @property
    def units(self) -> int:
        return _UNITS_PER_BATCH + self.tally.range_count + len(self.names) + len(self.broken_names)

    def check(self, view: JobView) -> None:
        """Raise `StoredObjectBroken` if the batch cannot be counted, as an earlier look found."""
        if self.broken is not None and self.broken_names <= set(view.segments):
            raise StoredObjectBroken(self.broken)
        self.broken, self.broken_names = None, frozenset()

    def breaks(self, names: Iterable[str], error: StoredObjectBroken) -> None:
        """Those segments, together, cannot be counted."""
        self.broken, self.broken_names = error.message, frozenset(names)

    def counts(self, total: int) -> Counts:
        """Of so many requests. Raises `StoredObjectBroken` where the tally does."""
        everything = IndexSet.below(total)
        ok = self.tally.ok & everything
        failed = (self.tally.failed & everything) - ok
        return Counts(total=total, completed=len(ok), failed=len(failed))


class RunningCounts:
    """Counts of running batches. One for a process: segments never change, so what was read of one stays true."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, max_units: int = _MAX_UNITS) -> None:
        """`max_units` bounds what is kept, in ranges and names."""
        self._clock = clock
        self._max_units = max_units
        self._units = 0
        """Of all that are kept."""
        self._places = asyncio.Semaphore(_MAX_CONCURRENT_BATCHES)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Of tenants: each has one of the places at most, however many calls it makes."""
        self._batches: OrderedDict[tuple[str, str], _Counted] = OrderedDict()
        """By when they were asked for last."""

    def __len__(self) -> int:
        """How many batches are kept."""
        return len(self._batches)

    async def of(self, storage: Storage, view: JobView) -> Counts:
        """The batch's counts. Raises `StoreError`, and `StoredObjectBroken` for segments that none can have.

        As long as those are there, they are not read again.
        """
        tenant, job = view.manifest.tenant, view.manifest.id
        # Taken out while it is counted on, since of two calls at once each would add what the other has added.
        counted = self._take((tenant, job))
        if view.summary is not None:
            return view.summary.counts
        counted = counted or _Counted(job)
        if counted.broken is not None or any(name not in counted.names for name in view.segments):
            counted = await self._count(storage, counted, view)
        # Before it is kept by its size: what is joined is smaller.
        counts = counted.counts(view.total)
        self._keep((tenant, job), counted)
        return counts

    async def _count(self, storage: Storage, counted: _Counted, view: JobView) -> _Counted:
        """Count on to the end of the view, from what was counted so far; what was counted then."""
        batch = view.manifest.tenant, view.manifest.id
        turn = self._turns.setdefault(batch[0], asyncio.Lock())
        try:
            counted.check(view)
            async with turn, self._places:
                # Of several calls at once the first has counted it by now.
                kept = self._take(batch)
                if kept is not None and (kept.broken is not None or len(kept.names) > len(counted.names)):
                    counted = kept
                    counted.check(view)
                names = [name for name in view.segments if name not in counted.names]
                async with aclosing(read_digests(storage, *batch, names)) as digests:
                    for name in names:
                        try:
                            digest = await anext(digests)
                        except StoredObjectBroken as error:
                            counted.breaks([name], error)
                            raise
                        counted.tally.add(digest)
                        counted.names.add(name)
                # Also what is too much only once it is joined is told here.
                counted.counts(view.total)
        except StoredObjectBroken as error:
            if counted.broken is None:
                # A tally that has too much gives nothing any more; without one of the segments it is begun anew.
                counted = _Counted(batch[1])
                counted.breaks(view.segments, error)
            self._keep(batch, counted)
            raise
        except (asyncio.CancelledError, StoreError):
            # The call's time is over: the next one goes on from here, or a long count would never come to its end.
            kept = self._batches.get(batch)
            if kept is None or len(kept.names) < len(counted.names):
                self._keep(batch, counted)
            raise
        return counted

    def _take(self, batch: tuple[str, str]) -> _Counted | None:
        counted = self._batches.pop(batch, None)
        if counted is not None:
            self._units -= counted.units
        return counted

    def _keep(self, batch: tuple[str, str], counted: _Counted) -> None:
        # Of two calls at once, the one that ends last has its counts kept.
        self._take(batch)
        counted.asked_at = now = self._clock()
        self._batches[batch] = counted
        self._units += counted.units
        while len(self._batches) > 1:
            first, longest = next(iter(self._batches.items()))
            if self._units <= self._max_units and now - longest.asked_at <= _IDLE_SECONDS:
                return
            self._take(first)
