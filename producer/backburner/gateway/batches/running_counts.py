"""How many requests of a running batch have ended, each once: by its segments' digests, which are read once each.

The names of segments alone count a request twice that was delivered twice, and such counts fall when the batch ends.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
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

    @property
    def units(self) -> int:
        return _UNITS_PER_BATCH + self.tally.range_count + len(self.names)


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
        """The batch's counts. Raises `StoredObjectBroken` for segments that none can have, and `StoreError`."""
        tenant, job = view.manifest.tenant, view.manifest.id
        # Taken out while it is counted on, since of two calls at once each would add what the other has added.
        counted = self._take((tenant, job))
        if view.summary is not None:
            return view.summary.counts
        counted = counted or _Counted(job)
        if any(name not in counted.names for name in view.segments):
            counted = await self._count(storage, counted, view)
        everything = IndexSet.below(view.total)
        ok = counted.tally.ok & everything
        failed = (counted.tally.failed & everything) - ok
        self._keep((tenant, job), counted)
        return Counts(total=view.total, completed=len(ok), failed=len(failed))

    async def _count(self, storage: Storage, counted: _Counted, view: JobView) -> _Counted:
        """Count on to the end of the view, from what was counted so far; what was counted then."""
        batch = view.manifest.tenant, view.manifest.id
        turn = self._turns.setdefault(batch[0], asyncio.Lock())
        try:
            async with turn, self._places:
                # Of several calls at once the first has counted it by now.
                if (kept := self._take(batch)) is not None and len(kept.names) > len(counted.names):
                    counted = kept
                names = [name for name in view.segments if name not in counted.names]
                async with aclosing(read_digests(storage, *batch, names)) as digests:
                    for name in names:
                        counted.tally.add(await anext(digests))
                        counted.names.add(name)
        except StoredObjectBroken:
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
