"""What this worker knows of the jobs that it serves, in a small cache that is kept fresh. Reads only.

A job that the worker holds requests of stays known: without its manifest, they would be judged as if they had none.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from backburner.logs import get_logger
from backburner.runtime.until_stored import until_stored
from backburner.storage import Storage
from backburner.storage.parse import read_manifest, read_stored
from backburner_schemas import keys
from backburner_schemas.errors import StoredObjectBroken, StoreError
from backburner_schemas.job import Sealed
from backburner_worker.policy import JobFacts

JobKey = tuple[str, str]
"""Tenant and job."""

_MAX_IDLE_JOBS = 1024
"""Jobs that nothing is held of and that are remembered all the same, the least recently used going first; with half a
kilobyte each. They save the reads for what comes of them within the next minute.
"""
_FRESH_SECONDS = 60.0
"""Seconds after which a job is read again when more of it comes: it may have been sealed or frozen meanwhile."""
_NO_FACTS = JobFacts()

log = get_logger(__name__)
_MAX_CONCURRENT_READS = 16
"""Jobs that are read at once: what somebody stored as their objects may be as large as is read at all."""


@dataclass(frozen=True, slots=True)
class _Known:
    facts: JobFacts
    read_at: float
    """Monotonic seconds."""


class JobCache:
    """Manifests and seals, read when a job's first delivery comes, and cancel markers, listed on a timer."""

    def __init__(self, storage: Storage, cancel_poll_seconds: float) -> None:
        self._storage = storage
        self._cancel_poll_seconds = cancel_poll_seconds
        self._known: dict[JobKey, _Known] = {}
        self._held: Counter[JobKey] = Counter()
        self._idle: OrderedDict[JobKey, None] = OrderedDict()
        """Those of `_known` that nothing is held of."""
        self._cancelled: set[JobKey] = set()
        self._places = asyncio.Semaphore(_MAX_CONCURRENT_READS)

    def __len__(self) -> int:
        """How many are known."""
        return len(self._known)

    def hold(self, job: JobKey) -> bool:
        """The worker has one more request of that job, which stays known meanwhile. Whether it is the first."""
        held = self._held[job] = self._held[job] + 1
        if held > 1:
            return False
        self._idle.pop(job, None)
        return True

    def let_go(self, job: JobKey) -> bool:
        """The worker has one fewer request of that job. Whether it was the last."""
        held = self._held[job] = self._held[job] - 1
        if held > 0:
            return False
        del self._held[job]
        if job in self._known:
            self._rest(job)
        return True

    def is_held(self, job: JobKey) -> bool:
        """Whether the worker has requests of that job."""
        return job in self._held

    def facts(self, job: JobKey | None) -> JobFacts:
        """What is known now; makes no request. Call `learn` first. Of no job, nothing is."""
        if job is None:
            return _NO_FACTS
        known = self._known.get(job)
        facts = known.facts if known is not None else _NO_FACTS
        return replace(facts, cancelled=True) if self._cancelled and job in self._cancelled else facts

    async def learn(self, jobs: Iterable[JobKey | None]) -> None:
        """Read what is not known of these jobs, or not lately. While the store is away it waits, as does the intake."""
        new = [job for job in set(jobs) if job and keys.has_manifest(job[1]) and not self._is_fresh(job)]
        if new:
            await asyncio.gather(*(until_stored(partial(self._read, job), "read a job") for job in new))

    async def learn_seal(self, job: JobKey) -> bool:
        """Whether the job is sealed by now; one read where that is not known. Raises `StoreError`."""
        known = self._known.get(job)
        if known is None or not known.facts.has_manifest:
            return False
        if known.facts.total is not None:
            return True
        async with self._places:
            sealed = await read_stored(self._storage, Sealed, keys.sealed(*job))
        if sealed is not None and (known := self._known.get(job)) is not None:
            self._known[job] = replace(known, facts=replace(known.facts, total=sealed.total))
        return sealed is not None

    def note_frozen(self, job: JobKey) -> None:
        """The job has ended: what is still delivered of it need not run."""
        if (known := self._known.get(job)) is not None:
            self._known[job] = replace(known, facts=replace(known.facts, frozen=True))

    async def watch_markers(self, on_cancelled: Callable[[Iterable[JobKey]], None]) -> None:
        """List the cancel markers for ever, and report the new ones. During an outage those that were known stay.

        Raises `StoreError` if no retry can fix it: a worker that may not list would never learn of a cancel.
        """
        while True:
            before = self._cancelled
            try:
                self._cancelled = {
                    job
                    async for listed in self._storage.scan(keys.CANCELLED)
                    if (job := keys.marked(listed.key)) is not None
                }
            except StoreError as error:
                if not error.retryable:
                    raise
                log.warning("listing cancel markers failed; retrying", error=error.message)
            on_cancelled(self._cancelled - before)
            await asyncio.sleep(self._cancel_poll_seconds)

    def _is_fresh(self, job: JobKey) -> bool:
        known = self._known.get(job)
        if known is None or time.monotonic() - known.read_at > _FRESH_SECONDS:
            return False
        if job in self._idle:
            self._idle.move_to_end(job)
        return True

    async def _read(self, job: JobKey) -> None:
        try:
            async with self._places:
                manifest, sealed, frozen = await asyncio.gather(
                    read_manifest(self._storage, *job),
                    read_stored(self._storage, Sealed, keys.sealed(*job)),
                    self._storage.modified(keys.summary(*job)),
                )
            facts = JobFacts.of(manifest, sealed, frozen=frozen is not None)
        except StoredObjectBroken as error:
            # That affects one job; the others go on.
            log.error(  # noqa: TRY400 - the error names what does not fit
                "reading a job's objects failed; refusing its requests", tenant=job[0], job=job[1], error=error.message
            )
            facts = JobFacts(unreadable=True)
        self._known[job] = _Known(facts, time.monotonic())
        if job not in self._held:
            self._rest(job)

    def _rest(self, job: JobKey) -> None:
        """Nothing is held of the job: others may take its place from now on."""
        self._idle[job] = None
        self._idle.move_to_end(job)
        if len(self._idle) > _MAX_IDLE_JOBS:
            longest, _ = self._idle.popitem(last=False)
            del self._known[longest]
