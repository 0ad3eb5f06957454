"""How far a job was sent, and who sends it: one object that is only ever replaced under its tag."""

import asyncio
import os
import socket
import time

from backburner.storage import Storage
from backburner.storage.parse import parse_stored
from backburner_schemas import keys
from backburner_schemas.errors import JobConflict, StoreError
from backburner_schemas.job import Cursor, Prefix

_MAX_WRITES = 3
"""Writes that one advance takes at most: the second has the tag of the first one's loss."""


def new_owner() -> str:
    """A name for one submit, which shows where it runs."""
    return f"{socket.gethostname()}-{os.getpid()}-{keys.new_ulid()}"


class JobCursor:
    """The cursor of a job that this submit sends.

    `claim` takes it over from whoever had it: a dead producer cannot be distinguished from a slow one. Only an input
    that is proven to be the job's may do so; until then nothing is written. The one that lost it notices at its next
    `advance`, and writes nothing from then on: what it wrote would cost the winner its claim, and neither would end.
    Both have sent the same, so no harm is done.
    """

    def __init__(self, storage: Storage, tenant: str, job: str, owner: str) -> None:
        self._storage = storage
        self._key = keys.cursor(tenant, job)
        self._job = job
        self._owner = owner
        self._etag: str | None = None
        self._claimed: Cursor | None = None
        self._lost: JobConflict | None = None
        self._writing = asyncio.Lock()

    async def begin(self, first: Prefix, whole: Prefix | None) -> Cursor:
        """Begin the job made from this input, or find how far it was sent, and from what it was made."""
        cursor = Cursor(owner=self._owner, updated_at=time.time(), first=first, whole=whole)
        await self._storage.create(self._key, cursor.model_dump_json().encode())
        found, etag = await self._read()
        if found.owner == self._owner:
            self._claimed, self._etag = found, etag
        return found

    async def claim(self) -> None:
        """Become the owner of the job that was begun. Raises `JobConflict` if another claims it meanwhile."""
        if self._claimed is None:
            found, etag = await self._read()
            cursor = found.model_copy(update={"owner": self._owner, "updated_at": time.time()})
            await self._storage.replace(self._key, cursor.model_dump_json().encode(), etag)
            self._claimed = await self._confirm()

    async def advance(self, count: int, sha256: str) -> None:
        """Record that everything before `count` is on the broker. Raises `JobConflict` if another took the job over.

        What was recorded before and reaches further stays; only its time is written anew. Nothing before `claim`.
        """
        async with self._writing:
            if self._claimed is None:
                return
            if count >= self._claimed.count:
                self._claimed = self._claimed.model_copy(update={"count": count, "sha256": sha256})
            cursor = self._claimed.model_copy(update={"updated_at": time.time()})
            for _ in range(_MAX_WRITES):
                if self._lost is not None:
                    raise self._lost
                await self._storage.replace(self._key, cursor.model_dump_json().encode(), self._etag)
                if (await self._confirm()).count == cursor.count:
                    return
                # Ours, under a tag that an earlier write left whose answer was lost.
        raise StoreError(f"the cursor of job {self._job} was not written; submit again with the same job id")

    async def _confirm(self) -> Cursor:
        """What is stored, which is ours. Raises `JobConflict` if it is another's."""
        # Read back in any case: a write returns no tag, and a retried one can return False though it succeeded.
        found, etag = await self._read()
        if found.owner != self._owner:
            self._lost = JobConflict(
                f"job {self._job} is being submitted by {found.owner} too, which has sent {found.count:,} requests; "
                "let that one finish, or submit again with the same job id"
            )
            raise self._lost
        self._etag = etag
        return found

    async def _read(self) -> tuple[Cursor, str | None]:
        stored = await self._storage.get(self._key)
        if stored is None:
            raise StoreError(f"the cursor of job {self._job} has vanished; submit the input as a new job")
        return parse_stored(Cursor, self._key, stored.data), stored.etag
