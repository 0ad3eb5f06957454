"""The stored jobs that nobody has sent whole: which there are, and which of them to look at next. Reads only."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

from backburner.dispatcher.claim import JobKey
from backburner.dispatcher.off_peak import is_open
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.storage.parse import read_manifest
from backburner.submission.window import is_known_time_zone
from backburner_schemas import keys
from backburner_schemas.errors import StoredObjectBroken, StoreError, StoreFull
from backburner_schemas.job import JobManifest

_MAX_READS = 64
"""Manifests that are read in one look: of ten thousand new jobs the first are sent meanwhile."""
_MAX_KNOWN_JOBS = 20_000
"""Pending jobs that are looked at, the oldest of each tenant first; those beyond it wait for these to go."""
_LOOKS_PER_CANCEL_LOOK_COUNT = 5
"""Markers of cancelled jobs stay for days, so they are listed less often."""
ASIDE_SECONDS = 30.0
"""Seconds after which a job is looked at again of which an object could not be read; the others go on meanwhile."""
_BROKEN_SECONDS = 300.0
"""Seconds after which a job is looked at again whose manifest cannot be read."""

log = get_logger(__name__)


@dataclass(slots=True)
class PendingJob:
    """A job that waits."""

    key: JobKey
    manifest: JobManifest
    paused: bool = False
    cancelled: bool = False
    look_at: float = 0.0
    """Monotonic seconds before which there is nothing to do for it here: another has it, or it cannot be sent yet."""
    planned: bool = False
    """Whether its input was checked; known once its cursor was read."""
    noted: str | None = None
    """The reason for its waiting that this process saw or wrote last."""
    next_pool: str | None = None
    """Where its next requests go, as its cursor told it; None where that is not known."""
    crowded_out: bool = False
    """Whether it found no room on the disk here, which the jobs under way have."""
    read_at: float = float("-inf")
    """Monotonic seconds at which its cursor was read."""

    @property
    def tenant(self) -> str:
        """Whose it is."""
        return self.key[0]

    def over(self, now: float) -> bool:
        """Whether it was cancelled or has expired, so that it only has to be ended."""
        return self.cancelled or now > self.manifest.deadline

    def held_back(self, now: float) -> bool:
        """Whether its owner does not want it sent now: it is paused, or its window is closed."""
        return self.paused or (self.manifest.window is not None and not is_open(self.manifest.window, now))


class PendingJobs:
    """What lies under `pending/`, with the markers beside it."""

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.monotonic) -> None:
        self._storage = storage
        self._clock = clock
        self._jobs: dict[JobKey, PendingJob] = {}
        self._broken: dict[JobKey, float] = {}
        self._cancelled: Collection[JobKey] = ()
        self._looks = 0

    def __iter__(self) -> Iterator[PendingJob]:
        """Those that are known."""
        return iter(self._jobs.values())

    def __len__(self) -> int:
        """How many are known."""
        return len(self._jobs)

    async def look(self, running: Collection[JobKey] = ()) -> None:
        """List them anew, and read those that are new. Those that run stay known. Raises `StoreError`."""
        listed = await self._listed(keys.PENDING)
        paused = await self._listed(keys.PAUSED)
        if not self._looks % _LOOKS_PER_CANCEL_LOOK_COUNT:
            self._cancelled = await self._listed(keys.CANCELLED)
        self._looks += 1
        wanted = _by_turns(listed)[:_MAX_KNOWN_JOBS]
        there = {*wanted, *running}
        self._jobs = {key: job for key, job in self._jobs.items() if key in there}
        now, new = self._clock(), [key for key in wanted if key not in self._jobs]
        self._broken = {key: until for key in new if (until := self._broken.get(key, 0.0)) > now}
        for key in [key for key in new if key not in self._broken][:_MAX_READS]:
            await self._read(key)
        for job in self._jobs.values():
            job.paused, job.cancelled = job.key in paused, job.key in self._cancelled

    async def _listed(self, prefix: str) -> dict[JobKey, None]:
        """Tenant and job of each marker, in key order."""
        found = [job async for one in self._storage.scan(prefix) if (job := keys.marked(one.key)) is not None]
        return dict.fromkeys(sorted(found))

    async def _read(self, key: JobKey) -> None:
        try:
            manifest = await read_manifest(self._storage, *key)
            if manifest is None:
                # It was deleted with its tenant, since the manifest comes before the marker.
                await self._storage.delete([keys.pending(*key)])
                return
            check_own_input(manifest, key)
            _check_time_zone(manifest)
        except StoreError as error:
            if error.retryable or isinstance(error, StoreFull):
                # The store may be away, or this object alone: then the next look goes on behind it.
                self._broken[key] = self._clock() + ASIDE_SECONDS
                raise
            if isinstance(error, StoredObjectBroken) and await self._storage.modified(keys.summary(*key)) is not None:
                # Whatever is wrong with it, it has ended.
                await self._storage.delete([keys.pending(*key), keys.paused(*key)])
                return
            self._broken[key] = self._clock() + _BROKEN_SECONDS
            log.error(  # noqa: TRY400 - the error names what does not fit
                "reading a stored job failed; leaving it alone", tenant=key[0], job=key[1], error=error.message
            )
            return
        self._jobs[key] = PendingJob(key, manifest)


def _by_turns(listed: Iterable[JobKey]) -> list[JobKey]:
    """The oldest job of each tenant, then the next of each, and so on: one with very many hides nobody else's.

    The oldest of a tenant is the last in the listing. Pure.
    """
    places: Counter[str] = Counter()
    turns = []
    for key in reversed([*listed]):
        places[key[0]] += 1
        turns.append((places[key[0]], key))
    # Stable: those of one turn stay in the order of the listing.
    return [key for _, key in sorted(turns, key=itemgetter(0))]


def check_own_input(manifest: JobManifest, key: JobKey) -> None:
    """Raise `StoredObjectBroken` unless the job is a stored one whose input lies under its own tenant."""
    stored = manifest.stored
    if stored is None or not keys.is_input_of(stored.key, *key):
        raise StoredObjectBroken(
            f"the object {keys.manifest(*key)} is not the manifest of a stored job with an input of its own; "
            "find out what wrote it, and remove the job"
        )


def _check_time_zone(manifest: JobManifest) -> None:
    """Raise `StoredObjectBroken` if nobody here can say when the job's window is open."""
    window = manifest.window
    if window is not None and not is_known_time_zone(window.timezone):
        raise StoredObjectBroken(
            f"the window of job {manifest.id} is in the time zone {window.timezone!r}, which is not known here; "
            "install tzdata beside the dispatcher"
        )


def in_turn(jobs: Collection[PendingJob], running: Collection[JobKey], now: float) -> list[PendingJob]:
    """The jobs in the order in which they should be taken up: of the tenant with the fewest under way first.

    Within a tenant the earliest deadline first. Pure.
    """
    under_way: dict[str, int] = {}
    for tenant, _ in running:
        under_way[tenant] = under_way.get(tenant, 0) + 1
    ordered = sorted(jobs, key=lambda job: (not job.over(now), job.manifest.deadline, job.key))
    places = []
    for job in ordered:
        place = under_way[job.tenant] = under_way.get(job.tenant, 0) + 1
        places.append(place)
    # Stable: those at the same place stay in the order of their deadlines.
    return [job for _, job in sorted(zip(places, ordered, strict=True), key=lambda pair: pair[0])]
