"""The files of one tenant in the object store."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from backburner.gateway.files.content_check import LinesCheck
from backburner.gateway.files.file_object import StoredFile, is_file_id
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner.storage.parse import read_stored
from backburner_schemas import keys
from backburner_schemas.errors import (
    BackburnerError,
    CallRefused,
    CallTooLarge,
    FileNotFound,
    StoredObjectBroken,
    StoreError,
)

MAX_CONCURRENT_READS = 16

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """A file's bytes, stored; no file has them yet."""

    file_id: str
    size: int
    requests: int
    sha256: str
    md5: str


class _MadeFrom(BaseModel):
    """Of a job's manifest what is asked here, whatever else a version of its own may have written."""

    model_config = ConfigDict(extra="ignore")

    input_file_id: str | None = None


class FileStore:
    """One tenant's files. Every method raises `StoreError`."""

    def __init__(self, storage: Storage, tenant: str) -> None:
        self._storage = storage.of_tenant(tenant)
        self._tenant = tenant

    async def write(
        self, pieces: AsyncIterator[bytes], *, max_bytes: int, max_line_bytes: int, digests: bool = False
    ) -> Written:
        """Store the bytes of a new file as they come, checked on the way. Without `keep` nobody ever sees them.

        `digests`: whether the sums are wanted, which cost as much as all the rest. Raises `CallTooLarge` and
        `CallRefused`; then nothing stays.
        """
        file_id, check = keys.new_file_id(), LinesCheck(max_line_bytes)
        sums = [hashlib.sha256(), hashlib.md5(usedforsecurity=False)] if digests else []
        size = 0
        async with self._storage.writer(keys.content(self._tenant, file_id)) as writer:
            async for piece in pieces:
                size += len(piece)
                if size > max_bytes:
                    raise CallTooLarge(
                        f"the file has more than the {max_bytes:,} bytes that one may have", param="file"
                    )
                check.take(piece)
                for one in sums:
                    one.update(piece)
                await writer.write(piece)
            check.finish()
        sha256, md5 = (one.hexdigest() for one in sums) if sums else ("", "")
        return Written(file_id, size, check.requests, sha256, md5)

    async def keep(self, file: StoredFile) -> StoredFile:
        """Make the file exist; returns it as it is stored, if it existed already as it was made then.

        Raises `StoreError` also where a store let none of two that raced win.
        """
        key = keys.file(self._tenant, file.id)
        if file.expires_at is not None:
            # First: the note of a file that is not there is passed over, and a file without one would stay for ever.
            await self._storage.put(keys.expiry(self._tenant, file.expires_at, file.id), b"")
        if await self._storage.create(key, file.model_dump_json().encode()):
            return file
        found = await self._read(key)
        if found is None:
            raise StoreError(f"the entry of file {file.id} was neither written nor found; call again")
        return found

    async def keep_again(self, file: StoredFile) -> StoredFile | None:
        """The same for a file that an earlier call may have made; None where its bytes are gone, and it with them.

        It may be deleted at this moment: who deletes it looks for what is known of it again, once the bytes are gone.
        """
        if not await self.has_bytes(file.id):
            return None
        kept = await self.keep(file)
        if await self.has_bytes(file.id):
            return kept
        await self._storage.delete([keys.file(self._tenant, file.id)])
        return None

    async def drop(self, file_id: str) -> None:
        """Remove a file's bytes and what is known of it."""
        # What is known of it first: a file without its bytes would be worse than bytes without a file.
        await self._storage.delete([keys.file(self._tenant, file_id)])
        await self._drop_bytes([file_id])

    async def _drop_bytes(self, file_ids: Collection[str]) -> None:
        await self._storage.delete([keys.content(self._tenant, file_id) for file_id in file_ids])
        # A call that came again may have made the file meanwhile, as long as the bytes were there.
        await self._storage.delete([keys.file(self._tenant, file_id) for file_id in file_ids])

    async def drop_unneeded(self, file_ids: Collection[str]) -> dict[str, str]:
        """Remove these files, but for those that jobs which have not ended need; returns those, each with such a job.

        A batch that is made meanwhile either is seen here, or does not find its file any more: both sides write first
        and look afterwards.
        """
        needed = await self.needed(file_ids)
        gone = [file_id for file_id in file_ids if file_id not in needed]
        entries = await self._read_each(gone)
        await self._storage.delete([keys.file(self._tenant, file_id) for file_id in gone])
        try:
            needed |= await self.needed(gone)
        except BaseException:
            # Nobody knows whether they are needed: they stay.
            await asyncio.shield(self._put_back(entries))
            raise
        await self._put_back(file for file in entries if file is not None and file.id in needed)
        await self._drop_bytes([file_id for file_id in gone if file_id not in needed])
        return needed

    async def _put_back(self, entries: Iterable[StoredFile | None]) -> None:
        for file in entries:
            if file is not None:
                await self._storage.create(keys.file(self._tenant, file.id), file.model_dump_json().encode())

    async def drop_quietly(self, file_id: str) -> None:
        """The same for bytes that nobody knows of; what cannot be removed now is swept later."""
        with suppress(BackburnerError):
            await self.drop(file_id)

    async def find(self, file_id: str) -> StoredFile:
        """The file. Raises `FileNotFound` for one that is not there, or has expired."""
        found = await self._read(keys.file(self._tenant, file_id)) if is_file_id(file_id) else None
        if found is None or found.expired(self._storage.clock.trusted_now()):
            raise FileNotFound(f"there is no file {file_id[:64]!r}; `GET /v1/files` lists those that exist")
        return found

    async def exists(self, file_id: str) -> bool:
        """Whether the file is there, expired or not."""
        return is_file_id(file_id) and await self._storage.modified(keys.file(self._tenant, file_id)) is not None

    async def has_bytes(self, file_id: str) -> bool:
        """Whether the bytes of a file are there."""
        return await self._storage.modified(keys.content(self._tenant, file_id)) is not None

    def stream(self, file: StoredFile) -> AsyncIterator[bytes]:
        """The file's bytes."""
        return self._storage.stream(keys.content(self._tenant, file.id))

    async def delete(self, file_id: str) -> None:
        """Remove the file. Raises `FileNotFound`, and `CallRefused` while a batch needs it."""
        file = await self.find(file_id)
        needed = await self.drop_unneeded([file.id])
        if file.id in needed:
            raise CallRefused(f"the batch {needed[file.id]} still needs the file; cancel it first, or wait for its end")
        if file.expires_at is not None:
            await self._storage.delete([keys.expiry(self._tenant, file.expires_at, file.id)])

    async def needed(self, among: Collection[str]) -> dict[str, str]:
        """Which of these files jobs which have not ended were made from, each with such a job."""
        if not among:
            return {}
        prefix = keys.open_job(self._tenant, "")
        needed, some = dict[str, str](), list[str]()

        async def look(job: str) -> None:
            try:
                found = await read_stored(self._storage, _MadeFrom, keys.manifest(self._tenant, job))
            except StoredObjectBroken as error:
                # No dispatcher can read it either.
                log.warning("reading a job failed; its input counts as not needed", job=job, error=error.message)
                return
            file_id = None if found is None else found.input_file_id
            if file_id is not None and file_id in among:
                needed[file_id] = job

        async with aclosing(self._storage.scan(prefix)) as jobs:
            async for listed in jobs:
                some.append(listed.key[len(prefix) :])
                if len(some) == MAX_CONCURRENT_READS:
                    await asyncio.gather(*map(look, some))
                    some = []
        await asyncio.gather(*map(look, some))
        return needed

    async def read_all(self, ids: Iterable[str]) -> list[StoredFile]:
        """These files in the same order, without those that are gone or cannot be read."""
        now = self._storage.clock.trusted_now()
        return [file for file in await self._read_each(ids) if file is not None and not file.expired(now)]

    async def ids(self, *, after: str | None = None) -> AsyncGenerator[str]:
        """The ids of all files, newest first, behind that one."""
        prefix = keys.files(self._tenant)
        start = None if after is None else keys.file(self._tenant, after)
        async for listed in self._storage.scan(prefix, after=start):
            file_id = listed.key[len(prefix) :].removesuffix(".json")
            if is_file_id(file_id):
                yield file_id

    async def _read_each(self, ids: Iterable[str]) -> list[StoredFile | None]:
        places = asyncio.Semaphore(MAX_CONCURRENT_READS)

        async def read(file_id: str) -> StoredFile | None:
            async with places:
                return await self._read(keys.file(self._tenant, file_id))

        return await asyncio.gather(*map(read, ids))

    async def _read(self, key: str) -> StoredFile | None:
        try:
            found = await read_stored(self._storage, StoredFile, key)
        except StoredObjectBroken as error:
            log.warning("reading a file's entry failed; passing it over", key=key, error=error.message)
            return None
        if found is not None and key != keys.file(self._tenant, found.id):
            log.warning("a file's entry is that of another; passing it over", key=key)
            return None
        return found
