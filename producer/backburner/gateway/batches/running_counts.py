"""How many requests of a running batch have ended, each once: by its segments' digests, which are read once each.

The names of segments alone count a request twice that was delivered twice, and such counts fall when the batch ends.
"""

from collections import OrderedDict

from backburner.jobs.finalizer import read_digests
from backburner.storage import Storage
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import Counts
from backburner_schemas.segment import SegmentDigest
from backburner_schemas.status import JobView

_MAX_DIGESTS = 20_000
"""Kept for all batches together; a digest is small, as most hold a few ranges."""


class RunningCounts:
    """Counts of running batches. One for a process: segments never change, so what was read of one stays true."""

    def __init__(self) -> None:
        self._digests: OrderedDict[tuple[str, str, str], SegmentDigest] = OrderedDict()

    async def of(self, storage: Storage, view: JobView) -> Counts:
        """The batch's counts. Raises `StoreError`."""
        if view.summary is not None:
            return view.summary.counts
        tenant, job = view.manifest.tenant, view.manifest.id
        known = {name: self._digests.get((tenant, job, name)) for name in view.segments}
        new = tuple(name for name, digest in known.items() if digest is None)
        known |= dict(zip(new, await read_digests(storage, tenant, job, new), strict=True))
        for name, digest in known.items():
            assert digest is not None
            self._digests[tenant, job, name] = digest
            self._digests.move_to_end((tenant, job, name))
        while len(self._digests) > _MAX_DIGESTS:
            self._digests.popitem(last=False)
        digests = [digest for digest in known.values() if digest is not None]
        everything = IndexSet.below(view.total)
        ok = IndexSet.union(digest.ok for digest in digests) & everything
        failed = (IndexSet.union(digest.failed for digest in digests) & everything) - ok
        return Counts(total=view.total, completed=len(ok), failed=len(failed))
