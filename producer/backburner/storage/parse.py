"""Stored JSON objects: the one door by which they are read, bounded, and parsed. An error names the object's key.

Whoever may write below one tenant may have put anything there: it is told to those who ask for it, and hurts no other.
"""

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from backburner.storage.storage import MAX_DOCUMENT_BYTES, Storage
from backburner_schemas import keys
from backburner_schemas.errors import BodyTooComplex, StoredObjectBroken, cut
from backburner_schemas.job import JobManifest
from backburner_schemas.request import check_parsed_size

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_LISTS_BYTES = 32 * 1024 * 1024
"""Of an object that lists what belongs to a job: a summary of a million segments has more, and no job has so many."""
_SLOW_BYTES = 256 * 1024
"""What is larger is parsed in a thread, so that the event loop serves others meanwhile."""
_MAX_SHOWN_BYTES = 300
_MAX_FAULTS_COUNT = 100


async def read_stored(
    storage: Storage, model: type[ModelT], key: str, *, max_bytes: int = MAX_DOCUMENT_BYTES
) -> ModelT | None:
    """The object at that key; None if there is none.

    Raises `StoredObjectBroken` if it is larger than so many bytes or does not fit that model, and `StoreError`.
    """
    stored = await storage.get(key, max_bytes=max_bytes)
    if stored is None:
        return None
    if len(stored.data) > _SLOW_BYTES:
        return await asyncio.to_thread(parse_stored, model, key, stored.data)
    return parse_stored(model, key, stored.data)


async def read_manifest(storage: Storage, tenant: str, job: str) -> JobManifest | None:
    """The manifest of that job; None if there is none.

    Raises `StoredObjectBroken` also where it is another job's: whoever may write below one tenant would otherwise have
    another's jobs ended, read or sent by what reads it. Raises `StoreError`.
    """
    key = keys.manifest(tenant, job)
    manifest = await read_stored(storage, JobManifest, key)
    if manifest is not None and (manifest.tenant, manifest.id) != (tenant, job):
        raise StoredObjectBroken(
            f"the object {key} is the manifest of another job; find out what wrote it, and restore or remove it"
        )
    return manifest


def parse_stored(model: type[ModelT], key: str, data: bytes) -> ModelT:
    """The object at that key. Raises `StoredObjectBroken` if its bytes do not fit that model."""
    try:
        check_parsed_size(data, len(data))
        return model.model_validate_json(data)
    except (ValidationError, RecursionError, OverflowError, BodyTooComplex) as error:
        raise StoredObjectBroken(
            f"the object {key} cannot be read as {model.__name__} ({_first_fault(error)}); "
            "find out what wrote it, and restore or remove it"
        ) from error


def _first_fault(error: Exception) -> str:
    """What does not fit, without the value that was found."""
    if isinstance(error, BodyTooComplex):
        return "it has too many objects, lists and items"
    if not isinstance(error, ValidationError):
        return type(error).__name__
    if error.error_count() > _MAX_FAULTS_COUNT:
        return f"{error.error_count():,} faults"  # To have one of them, each would become an object of its own.
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return cut(f"{place}: {first['msg']}" if place else first["msg"], _MAX_SHOWN_BYTES)
