"""Makes a job whose input lies in the store already, for a dispatcher to send."""

from backburner.jobs.named import note_named
from backburner.storage import Storage
from backburner.submission.manifest import create_manifest
from backburner_schemas import keys
from backburner_schemas.errors import JobConflict
from backburner_schemas.job import JobManifest


async def create_stored_job(storage: Storage, manifest: JobManifest) -> bool:
    """Write the job's objects. Returns whether it was made now; False if this very job was there already.

    Each step may be repeated after a crash. Raises `JobConflict` if the id belongs to another job, `ValueError` for a
    manifest without an input of its own tenant, and `StoreError`.
    """
    names = manifest.tenant, manifest.id
    if manifest.stored is None or not keys.is_input_of(manifest.stored.key, *names):
        raise ValueError("a stored job needs an input that is its own, or a file of its tenant")
    if await storage.modified(keys.summary(*names)) is not None:
        raise JobConflict(f"job {manifest.id} has ended; choose another job id")
    # The marker first: a job that nobody lists as open would never be frozen.
    await storage.put(keys.open_job(*names), b"")
    stored, is_new = await create_manifest(storage, manifest)
    if stored.stored != manifest.stored:
        raise JobConflict(f"job {manifest.id} was made from another input; choose another job id")
    if await storage.modified(keys.sealed(*names)) is None:
        await storage.put(keys.pending(*names), b"")
    await note_named(storage, stored)
    return is_new
