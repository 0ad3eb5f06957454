"""`backburner-worker fetch-model`: makes the folder `BACKBURNER_MODEL` from `BACKBURNER_MODEL_SOURCE`.

For init containers and Jobs that warm a node's disk. It may be killed at any time and started again, and several may
run at once on one volume.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from backburner.logs import get_logger
from backburner_schemas.errors import BackburnerError, ModelFolderUnusable, ModelSourceRefused
from backburner_worker.model_fetch.checksums import MAX_SUMS_BYTES, check_files, listed_files, parse_sums
from backburner_worker.model_fetch.factory import open_model_source
from backburner_worker.model_fetch.file_download import FileDownload, PartLimits, PartReader
from backburner_worker.model_fetch.folder import ModelFolder, boot_id
from backburner_worker.model_fetch.folder_lock import folder_lock
from backburner_worker.model_fetch.model_file import RECORD_NAMES, SUMS_NAME, Digest, DigestKind, ModelFile
from backburner_worker.model_fetch.progress import Progress
from backburner_worker.model_fetch.record import FolderRecord
from backburner_worker.model_fetch.source import ModelSource
from backburner_worker.settings import WorkerSettings

_SAVE_BYTES = 64 * 1024 * 1024
"""Fetched files are noted each so many bytes; a file that is not noted is summed up again, not fetched again."""

log = get_logger(__name__)


async def fetch_model(settings: WorkerSettings) -> None:
    """Return when the model's folder is there, whole. Raises `ModelError` and `SettingsError`, and then it is not."""
    folder = ModelFolder.named(settings.model, source=settings.model_source, checksum=settings.model_checksum)
    source = open_model_source(settings)
    try:
        await ModelFetch(folder, source, settings).run()
    finally:
        await source.close()


class ModelFetch:
    """One fetch of one model."""

    def __init__(
        self, folder: ModelFolder, source: ModelSource, settings: WorkerSettings, *, limits: PartLimits | None = None
    ) -> None:
        self._folder = folder
        self._source = source
        self._url = settings.model_source
        self._checksum = settings.model_checksum
        self._limits = limits or PartLimits()

    async def run(self) -> None:
        """Make the folder, unless it is there. The source is not asked anything then."""
        if await self._is_there():
            return
        async with folder_lock(self._folder.lock, self._folder.path):
            if await self._is_there():
                return
            try:
                await self._make()
            except ModelFolderUnusable:
                # On a volume whose locks do not reach others: one of them was sooner.
                if not await self._is_there():
                    raise
                await asyncio.to_thread(self._folder.discard)

    async def _is_there(self) -> bool:
        whole = await asyncio.to_thread(self._folder.is_whole)
        if whole:
            log.info("model is there; nothing fetched", folder=str(self._folder.path), source=self._url)
        return whole

    async def _make(self) -> None:
        record = await asyncio.to_thread(self._folder.prepare)
        log.info("looking at the source", source=self._url, folder=str(self._folder.path))
        files = await self._files()
        wanted = {file.name: file for file in files}
        await asyncio.to_thread(self._folder.make_way, files)
        record.files = {
            name: fetched
            for name, fetched in record.files.items()
            if name in wanted and fetched.is_still(wanted[name]) and (self._folder.part / name).is_file()
        }
        await asyncio.to_thread(self._folder.check_room, files)
        progress = Progress(sum(file.size for file in files))
        progress.kept = sum(fetched.size for fetched in record.files.values())
        progress.log("fetching the model")
        reporting = asyncio.create_task(progress.report())
        try:
            await self._fetch([file for file in files if file.name not in record.files], record, progress)
        finally:
            reporting.cancel()
        await asyncio.to_thread(self._folder.publish, record)
        progress.log("model fetched")

    async def _files(self) -> list[ModelFile]:
        """What makes up the model, with the sums that are known."""
        # A folder that was made by this is a source like others.
        files = [file for file in await self._source.files() if file.name not in RECORD_NAMES]
        sums_file = next((file for file in files if file.name == SUMS_NAME), None)
        if sums_file is None:
            if self._checksum:
                raise ModelSourceRefused(
                    f"the source has no {SUMS_NAME}, which BACKBURNER_MODEL_CHECKSUM is the sum of; write it with "
                    "`sha256sum` in the source's folder, or unset the checksum"
                )
            if any(file.digest is None for file in files):
                log.warning("source without SHA256SUMS; sizes are checked, contents are not", source=self._url)
            check_files(files)
            return files
        if not 0 < sums_file.size <= MAX_SUMS_BYTES:
            raise ModelSourceRefused(
                f"{SUMS_NAME} of the source has {sums_file.size} bytes; that is no list of a model"
            )
        text = bytes(await PartReader(self._source, PartLimits(MAX_SUMS_BYTES, 1)).read(sums_file))
        chosen = listed_files(files, parse_sums(text, checksum=self._checksum))
        if passed_over := len(files) - len(chosen) - 1:
            log.info("files that SHA256SUMS does not list are passed over", files=passed_over)
        check_files(chosen)
        return [*chosen, _with_digest(sums_file, text)]

    async def _fetch(self, files: Sequence[ModelFile], record: FolderRecord, progress: Progress) -> None:
        parts = PartReader(self._source, self._limits)
        places = asyncio.Semaphore(self._limits.in_flight)
        # Without sums, what the last start of the machine left half written may be anything, and what was left of a
        # file that the source has replaced since would become the beginning of the new one. It goes before the record
        # says that the new one was begun.
        begun = record.begun if record.boot == boot_id() else {}
        unsure = [one for one in files if one.digest is None and (one.tag is None or begun.get(one.name) != one.tag)]
        await asyncio.to_thread(self._folder.forget, [one.name for one in unsure])
        record.boot = boot_id()
        record.begun = {one.name: one.tag for one in files if one.tag is not None}
        await asyncio.to_thread(self._folder.save, record)
        unsaved = 0

        async def one(file: ModelFile) -> None:
            nonlocal unsaved
            async with places:
                download = FileDownload(file, self._folder.part / file.name, parts=parts, progress=progress)
                record.files[file.name] = await download.run()
                unsaved += file.size
                if unsaved >= _SAVE_BYTES:
                    unsaved = 0
                    self._folder.save(record)

        try:
            async with asyncio.TaskGroup() as tasks:
                # The largest first, so that no long one is left alone at the end.
                for file in sorted(files, key=lambda file: -file.size):
                    tasks.create_task(one(file))
        except BaseExceptionGroup as group:
            errors = [error for error in group.exceptions if isinstance(error, BackburnerError)]
            if len(errors) < len(group.exceptions):
                raise
            raise errors[0] from group
        finally:
            await asyncio.to_thread(self._folder.save, record)


def _with_digest(file: ModelFile, text: bytes) -> ModelFile:
    return replace(file, digest=Digest(DigestKind.SHA256, sha256(text).hexdigest()))
