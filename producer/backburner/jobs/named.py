"""The list of jobs whose ids do not tell when they were made: those that users chose, or that derive from another's.

An entry is an empty object whose key has time and id, so that one listing tells the order of a thousand jobs. It is
written behind the manifest, whose time is the one that counts. A job of an earlier release, or one whose maker crashed
in between, has none until it is submitted again or listed.
"""

from collections.abc import Collection

from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.job import JobManifest


async def note_named(storage: Storage, manifest: JobManifest) -> None:
    """Enter a job into the list, unless its id tells its time. Safe to repeat. Raises `StoreError`."""
    if keys.job_made_at(manifest.id) is None:
        await storage.put(keys.named_job(manifest.tenant, manifest.id, manifest.created_at), b"")


async def forget_named(storage: Storage, tenant: str, jobs: Collection[str]) -> None:
    """Take these jobs of a tenant off the list, where they are on it. Raises `StoreError`."""
    listed = [one.key async for one in storage.scan(keys.named_jobs(tenant))]
    await storage.delete([key for key in listed if (entry := keys.named_job_of(key)) and entry[0] in jobs])


async def read_named(storage: Storage, tenant: str) -> dict[str, float]:
    """When each job of the list was made, in Unix seconds. Raises `StoreError`."""
    found: dict[str, float] = {}
    async for listed in storage.scan(keys.named_jobs(tenant)):
        entry = keys.named_job_of(listed.key)
        if entry is not None:
            found.setdefault(*entry)
    return found
