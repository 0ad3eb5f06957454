"""A model in an object store: `s3://`, `gs://` and `az://`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from backburner.settings import Settings
from backburner.storage import Storage
from backburner_schemas.errors import ModelSourceRefused, ModelSourceUnavailable, SettingsError, StoreError
from backburner_worker.model_fetch.checksums import MAX_FILES
from backburner_worker.model_fetch.model_file import ModelFile
from backburner_worker.model_fetch.source import ModelSource


class StoreSource(ModelSource):
    """The objects below a prefix."""

    def __init__(self, storage: Storage, url: str) -> None:
        """`storage` has the model's folder as its root; `url` is what errors call it."""
        self._storage = storage
        self._url = url

    @classmethod
    def open(cls, settings: Settings, url: str, endpoint: str | None) -> "StoreSource":
        """The folder of that URL, at that address where it is S3's. Raises `SettingsError`."""
        own = settings.model_copy(update={"store_url": url, "store_endpoint": endpoint})
        try:
            return cls(Storage.open(own), url)
        except SettingsError as error:
            raise SettingsError(f"BACKBURNER_MODEL_SOURCE: {error.message}") from error

    async def files(self) -> list[ModelFile]:
        """The objects, but for the empty ones that stand for folders."""
        found: list[ModelFile] = []
        async with self._named():
            async for one in self._storage.scan(""):
                if one.size or not one.key.endswith("/"):
                    found.append(ModelFile(one.key, one.size, one.etag))
                if len(found) > MAX_FILES:
                    break
        return found

    async def read(self, file: ModelFile, start: int, length: int) -> memoryview:
        """That part of the object, as long as it was not replaced."""
        async with self._named():
            return await self._storage.part(file.name, start, length, file.tag)

    async def close(self) -> None:
        """Nothing is kept open."""

    @asynccontextmanager
    async def _named(self) -> AsyncIterator[None]:
        try:
            yield
        except StoreError as error:
            kind = ModelSourceUnavailable if error.retryable else ModelSourceRefused
            raise kind(f"BACKBURNER_MODEL_SOURCE {self._url}: {error.message}") from error
