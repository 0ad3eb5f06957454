"""The objects of a job that its producer writes: open marker, manifest, seal, cancel marker."""

from backburner.jobs.finalizer import read_summary
from backburner.jobs.named import note_named
from backburner.storage import Storage
from backburner.storage.parse import read_manifest, read_stored
from backburner.submission.manifest import create_manifest
from backburner_schemas import keys
from backburner_schemas.errors import Cancelled, Expired, JobConflict, StoreError
from backburner_schemas.job import JobManifest, JobState, Sealed


class JobObjects:
    """A job's own objects. The manifest that was written first counts, whoever wrote it."""

    def __init__(self, storage: Storage, manifest: JobManifest) -> None:
        self._storage = storage
        self._opened = False
        self._sealed: Sealed | None = None
        self.manifest = manifest

    @property
    def names(self) -> tuple[str, str]:
        """Tenant and job."""
        return self.manifest.tenant, self.manifest.id

    async def adopt(self) -> bool:
        """Use the manifest of the first submit, where there was one: its options stay. Returns whether there was."""
        stored = await read_manifest(self._storage, *self.names)
        if stored is not None:
            self.manifest = stored
        return stored is not None

    async def open(self) -> Sealed | None:
        """Create the job, or find it created. Returns its seal if it is sealed already.

        Raises `JobConflict` if it has ended unsealed or was cancelled, as it accepts no more requests then, and if its
        input is stored: a dispatcher sends that.
        """
        # The marker first: a job that nobody lists as open would never be frozen.
        if await self._storage.modified(keys.summary(*self.names)) is not None:
            if await read_manifest(self._storage, *self.names) is None:
                raise JobConflict(f"job {self.manifest.id} was deleted, and its id stays taken; choose another job id")
        else:
            await self._storage.put(keys.open_job(*self.names), b"")
        self.manifest, is_new = await create_manifest(self._storage, self.manifest)
        if self.manifest.stored is not None:
            raise JobConflict(
                f"job {self.manifest.id} is made of a stored input, which a dispatcher sends; submit that input with "
                "stored=True (--stored), or choose another job id"
            )
        self._opened = True
        await note_named(self._storage, self.manifest)
        if is_new:
            return None
        self._sealed = await read_stored(self._storage, Sealed, keys.sealed(*self.names))
        if self._sealed is not None:
            return self._sealed
        await self._check_open()
        return None

    async def _check_open(self) -> None:
        state = await self._ended()
        if state is not None:
            raise JobConflict(f"job {self.manifest.id} is {state} and accepts no more requests; choose another job id")

    async def check_going_on(self) -> None:
        """Raise `Cancelled` or `Expired` if the job ended while it is still being sent."""
        state = await self._ended()
        if state is JobState.CANCELLED:
            raise Cancelled(f"job {self.manifest.id} was cancelled while it was submitted; the rest was not sent")
        if state is not None:
            raise Expired(
                f"job {self.manifest.id} ended, {state}, while it was submitted; the rest was not sent: "
                "submit it as a new job with a later deadline"
            )

    async def _ended(self) -> JobState | None:
        summary = await read_summary(self._storage, *self.names)
        if summary is not None:
            return summary.state
        cancelled = await self._storage.modified(keys.cancelled(*self.names)) is not None
        return JobState.CANCELLED if cancelled else None

    async def cancel_if_open(self) -> None:
        """Cancel the job if it was made and is not sealed."""
        if self._opened and self._sealed is None:
            await self._storage.create(keys.cancelled(*self.names), b"")

    async def seal(self, sealed: Sealed) -> None:
        """Record that the whole job is on the broker. Raises `JobConflict` if it was sealed with another total."""
        if await self._storage.create(keys.sealed(*self.names), sealed.model_dump_json().encode()):
            return
        found = await read_stored(self._storage, Sealed, keys.sealed(*self.names))
        if found is None:
            raise StoreError(f"the seal of job {self.manifest.id} has vanished; submit again with the same job id")
        if (found.total, found.sha256) != (sealed.total, sealed.sha256):
            raise self.conflict()

    def conflict(self) -> JobConflict:
        """The error for a job id that belongs to another input."""
        return JobConflict(
            f"job {self.manifest.id} was made from another input; choose another job id, or submit the same input"
        )
