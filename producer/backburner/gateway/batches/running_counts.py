"""How many requests of a running batch have ended, each once: by its segments' digests, which are read once each.

The names of segments alone count a request twice that was delivered twice, and such counts fall when the batch ends.
"""

import asyncio
from collections import OrderedDict
from contextlib import aclosing

from backburner.jobs.finalizer import read_digests
from backburner.storage import Storage
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import Counts
from backburner_schemas.segment_tally import SegmentTally
from backburner_schemas.status import JobView

_MAX_UNITS = 2_000_000
"""Ranges and names of segments that are kept of all batches together, some 100 MB; one batch may have more."""
_MAX_CONCURRENT_BATCHES = 4
"""Whose segments are read at once: what each may take is the bound of a tally."""


class _Counted:
    """What was counted of one batch."""

    def __init__(self, job: str) -> None:
        self.tally = SegmentTally(job)
        self.names: set[str] = set()

    @property
    def units(self) -> int:
        return self.tally.range_count + len(self.names)


class RunningCounts:
    """Counts of running batches. One for a process: segments never change, so what was read of one stays true."""

    def __init__(self, *, max_units: int = _MAX_UNITS) -> None:
        """`max_units` bounds ranges and names that are kept."""
        self._max_units = max_units
        self._places = asyncio.Semaphore(_MAX_CONCURRENT_BATCHES)
        self._batches: OrderedDict[tuple[str, str], _Counted] = OrderedDict()

    async def of(self, storage: Storage, view: JobView) -> Counts:
        """The batch's counts. Raises `StoredObjectBroken` for segments that none can have, and `StoreError`."""
        if view.summary is not None:
            return view.summary.counts
        tenant, job = view.manifest.tenant, view.manifest.id
        # Taken out while it is counted on, since of two calls at once each would add what the other has added.
        counted = self._batches.pop((tenant, job), None) or _Counted(job)
        new = [name for name in view.segments if name not in counted.names]
        if new:
            async with self._places, aclosing(read_digests(storage, tenant, job, new)) as digests:
                for name in new:
                    counted.tally.add(await anext(digests))
                    counted.names.add(name)
        everything = IndexSet.below(view.total)
        ok = counted.tally.ok & everything
        failed = (counted.tally.failed & everything) - ok
        self._keep((tenant, job), counted)
        return Counts(total=view.total, completed=len(ok), failed=len(failed))

    def _keep(self, batch: tuple[str, str], counted: _Counted) -> None:
        self._batches[batch] = counted
        units = sum(one.units for one in self._batches.values())
        while units > self._max_units and len(self._batches) > 1:
            _, dropped = self._batches.popitem(last=False)
            units -= dropped.units
