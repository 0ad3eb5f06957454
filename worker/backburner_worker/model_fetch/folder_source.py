"""A model in a folder of the file system: `file:///folder`, such as a share that is mounted into the pod."""

import asyncio
import os
from pathlib import Path

from backburner_schemas.errors import ModelSourceRefused, ModelSourceUnavailable
from backburner_worker.model_fetch.checksums import MAX_FILES
from backburner_worker.model_fetch.model_file import ModelFile
from backburner_worker.model_fetch.source import ModelSource


class FolderSource(ModelSource):
    """The files of a folder and of those in it. Links to files are followed, those to folders are not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def files(self) -> list[ModelFile]:
        """What the folder holds now."""
        return await asyncio.to_thread(self._files)

    async def read(self, file: ModelFile, start: int, length: int) -> memoryview:
        """That part of the file, as long as it was not replaced."""
        return await asyncio.to_thread(self._read, file, start, length)

    async def close(self) -> None:
        """Nothing is kept open."""

    def _files(self) -> list[ModelFile]:
        if not self._folder.is_dir():
            raise ModelSourceRefused(
                f"BACKBURNER_MODEL_SOURCE: {self._folder} is no folder here; mount it, or correct it"
            )
        found: list[ModelFile] = []
        try:
            for folder, _, names in os.walk(self._folder, onerror=_raise):
                for name in names:
                    path = Path(folder, name)
                    state = path.stat()
                    found.append(ModelFile(path.relative_to(self._folder).as_posix(), state.st_size, _tag(state)))
                if len(found) > MAX_FILES:
                    break
        except OSError as error:
            raise _failed(error) from error
        return found

    def _read(self, file: ModelFile, start: int, length: int) -> memoryview:
        try:
            with (self._folder / file.name).open("rb", buffering=0) as opened:
                if _tag(os.fstat(opened.fileno())) != file.tag:
                    raise ModelSourceUnavailable(
                        f"{self._folder / file.name} was replaced while it was read; start again"
                    )
                opened.seek(start)
                data = bytearray(length)
                view, read = memoryview(data), 0
                while read < length and (got := opened.readinto(view[read:])):
                    read += got
                return view[:read]
        except OSError as error:
            raise _failed(error) from error


def _tag(state: os.stat_result) -> str:
    return f"{state.st_ino:x}-{state.st_mtime_ns:x}-{state.st_size:x}"


def _raise(error: OSError) -> None:
    raise error


def _failed(error: OSError) -> ModelSourceRefused | ModelSourceUnavailable:
    said = f"BACKBURNER_MODEL_SOURCE: {error.filename}: {error.strerror}"
    if isinstance(error, (PermissionError, FileNotFoundError)):
        return ModelSourceRefused(f"{said}; correct the folder's contents, owner or mode")
    return ModelSourceUnavailable(f"{said}; check the volume that it is on")
