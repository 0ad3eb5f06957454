"""Makes a job whose input lies in the store, for a dispatcher to send."""

from pathlib import Path

from backburner.jobs.named import note_named
from backburner.storage import Storage
from backburner.submission.manifest import create_manifest
from backburner_schemas import keys
from backburner_schemas.errors import JobConflict
from backburner_schemas.job import JobManifest


async def create_stored_job(storage: Storage, manifest: JobManifest, source: Path | None = None) -> bool:
    """Write the job's objects, its input from the `source` that is given, unless it lies in the store already.

    Returns whether the job was made now; False if this very one was there already.

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
    if source is not None and (is_new or await storage.modified(manifest.stored.key) is None):
        # Behind the manifest: who loses the id to another input must not touch what lies there.
        await storage.put(manifest.stored.key, source)
    if await storage.modified(keys.sealed(*names)) is None:
        await storage.put(keys.pending(*names), b"")
    await note_named(storage, stored)
    return is_new
