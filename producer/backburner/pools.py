"""Which pools there are and who works in them, read from the object store. Registers pools; creates no topics."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from backburner.logs import get_logger
from backburner.storage import Storage, Stored
from backburner.storage.errors import ObjectTooLarge
from backburner.storage.parse import parse_stored
from backburner_schemas import keys
from backburner_schemas.errors import (
    ModelNotFound,
    PoolConflict,
    PoolError,
    PoolNotFound,
    StoredObjectBroken,
    StoreError,
)
from backburner_schemas.pool import MAX_ALIASES, PoolManifest, WorkerAnnouncement
from backburner_schemas.routing import Routes, is_pool_name, pool_name

LIVE_SECONDS = 120.0
"""A worker that has not renewed its announcement for this long counts as gone; they renew each minute or more often."""
_REFRESH_SECONDS = 5.0
"""Pools are read anew this often at most: a file of a million lines of unknown models must not list a million times."""
NONE_YET_SECONDS = 0.5
"""For how long it is believed that there is no pool at all: whoever has just made the first one asks for it at once."""
_MAX_CONCURRENT_READS = 16
_MAX_NAMED_MODELS = 3
"""Models that an error names one by one."""
_MAX_CHANGES = 8
"""Times that a pool's registration is read and changed anew, where others change it at the same time."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A pool and the workers that are alive in it."""

    manifest: PoolManifest
    """How it is registered."""
    workers: tuple[WorkerAnnouncement, ...] = ()
    """The workers that have renewed their announcement within the last two minutes."""

    @property
    def pool(self) -> str:
        """The pool's name, as topics and queues carry it."""
        return self.manifest.pool

    @property
    def model(self) -> str:
        """Served name of the base model."""
        return self.manifest.model

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the LoRA adapters that its workers serve, in order."""
        return tuple(sorted({adapter for worker in self.workers for adapter in worker.adapters}))

    @property
    def aliases(self) -> tuple[str, ...]:
        """Other names of the base model, in order."""
        return self.manifest.aliases

    @property
    def live(self) -> bool:
        """Whether a worker is alive in it."""
        return bool(self.workers)


class PoolDirectory:
    """The pools, read once and again when a model is not among them, or when the answer hangs on who is alive."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._pools: dict[str, PoolStatus] = {}
        self._routes = Routes()
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def read(self) -> list[PoolStatus]:
        """Every pool with its live workers, by name. Raises `StoreError`."""
        async with self._reading:
            return await self._read()

    async def pool_for(self, model: str) -> str:
        """The pool that serves the model. Raises a `PoolNotFound` that lists the models that have one."""
        await self._read_first()
        try:
            return self._routes.pool_for(model)
        except PoolNotFound:
            await self._refresh()
            return self._routes.pool_for(model)

    async def check_pool(self, pool: str) -> str:
        """The pool of that name, which is its slug or served name. Raises `PoolNotFound`."""
        await self._read_first()
        try:
            return self._routes.check_pool(pool)
        except PoolNotFound:
            await self._refresh()
            return self._routes.check_pool(pool)

    async def default_model(self, pool: str | None) -> str:
        """The model for a request that names none: that pool's, else that of the only pool with workers, or at all.

        Where the store cannot be read, it is by what was known. Raises `PoolNotFound` if there is no such pool, or none
        at all, `PoolError` if there is a choice, and `StoreError` where nothing was known.
        """
        if pool is not None:
            name = await self.check_pool(pool)
            return self._pools[name].model
        await self._read_first()
        # Where there are several, which of them has workers changes while the process lives.
        if len(self._pools) != 1:
            try:
                await self._refresh()
            except StoreError:
                if len(self._candidates()) != 1:
                    raise
        found = sorted(status.model for status in self._candidates())
        if not found:
            raise PoolNotFound("there is no pool yet; make one with `backburner topics ensure --pool MODEL`")
        if len(found) > 1:
            raise PoolError(
                f"name a model, for there are several: {', '.join(found)}; or set BACKBURNER_POOL to the pool of one",
                param="model",
            )
        return found[0]

    def _candidates(self) -> list[PoolStatus]:
        """The pools that have workers; where none has any, all of them."""
        return [status for status in self._pools.values() if status.live] or list(self._pools.values())

    def warnings(self, pools: set[str]) -> list[str]:
        """One line for each of these pools that nobody works in."""
        return [
            f"pool {pool} has no live worker; its requests wait on the queue until one comes"
            for pool in sorted(pools)
            if pool in self._pools and not self._pools[pool].live
        ]

    async def check_served(self, pool: str, models: Collection[str]) -> None:
        """Raise `ModelNotFound` if the pool has live workers, and none of them serves some of these models.

        By what was known, where the store cannot be read.
        """
        if self._missing(pool, models):
            # A worker that serves them may have come since, or an alias.
            with suppress(StoreError):
                await self._refresh()
        if not (missing := self._missing(pool, models)):
            return
        names = ", ".join(map(repr, missing[:_MAX_NAMED_MODELS]))
        more = f" and {len(missing) - _MAX_NAMED_MODELS:,} more" if len(missing) > _MAX_NAMED_MODELS else ""
        model = self._pools[pool].model
        raise ModelNotFound(
            f"no worker of pool {pool} serves {names}{more}; pass --model {model} (model= in Python) to have that one "
            f"answer, or make the name its alias with `backburner pools alias {pool} NAME`",
            param="model",
        )

    def _missing(self, pool: str, models: Collection[str]) -> list[str]:
        if pool not in self._pools:
            return []
        status = self._pools[pool]
        served = {name for worker in status.workers for name in (*worker.models, *worker.adapters)}
        return sorted({*models} - served - {*status.aliases}) if served else []

    async def register(self, model: str) -> PoolManifest:
        """Register the pool of a base model, or find it registered. Raises `PoolConflict` and `StoreError`."""
        name = pool_name(model)
        async with self._reading:
            await self._read()
            self._routes.check_new(model)
            manifest = PoolManifest(pool=name, model=model, created_at=await self._storage.time())
            if not await self._storage.create(keys.pool(name), manifest.model_dump_json().encode()):
                stored = await self._storage.get(keys.pool(name))
                if stored is not None:
                    manifest = _manifest(name, stored.data)
            if manifest.model != model:
                raise PoolConflict(
                    f"the pool {name!r} belongs to the model {manifest.model!r}; serve {model!r} by another name"
                )
            await self._read()
        return manifest

    async def add_aliases(self, pool: str, aliases: Iterable[str]) -> PoolManifest:
        """Have the pool's model answer to these names too. Those that it has already are passed over.

        `pool` is its slug or served name. Returns how it is registered then. Raises `PoolNotFound`, `PoolConflict` for
        a name that it cannot have, and `StoreError`.
        """

        def more(known: PoolManifest) -> tuple[str, ...]:
            names = tuple(dict.fromkeys((*known.aliases, *aliases)))
            for alias in names[len(known.aliases) :]:
                self._routes.check_alias(known.pool, alias)
            if len(names) > MAX_ALIASES:
                raise PoolConflict(
                    f"the pool {known.pool} would have more than {MAX_ALIASES} aliases; remove some first"
                )
            return names

        aliases = tuple(aliases)
        return await self._change_aliases(pool, more)

    async def remove_aliases(self, pool: str, aliases: Iterable[str]) -> PoolManifest:
        """Have the pool's model answer to these names no more.

        Returns how it is registered then. Raises `PoolNotFound`, `PoolError` for a name that is no alias of it, and
        `StoreError`.
        """

        def fewer(known: PoolManifest) -> tuple[str, ...]:
            for alias in gone:
                if alias not in known.aliases:
                    there = ", ".join(known.aliases) or "none"
                    raise PoolError(f"the pool {known.pool} has no alias {alias!r}; it has {there}")
            return tuple(alias for alias in known.aliases if alias not in gone)

        gone = tuple(aliases)
        return await self._change_aliases(pool, fewer)

    async def _change_aliases(self, pool: str, change: Callable[[PoolManifest], tuple[str, ...]]) -> PoolManifest:
        async with self._reading:
            for _ in range(_MAX_CHANGES):
                await self._read()
                name = self._routes.check_pool(pool)
                stored = await self._storage.get(keys.pool(name))
                if stored is None:
                    continue
                known = _manifest(name, stored.data)
                changed = known.model_copy(update={"aliases": change(known)})
                if changed == known or await self._storage.replace(
                    keys.pool(name), changed.model_dump_json().encode(), stored.etag
                ):
                    await self._read()
                    return changed
        raise PoolConflict(
            f"the pool {pool} is being changed by others; look at it with `backburner pools`, and repeat"
        )

    async def remove(self, pool: str) -> PoolManifest:
        """Remove a pool and what its workers left, by its slug or served name; a broken one by its slug alone.

        Routes that others have read stay with them. A worker that is still loading has not announced itself and is not
        seen. Returns how it was registered; of a broken one, the model is empty and `created_at` is when it was
        written. Raises `PoolNotFound`, `PoolConflict` if a worker lives or may live, for what it wrote of itself cannot
        be read, and `StoreError`.
        """
        async with self._reading:
            await self._read()
            removed = await self._registered(pool)
            name = removed.pool
            await self._check_that_nobody_works_in(name)
            # Readers route nobody to a pool without its manifest, and pass over what is left where this breaks off.
            await self._storage.delete([keys.pool(name)])
            await self._storage.delete_all(keys.workers(name))
            await self._read()
        return removed

    async def _check_that_nobody_works_in(self, pool: str) -> None:
        """Raise `PoolConflict` if a worker of it lives, or may. By the store's clock: ours or a worker's may be off."""
        now = await self._store_time(pool)
        live, unreadable = [], []
        for key, stored in (await self._fetch(keys.workers(pool))).items():
            worker = _announcement(key, stored.data)
            if worker is None:
                unreadable.append(key)
            elif not worker.left and now - stored.modified < LIVE_SECONDS:
                live.append(worker.worker)
        if live:
            raise PoolConflict(
                f"the pool {pool} has live workers: {', '.join(live)}; stop them, and remove it when they are gone"
            )
        if unreadable:
            raise PoolConflict(
                f"a worker of the pool {pool} may live, for what it wrote cannot be read: {', '.join(unreadable)}; "
                "stop that worker, delete the object, and remove the pool then"
            )

    async def _store_time(self, pool: str) -> float:
        """Unix seconds by the store's clock, which dates what is written: the pool's manifest, as it was."""
        key = keys.pool(pool)
        stored = await self._storage.get(key)
        if stored is not None and await self._storage.replace(key, stored.data, stored.etag):
            written_at = await self._storage.modified(key)
            if written_at is not None:
                return written_at
        raise PoolConflict(f"the pool {pool} was changed or removed meanwhile; look at it with `backburner pools`")

    async def _registered(self, pool: str) -> PoolManifest:
        """How the pool is registered, as far as that can be read. Raises `PoolNotFound`."""
        try:
            return self._pools[self._routes.check_pool(pool)].manifest
        except PoolNotFound:
            written_at = await self._storage.modified(keys.pool(pool)) if is_pool_name(pool) else None
            if written_at is None:
                raise
            return PoolManifest(pool=pool, model="", created_at=written_at)

    async def _read_first(self) -> None:
        async with self._reading:
            if self._read_at is None:
                await self._read()

    async def _refresh(self) -> None:
        async with self._reading:
            fresh_seconds = _REFRESH_SECONDS if self._pools else NONE_YET_SECONDS
            if self._read_at is None or time.monotonic() - self._read_at > fresh_seconds:
                await self._read()

    async def _read(self) -> list[PoolStatus]:
        manifests: dict[str, PoolManifest] = {}
        workers: list[WorkerAnnouncement] = []
        for key, stored in (await self._fetch(keys.POOLS)).items():
            if (name := keys.pool_of(key)) is not None:
                try:
                    manifests[name] = _manifest(name, stored.data)
                except StoredObjectBroken as error:
                    # One pool's failure does not affect the others.
                    log.warning("reading a pool failed; skipping it", error=error.message)
            elif (worker := _announcement(key, stored.data)) is not None:
                workers.append(worker)
        now = self._storage.clock.now()
        if not all(0 <= now - one.seen_at < LIVE_SECONDS for one in workers if not one.left):
            # Somebody has gone, or is on another clock.
            now = await self._storage.time()
        self._pools = {
            name: PoolStatus(
                manifest,
                tuple(one for one in workers if one.pool == name and not one.left and now - one.seen_at < LIVE_SECONDS),
            )
            for name, manifest in sorted(manifests.items())
        }
        self._routes = Routes(
            bases={manifest.model: name for name, manifest in manifests.items()},
            adapters=_adapters(self._pools, workers),
            # Two pools that were given one at the same time: the first by name, for every client alike.
            aliases={alias: name for name in sorted(manifests, reverse=True) for alias in manifests[name].aliases},
        )
        self._read_at = time.monotonic()
        return list(self._pools.values())

    async def _fetch(self, prefix: str) -> dict[str, Stored]:
        """What is stored below the prefix, but for what goes meanwhile."""
        found = [one.key async for one in self._storage.scan(prefix) if one.key.endswith(".json")]
        places = asyncio.Semaphore(_MAX_CONCURRENT_READS)

        async def get(key: str) -> Stored | None:
            async with places:
                try:
                    return await self._storage.get(key)
                except ObjectTooLarge as error:
                    # Nobody's pool, and whoever reads it says so.
                    log.warning("reading a pool failed; skipping it", error=error.message)
                    return Stored(b"", None, 0.0)

        stored = await asyncio.gather(*(get(key) for key in found))
        return {key: one for key, one in zip(found, stored, strict=True) if one is not None}


def _manifest(name: str, body: bytes) -> PoolManifest:
    """The manifest of the pool that its key names. Raises `StoredObjectBroken`, also if it names another."""
    key = keys.pool(name)
    manifest = parse_stored(PoolManifest, key, body)
    if manifest.pool != name:
        raise StoredObjectBroken(
            f"the object {key} is the manifest of another pool, {manifest.pool!r}; "
            f"remove it with `backburner pools remove {name}`, and register the pool again"
        )
    return manifest


def _adapters(pools: Mapping[str, PoolStatus], workers: Sequence[WorkerAnnouncement]) -> dict[str, str]:
    """Which pool takes which adapter.

    Of a pool whose workers are all gone, those that they had count: their adapters come back with them. An adapter that
    was moved belongs to the pool that announced it last, unless a live worker announces another.
    """
    known = [one for one in workers if one.pool in pools]
    gone = [one for one in known if not pools[one.pool].live]
    live = [one for pool in pools.values() for one in pool.workers]
    order = [*sorted(gone, key=lambda one: one.seen_at), *sorted(live, key=lambda one: one.seen_at)]
    return {adapter: one.pool for one in order for adapter in one.adapters}


def _announcement(key: str, body: bytes) -> WorkerAnnouncement | None:
    """None for what another version wrote. Where requests are routed, that only causes an unnecessary warning."""
    try:
        return parse_stored(WorkerAnnouncement, key, body)
    except StoredObjectBroken:
        return None
