"""A new job made from requests of an older one, stored before anything is sent, so that a crash leaves nothing undone.

The new job's input is stored first, then the plan, which names it; whoever finds the plan can carry it out. While a
plan exists, every further one for the same parent waits.
"""

from collections.abc import Callable
from enum import Enum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from backburner.connections import Connections
from backburner.dead_letters.letter import DeadLetterRef
from backburner.dead_letters.store import DeadLetterStore
from backburner.jobs.finalizer import finalize
from backburner.jobs.join import download_input
from backburner.storage import Storage
from backburner.storage.parse import MAX_LISTS_BYTES, read_stored
from backburner.submission.submission import Submission, SubmitOptions, SubmitProgress, Submitted
from backburner.temporary_files import temporary_folder
from backburner_schemas import keys
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.indexset import IndexSet
from backburner_schemas.job import JobManifest, Retried


class PlanKind(Enum):
    """What a plan is for. The values are those of the stored field, `retry`."""

    REDRIVE = False
    """Some letters of the parent, sent again."""
    RETRY = True
    """All that failed in the parent, whether it left a letter or not."""


class RedrivePlan(BaseModel):
    """Which letters of a job go into which new one. It is stored until they have."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, serialize_by_alias=True)

    v: int = 1
    manifest: JobManifest
    """The new job's."""
    letters: IndexSet
    """Indexes in the parent."""
    kind: PlanKind = Field(default=PlanKind.REDRIVE, alias="retry")


class Plans:
    """The plan of one parent job, in the store."""

    def __init__(self, connections: Connections, tenant: str, parent: str) -> None:
        self._connections = connections
        self._tenant = tenant
        self._parent = parent
        self._key = keys.redrive_plan(tenant, parent)

    @property
    def _storage(self) -> Storage:
        return self._connections.storage

    async def find(self) -> RedrivePlan | None:
        """The plan that is under way. Raises `StoredObjectBroken` and `StoreError`."""
        plan = await read_stored(self._storage, RedrivePlan, self._key, max_bytes=MAX_LISTS_BYTES)
        if plan is None:
            return None
        if (plan.manifest.tenant, plan.manifest.parent) != (self._tenant, self._parent):
            raise StoredObjectBroken(
                f"the object {self._key} is another job's plan; find out what wrote it, and remove it"
            )
        return plan

    async def made(self) -> str | None:
        """The job that retries the parent, sent as a whole; None if there is none any more. Raises `StoreError`."""
        mark = await read_stored(self._storage, Retried, keys.retried(self._tenant, self._parent))
        if mark is None or await self._storage.modified(keys.manifest(self._tenant, mark.child)) is None:
            return None
        return mark.child

    async def drop(self, plan: RedrivePlan) -> None:
        """Remove a plan of which nothing was sent, with its input. Raises `StoreError`."""
        await self._storage.delete([self._key, keys.stored_input(self._tenant, plan.manifest.id)])

    async def make(self, plan: RedrivePlan, source: Path) -> RedrivePlan:
        """Write the new job's input and the plan. Returns the plan, or one that another has written meanwhile."""
        names = self._tenant, plan.manifest.id
        await self._storage.put(keys.stored_input(*names), source)
        if await self._storage.create(self._key, plan.model_dump_json().encode()):
            return plan
        found = await self.find()
        if found is None or found.manifest.id == plan.manifest.id:
            return plan
        await self._storage.delete([keys.stored_input(*names)])
        return found

    async def carry_out(
        self, plan: RedrivePlan, store: DeadLetterStore, on_progress: Callable[[SubmitProgress], object] | None = None
    ) -> Submitted | None:
        """Create the plan's job, remove its letters and the plan. None if the job ended half-sent; the letters stay.

        Raises what `Client.submit` raises, and `StoredObjectBroken`.
        """
        sent = await self._send(plan, on_progress)
        if sent is not None:
            # Their requests are on the queue again: a letter that is left could send them once more.
            await store.remove(DeadLetterRef(self._tenant, self._parent, index) for index in plan.letters)
            if plan.kind is PlanKind.RETRY:
                mark = Retried(child=plan.manifest.id)
                await self._storage.put(keys.retried(self._tenant, self._parent), mark.model_dump_json().encode())
        await self._storage.delete([self._key])
        return sent

    async def _send(
        self, plan: RedrivePlan, on_progress: Callable[[SubmitProgress], object] | None
    ) -> Submitted | None:
        """Send the new job and seal it, or find that done; None if it has ended half-sent, so that it never will be."""
        names = self._tenant, plan.manifest.id
        if await self._storage.modified(keys.sealed(*names)) is not None:
            # It may have been killed between its seal and its last check.
            await finalize(
                self._storage,
                *names,
                grace=self._connections.settings.freeze_grace_seconds,
                watch=self._connections.job_watch,
            )
            return Submitted()
        if plan.manifest.deadline <= (await self._storage.measure_clock()).trusted_now():
            return None
        ended = [keys.summary(*names), keys.cancelled(*names)]
        if [key for key in ended if await self._storage.modified(key) is not None]:
            return None
        with temporary_folder() as folder:
            source = folder / "input.jsonl"
            if not await download_input(self._storage, plan.manifest, source):
                return None
            again = f"retry {self._parent}" if plan.kind is PlanKind.RETRY else f"dlq redrive --job {self._parent}"
            remedy = f"job {plan.manifest.id} is not sent whole: run `backburner {again}` again, which completes it"
            options = SubmitOptions(plan.manifest, on_progress=on_progress, remedy=remedy)
            return await Submission(self._connections, options).run(source)

    async def overtaken(self, plan: RedrivePlan) -> bool:
        """Whether letters of a plan that is not begun are gone: who redrove or removed them had not seen the plan.

        Such a plan and its input are dropped.
        """
        names = self._tenant, plan.manifest.id
        if plan.kind is PlanKind.RETRY or await self._storage.modified(keys.manifest(*names)) is not None:
            return False
        refs = [
            DeadLetterRef.of(one.key) async for one in self._storage.scan(keys.dead_letters(self._tenant, self._parent))
        ]
        there = IndexSet.of([ref.index for ref in refs if ref is not None and isinstance(ref.index, int)])
        if not plan.letters - there:
            return False
        await self.drop(plan)
        return True
