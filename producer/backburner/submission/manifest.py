"""Creates a job's manifest, which makes it a job."""

from typing import NamedTuple

from backburner.storage import Storage
from backburner.storage.parse import read_manifest
from backburner_schemas import keys
from backburner_schemas.errors import StoreError
from backburner_schemas.job import JobManifest


class Created(NamedTuple):
    """The manifest that counts, and whether it was written now."""

    manifest: JobManifest
    now: bool


async def create_manifest(storage: Storage, manifest: JobManifest) -> Created:
    """Write this one, unless there is one already, which then counts. Raises `StoredObjectBroken` and `StoreError`."""
    names = manifest.tenant, manifest.id
    now = await storage.create(keys.manifest(*names), manifest.model_dump_json().encode())
    counts = manifest if now else await read_manifest(storage, *names)
    if counts is None:
        # A store may refuse one of two that race, and then let neither win.
        raise StoreError(f"the manifest of job {manifest.id} was neither written nor found; try again")
    return Created(counts, now)
