"""The names that a worker's model and adapters go by: those of the engine, and the pool's aliases, which may change."""

import asyncio
import math
import time
from collections.abc import Collection

from backburner.logs import get_logger
from backburner.runtime.until_stored import until_stored
from backburner.storage import Storage
from backburner.storage.parse import read_stored
from backburner_schemas import keys
from backburner_schemas.errors import ModelNotFound, StoredObjectBroken
from backburner_schemas.pool import PoolManifest

_PAUSE_SECONDS = 0.2
"""Seconds between two reads for names that are not known: a flood of such requests must not read without end."""
_SHOWN_CHARACTERS = 100

log = get_logger(__name__)


class ModelNames:
    """Resolves what requests call a model. Names that the engine serves come first, and cost a lookup."""

    def __init__(self, storage: Storage, pool: str, model: str, served: Collection[str]) -> None:
        """`model` is what aliases stand for; `served` are all names that the engine itself has."""
        self._storage = storage
        self._key = keys.pool(pool)
        self._model = model
        self._served = frozenset(served)
        self._aliases: frozenset[str] = frozenset()
        self._reading = asyncio.Lock()
        self._begun = 0
        """Reads of the pool's registration that have begun."""
        self._ended = 0
        """The number of the last of them that came to its end: others were given up, as their requests were."""
        self._read_at = -math.inf
        """When the last one began, by the monotonic clock."""

    async def resolve(self, name: str) -> str:
        """The served name. Waits for a store that is away, where a name is not known.

        Raises `ModelNotFound` for a name that neither engine nor pool has, as of now.
        """
        if name in self._served:
            return name
        if name not in self._aliases:
            await self._read_anew()
            if name not in self._aliases:
                served = ", ".join(sorted(self._served | self._aliases))
                raise ModelNotFound(f"this pool serves {served}, not {name[:_SHOWN_CHARACTERS]!r}", param="model")
        return self._model

    async def refresh(self) -> None:
        """Read the aliases as they are now. Raises `StoreError`."""
        async with self._reading:
            await self._read()

    async def _read_anew(self) -> None:
        """Return after a read that began after this was called: an alias may have been made just before the request.

        Those that wait share a read.
        """
        seen = self._begun
        async with self._reading:
            if self._ended > seen:
                return
            await asyncio.sleep(self._read_at + _PAUSE_SECONDS - time.monotonic())
            await until_stored(self._read, "read the pool's aliases")

    async def _read(self) -> None:
        self._begun += 1
        number = self._begun
        self._read_at = time.monotonic()
        try:
            pool = await read_stored(self._storage, PoolManifest, self._key)
        except StoredObjectBroken as error:
            log.warning("reading the pool's aliases failed; going on with those that were known", error=error.message)
        else:
            self._aliases = frozenset(pool.aliases if pool is not None else ())
        self._ended = number
