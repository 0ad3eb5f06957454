"""Removes what has expired or was given up: files, uploads, results, keys of calls, and bytes that no file has.

Every replica may run it at the same time: each step is a deletion of what nobody can want any more.
"""

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from contextlib import aclosing

from backburner.gateway.batches.results import BatchResults, ResultFile
from backburner.gateway.files.file_object import is_file_id
from backburner.gateway.files.file_store import FileStore
from backburner.gateway.idempotency import KEPT_SECONDS
from backburner.gateway.uploads.upload_object import LASTS_SECONDS
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import BackburnerError, StoredObjectBroken
from backburner_schemas.names import is_name

_ORPHAN_SECONDS = 2 * KEPT_SECONDS
"""Age at which bytes without a file belong to nobody: longer than a key may still name them."""
_TOGETHER_COUNT = 1000
"""Files that are looked at together: what needs them is read once for all of them."""

log = get_logger(__name__)


class GatewaySweep:
    """Sweeps all tenants on a timer."""

    def __init__(self, storage: Storage, *, seconds: float, now: Callable[[], float] | None = None) -> None:
        """`seconds` between sweeps, about; `now` gives Unix seconds in place of the store's clock."""
        self._storage = storage
        self._seconds = seconds
        # -inf while the clocks do not agree: nothing is old then, and nothing goes.
        self._now = now or storage.clock.trusted_now

    async def run(self) -> None:
        """Sweep until cancelled. What fails is tried again the next time."""
        while True:
            # With jitter, so that replicas share the work.
            await asyncio.sleep(self._seconds * (0.5 + random.random()))  # noqa: S311 - jitter
            try:
                await self.sweep()
            except BackburnerError as error:
                log.warning("the sweep of files failed; trying again at the next one", error=error.message)

    async def sweep(self) -> None:
        """Sweep once: all tenants, also where one of them cannot be swept. Raises `StoreError`."""
        for tenant in await self._storage.folders("tenants/"):
            if not is_name(tenant):
                continue
            for step in (self._expired, self._orphans, self._uploads, self._calls):
                try:
                    await step(tenant)
                except BackburnerError as error:
                    log.warning(
                        "a tenant's files were not swept whole; trying again at the next sweep",
                        tenant=tenant,
                        error=error.message,
                    )

    async def _expired(self, tenant: str) -> None:
        """Remove files and results whose time has come; the entries are in the order of their times."""
        over: dict[str, str] = {}
        async with aclosing(self._storage.scan(keys.expiries(tenant))) as entries:
            async for listed in entries:
                found = keys.expiry_of(listed.key)
                if found is None:
                    continue
                if found[0] > self._now():
                    break
                over[found[1]] = listed.key
                if len(over) == _TOGETHER_COUNT:
                    await self._drop(tenant, over)
                    over = {}
        if over:
            await self._drop(tenant, over)

    async def _drop(self, tenant: str, over: Mapping[str, str]) -> None:
        """Remove these files and results, each with the key of its entry, but for those that are needed."""
        files, results = FileStore(self._storage, tenant), BatchResults(self._storage, tenant)
        needed = await files.drop_unneeded([file_id for file_id in over if is_file_id(file_id)])
        for file_id, key in over.items():
            if file_id in needed:
                continue
            if (result := ResultFile.parse(file_id)) is not None:
                if not await self._are_over(results, result.job):
                    continue
                await results.drop_records(result.job)
            await self._storage.delete([key])
            log.info("file expired", tenant=tenant, file=file_id)

    async def _are_over(self, results: BatchResults, job: str) -> bool:
        try:
            return await results.are_over(job, self._now())
        except StoredObjectBroken as error:
            log.warning("reading a batch failed; its results stay", job=job, error=error.message)
            return False

    async def _orphans(self, tenant: str) -> None:
        """Remove bytes that no file has: of uploads that broke off with their gateway."""
        files, orphans = FileStore(self._storage, tenant), list[str]()
        prefix = keys.contents(tenant)
        async with aclosing(files.ids()) as ids, aclosing(self._storage.scan(prefix)) as contents:
            known = await anext(ids, None)
            async for listed in contents:
                name = listed.key[len(prefix) :]
                while known is not None and known < name:
                    known = await anext(ids, None)
                if known == name or self._now() - listed.modified <= _ORPHAN_SECONDS:
                    continue
                # Asked once more: what is removed here cannot be had back, should a store list in another order.
                if not await files.exists(name):
                    orphans.append(name)
                if len(orphans) == _TOGETHER_COUNT:
                    await self._drop_orphans(tenant, orphans)
                    orphans = []
        if orphans:
            await self._drop_orphans(tenant, orphans)

    async def _drop_orphans(self, tenant: str, names: list[str]) -> None:
        # A file's deletion may have broken off with its gateway in the moment in which a batch was made of it.
        needed = await FileStore(self._storage, tenant).needed(names)
        for name in names:
            if name not in needed:
                await self._storage.delete([keys.content(tenant, name)])
                log.info("bytes without a file removed", tenant=tenant, file=name)

    async def _uploads(self, tenant: str) -> None:
        for upload_id in await self._storage.folders(keys.uploads(tenant)):
            prefix, latest = keys.upload(tenant, upload_id), -math.inf
            async with aclosing(self._storage.scan(prefix)) as parts:
                async for listed in parts:
                    latest = max(latest, listed.modified)
            # None of it is written once the upload has expired.
            if self._now() - latest > 2 * LASTS_SECONDS:
                await self._storage.delete_all(prefix)

    async def _calls(self, tenant: str) -> None:
        await self._storage.delete_all(keys.idempotency_records(tenant), before=self._now() - KEPT_SECONDS)
