"""The uploads of one tenant in the object store: their parts are objects, until they are one file."""

from collections.abc import AsyncIterator, Sequence

from backburner.gateway.files.file_object import StoredFile
from backburner.gateway.files.file_store import FileStore, Written
from backburner.gateway.uploads.upload_object import (
    LASTS_SECONDS,
    MAX_PARTS,
    PART_LIMIT_BYTES,
    PartObject,
    StoredUpload,
    UploadEnd,
    UploadObject,
    is_part_id,
    is_upload_id,
)
from backburner.storage import Storage
from backburner.storage.parse import ModelT, read_stored
from backburner_schemas import keys
from backburner_schemas.errors import (
    CallRefused,
    CallTooLarge,
    JobConflict,
    StoredObjectBroken,
    StoreError,
    UploadNotFound,
)

_TOO_MUCH = "the parts have more than twice the bytes that were announced; begin a new upload"


class UploadStore:
    """One tenant's uploads. Every method raises `StoreError`, and `UploadNotFound` for one that is not there."""

    def __init__(self, storage: Storage, tenant: str) -> None:
        self._storage = storage.of_tenant(tenant)
        self._tenant = tenant

    async def begin(self, upload: StoredUpload) -> UploadObject:
        """Make the upload, or find it made."""
        await self._storage.create(keys.upload_entry(self._tenant, upload.id), upload.model_dump_json().encode())
        return UploadObject.of(*await self._find(upload.id))

    async def add(self, upload_id: str, pieces: AsyncIterator[bytes]) -> PartObject:
        """Store a part as it comes. Raises `CallTooLarge`, and `JobConflict` for an upload that has ended."""
        upload = await self._pending(upload_id)
        room = await self._room(upload)
        part = PartObject(id=f"part_{keys.new_ulid()}", created_at=int(self._storage.clock.now()), upload_id=upload_id)
        key = keys.upload_part(self._tenant, upload_id, part.id)
        async with self._storage.writer(key) as writer:
            async for piece in _bounded(pieces, room):
                await writer.write(piece)
        try:
            # Parts that were sent at the same time have not seen each other before.
            await self._room(upload, being_there=1)
        except CallTooLarge:
            await self._storage.delete([key])
            raise
        return part

    async def complete(
        self, upload_id: str, part_ids: Sequence[str], md5: str | None, *, max_line_bytes: int, caller: str
    ) -> UploadObject:
        """Make one file of the parts, or find it made. Raises `CallRefused` if they are not what was announced."""
        upload, end = await self._find(upload_id)
        if end is None:
            await self._pending(upload_id)
            self._check(upload, part_ids, await self._sizes(upload_id))
            end = await self._join(upload, part_ids, md5, max_line_bytes=max_line_bytes, caller=caller)
        if end.file is None:
            raise JobConflict(f"the upload {upload_id} was cancelled; begin a new one")
        files = FileStore(self._storage, self._tenant)
        # Also where an earlier call wrote the end: it may have died before this.
        if await files.keep_again(end.file) is None:
            raise JobConflict(f"the file {end.file.id} of this upload is deleted; begin a new upload")
        await self._drop_parts(upload_id)
        return UploadObject.of(upload, end)

    async def cancel(self, upload_id: str) -> UploadObject:
        """Give the upload up. Raises `JobConflict` for one that is completed."""
        upload, end = await self._find(upload_id)
        if end is None:
            end = await self._end(upload_id, UploadEnd())
        if end.file is not None:
            raise JobConflict(f"the upload {upload_id} is completed; delete the file {end.file.id} instead")
        await self._drop_parts(upload_id)
        return UploadObject.of(upload, end)

    async def _join(
        self, upload: StoredUpload, part_ids: Sequence[str], md5: str | None, *, max_line_bytes: int, caller: str
    ) -> UploadEnd:
        files = FileStore(self._storage, self._tenant)
        written = await files.write(
            self._pieces(upload.id, part_ids),
            max_bytes=upload.bytes,
            max_line_bytes=max_line_bytes,
            digests=md5 is not None,
        )
        if md5 is not None and md5.lower() != written.md5:
            await files.drop_quietly(written.file_id)
            raise CallRefused("md5 is not that of the parts in this order; send them again", param="md5")
        # Where this fails it may have been written all the same, so that the bytes must stay.
        end = await self._end(upload.id, UploadEnd(file=_file(upload, written, caller, self._storage.clock.now())))
        if end.file is None or end.file.id != written.file_id:
            await files.drop_quietly(written.file_id)
        return end

    async def _pieces(self, upload_id: str, part_ids: Sequence[str]) -> AsyncIterator[bytes]:
        for part_id in part_ids:
            async for piece in self._storage.stream(keys.upload_part(self._tenant, upload_id, part_id)):
                yield piece

    def _check(self, upload: StoredUpload, part_ids: Sequence[str], sizes: dict[str, int]) -> None:
        for part_id in part_ids:
            if part_id not in sizes:
                raise CallRefused(f"the upload has no part {part_id!r}", param="part_ids")
        if len(set(part_ids)) < len(part_ids):
            raise CallRefused("a part is named twice", param="part_ids")
        total = sum(sizes[part_id] for part_id in part_ids)
        if total != upload.bytes:
            raise CallRefused(
                f"the parts have {total:,} bytes and {upload.bytes:,} were announced; name all of them",
                param="part_ids",
            )

    async def _end(self, upload_id: str, end: UploadEnd) -> UploadEnd:
        """How the upload ended: so, unless another call was first."""
        key = keys.upload_end(self._tenant, upload_id)
        if await self._storage.create(key, end.model_dump_json().encode()):
            return end
        found = await self._read(UploadEnd, key)
        if found is None:
            raise StoreError(f"the end of upload {upload_id} was neither written nor found; call again")
        return found

    async def _pending(self, upload_id: str) -> StoredUpload:
        upload, end = await self._find(upload_id)
        if end is not None:
            ended = "cancelled" if end.file is None else "completed"
            raise JobConflict(f"the upload {upload_id} is {ended} and takes no more; begin a new one")
        return upload

    async def _find(self, upload_id: str) -> tuple[StoredUpload, UploadEnd | None]:
        upload = None
        if is_upload_id(upload_id):
            upload = await self._read(StoredUpload, keys.upload_entry(self._tenant, upload_id))
        if upload is None:
            raise UploadNotFound
        if upload.id != upload_id:
            raise StoredObjectBroken(
                f"the entry of upload {upload_id} is another's; find out what wrote it, and begin a new upload"
            )
        end = await self._read(UploadEnd, keys.upload_end(self._tenant, upload_id))
        if end is None and self._storage.clock.trusted_now() >= upload.expires_at:
            raise UploadNotFound(f"the upload {upload_id} has expired; begin a new one")
        return upload, end

    async def _room(self, upload: StoredUpload, *, being_there: int = 0) -> int:
        """How many more bytes the upload takes, of whose parts so many are new. Raises `CallTooLarge`."""
        sizes = await self._sizes(upload.id)
        if len(sizes) - being_there >= MAX_PARTS:
            raise CallTooLarge(f"the upload has {MAX_PARTS:,} parts; begin a new one, with larger parts", param="data")
        # Parts that were sent again count too: so much may lie here, and no more.
        room = 2 * upload.bytes + PART_LIMIT_BYTES - sum(sizes.values())
        if room < 0:
            raise CallTooLarge(_TOO_MUCH, param="data")
        return room

    async def _sizes(self, upload_id: str) -> dict[str, int]:
        prefix = keys.upload_part(self._tenant, upload_id, "")
        found = {listed.key[len(prefix) :]: listed.size async for listed in self._storage.scan(prefix)}
        return {part_id: size for part_id, size in found.items() if is_part_id(part_id)}

    async def _drop_parts(self, upload_id: str) -> None:
        prefix = keys.upload_part(self._tenant, upload_id, "")
        await self._storage.delete_all(prefix)

    async def _read(self, model: type[ModelT], key: str) -> ModelT | None:
        return await read_stored(self._storage, model, key)


async def _bounded(pieces: AsyncIterator[bytes], room: int) -> AsyncIterator[bytes]:
    """The pieces of one part, as long as they are not too many for it, or for their upload."""
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > PART_LIMIT_BYTES:
            raise CallTooLarge(f"the part has more than {PART_LIMIT_BYTES:,} bytes; send smaller ones", param="data")
        if size > room:
            raise CallTooLarge(_TOO_MUCH, param="data")
        yield piece


def _file(upload: StoredUpload, written: Written, caller: str, now: float) -> StoredFile:
    return StoredFile(
        id=written.file_id,
        bytes=written.size,
        created_at=now,
        expires_at=now + upload.file_seconds,
        filename=upload.filename,
        purpose=upload.purpose,
        requests=written.requests,
        created_by=caller,
    )


def new_upload(*, filename: str, size: int, purpose: str, file_seconds: float, now: float) -> StoredUpload:
    """An upload that begins at that time, in Unix seconds by the store's clock."""
    return StoredUpload(
        id=keys.new_upload_id(now),
        filename=filename,
        bytes=size,
        purpose=purpose,
        created_at=now,
        expires_at=now + LASTS_SECONDS,
        file_seconds=file_seconds,
    )
