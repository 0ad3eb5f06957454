"""Reads from the object store how much of a tenant waits and how much it keeps."""

import asyncio

from backburner.gateway.limits.levels import Amount, Level, level_of, unanswered
from backburner.gateway.limits.remembered_levels import MAX_TENANTS
from backburner.runtime.together import all_of
from backburner.storage import Storage
from backburner.storage.parse import read_manifest, read_stored
from backburner_schemas import keys
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.job import Cursor, JobManifest
from backburner_schemas.keys import SegmentName

_MAX_CONCURRENT_READS = 16


class LevelReader:
    """Reads levels; it remembers what cannot change. Every method raises `StoreError`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._manifests: dict[str, dict[str, JobManifest]] = {}
        """Of open jobs, by tenant and job; of the tenants that were read last."""

    async def waiting(self, tenant: str) -> Level:
        """What waits of a tenant: two requests a job that has not ended, and a listing."""
        prefix = keys.open_job(tenant, "")
        names = [one.key.removeprefix(prefix) async for one in self._storage.scan(prefix)]
        before = self._manifests.pop(tenant, {})
        known = {name: before[name] for name in names if name in before}
        # Of this tenant alone: in a line for all, one with very many jobs would keep the others' from being read.
        places = asyncio.Semaphore(_MAX_CONCURRENT_READS)
        try:
            found = await all_of(self._job(tenant, name, places, known) for name in names)
        finally:
            self._remember(tenant, known)
        return level_of(one for one in found if one is not None)

    async def stored(self, tenant: str) -> Level:
        """Bytes of all files and parts of files that a tenant keeps: two listings."""
        total = 0
        for prefix in (keys.contents(tenant), keys.uploads(tenant)):
            async for one in self._storage.scan(prefix):
                total += one.size
        return Level(Amount(stored_bytes=total))

    def _remember(self, tenant: str, known: dict[str, JobManifest]) -> None:
        if known:
            self._manifests[tenant] = known
        while len(self._manifests) > MAX_TENANTS:
            del self._manifests[next(iter(self._manifests))]

    async def _job(
        self, tenant: str, name: str, places: asyncio.Semaphore, known: dict[str, JobManifest]
    ) -> tuple[str | None, Amount] | None:
        async with places:
            try:
                manifest = await self._manifest(tenant, name, known)
                if manifest is None:
                    return None
                cursor = await read_stored(self._storage, Cursor, keys.cursor(tenant, name))
            except StoredObjectBroken:
                # Others tell of it; here it is a job of nothing.
                return None, Amount(jobs=1)
            answered = 0
            async for one in self._storage.scan(keys.segments(tenant, name)):
                segment = SegmentName.parse(one.key)
                answered += segment.ok + segment.failed if segment is not None else 0
            return manifest.created_by, unanswered(manifest, cursor, answered)

    async def _manifest(self, tenant: str, name: str, known: dict[str, JobManifest]) -> JobManifest | None:
        if name not in known:
            manifest = await read_manifest(self._storage, tenant, name)
            if manifest is None:
                return None
            known[name] = manifest
        return known[name]
