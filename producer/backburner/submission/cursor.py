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


def new_owner() -> str:
    """A name for one submit, which shows where it runs."""
    return f"{socket.gethostname()}-{os.getpid()}-{keys.new_ulid()}"


class JobCursor:
    """The cursor of a job that this submit sends.

    `claim` takes it over from whoever had it: a dead producer cannot be distinguished from a slow one. The one that
    lost it notices at its next `advance`. Both have sent the same, so no harm is done.
    """

    def __init__(self, storage: Storage, tenant: str, job: str, owner: str) -> None:
        self._storage = storage
        self._key = keys.cursor(tenant, job)
        self._job = job
        self._owner = owner
        self._etag: str | None = None
        self._claimed = Cursor(owner=owner)
        self._writing = asyncio.Lock()

    async def claim(self, first: Prefix, whole: Prefix | None) -> Cursor:
        """Become the owner of the job made from this input. Returns how far it was sent, and from what it was made.

        Raises `JobConflict` if another claims it meanwhile.
        """
        cursor = Cursor(owner=self._owner, updated_at=time.time(), first=first, whole=whole)
        if not await self._storage.create(self._key, cursor.model_dump_json().encode()):
            found, etag = await self._read()
            cursor = found.model_copy(update={"owner": self._owner, "updated_at": time.time()})
            await self._storage.replace(self._key, cursor.model_dump_json().encode(), etag)
        await self._confirm(cursor)
        self._claimed = cursor
        return cursor

    async def advance(self, count: int, sha256: str) -> None:
        """Record that everything before `count` is on the broker. Raises `JobConflict` if another took the job over."""
        update = {"count": count, "sha256": sha256, "updated_at": time.time()}
        cursor = self._claimed.model_copy(update=update)
        async with self._writing:
            await self._storage.replace(self._key, cursor.model_dump_json().encode(), self._etag)
            await self._confirm(cursor)

    async def _confirm(self, written: Cursor) -> None:
        # Read back in any case: a write returns no tag, and a retried one can return False though it succeeded.
        found, self._etag = await self._read()
        if found.owner != self._owner or found.count != written.count:
            raise JobConflict(
                f"job {self._job} is being submitted by {found.owner} too, which has sent {found.count:,} requests; "
                "let that one finish, or submit again with the same job id"
            )

    async def _read(self) -> tuple[Cursor, str | None]:
        stored = await self._storage.get(self._key)
        if stored is None:
            raise StoreError(f"the cursor of job {self._job} has vanished; submit the input as a new job")
        return parse_stored(Cursor, self._key, stored.data), stored.etag
