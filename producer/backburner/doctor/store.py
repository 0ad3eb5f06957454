"""What is right and wrong with the object store: it is tried, below a key of the doctor's own, which is removed."""

import asyncio
import secrets
from collections.abc import AsyncGenerator

from backburner.doctor.finding import Finding, ok, warning, wrong
from backburner.storage import Storage
from backburner.storage.clock import MAX_OFFSET_SECONDS
from backburner_schemas import keys
from backburner_schemas.errors import StoreError

_RACERS_COUNT = 8
_NOTICEABLE_SECONDS = 5.0
"""An offset of the clocks that is worth a word: NTP keeps it below a tenth of a second."""


async def examine_store(storage: Storage) -> AsyncGenerator[Finding]:
    """Findings about reads, conditional writes, listings, deletes and the clock.

    Raises `StoreError` where none answers.
    """
    key, refused = keys.trial(secrets.token_hex(8)), None
    try:
        async for finding in _tried(storage, key):
            yield finding
    finally:
        # What is raised above says more than that the trial cannot be removed either.
        try:
            await storage.delete([key])
        except StoreError as error:
            refused = error
    if refused is not None:
        message = refused.message.partition("; ")[0]
        yield wrong(
            "store",
            f"an object that was written cannot be removed: {message}",
            "grant deletes below the root, as docs/stores.md has it",
        )
    async for finding in _clock(storage):
        yield finding


async def _tried(storage: Storage, key: str) -> AsyncGenerator[Finding]:
    # All at once: a store that only looks before it writes lets several of them win.
    won = sum(await asyncio.gather(*(storage.create(key, b"%d" % racer) for racer in range(_RACERS_COUNT))))
    stored = await storage.get(key)
    if stored is None:
        yield wrong(
            "store", "an object that was written is not there when it is read", "use a store whose reads see all writes"
        )
        return
    if await storage.create(key, b"again"):
        won += 1
    if won > 1:
        yield wrong(
            "store",
            f"{won} of {_RACERS_COUNT + 1} writers made the same object: If-None-Match does not hold",
            "use a store with conditional writes, such as S3, Google Cloud Storage, Azure, MinIO or SeaweedFS",
        )
    replaced = await storage.replace(key, b"replaced", stored.etag)
    stale = await storage.replace(key, b"stale", stored.etag)
    if not replaced or stale:
        yield wrong(
            "store",
            "an object is replaced by whoever has an old tag of it: If-Match does not hold",
            "use a store with conditional writes, such as S3, Google Cloud Storage, Azure, MinIO or SeaweedFS",
        )
    listed = [one.key async for one in storage.scan(keys.TRIALS)]
    if key not in listed:
        yield wrong(
            "store", "an object that was written is not in the listing", "use a store whose listings see all writes"
        )
    if won <= 1 and replaced and not stale and key in listed:
        yield ok("store", "reads, writes on condition and listings do what they have to")


async def _clock(storage: Storage) -> AsyncGenerator[Finding]:
    try:
        clock = await storage.measure_clock(anew=True)
    except StoreError as error:
        yield warning("clock", f"the store's clock could not be measured: {error.message}", "run this again")
        return
    offset = clock.offset_seconds
    if offset is None:
        yield warning(
            "clock",
            "the store's clock cannot be measured from here, so nothing is ended or expired by time from here",
            f"allow writing below {keys.CLOCK}, or leave that to the workers",
        )
    elif (reason := clock.off_reason()) is not None:
        message, _, remedy = reason.partition("; ")
        yield wrong("clock", message, remedy)
    elif abs(offset) > _NOTICEABLE_SECONDS:
        yield warning(
            "clock",
            f"this machine's clock is {abs(offset):.0f} s {'behind' if offset > 0 else 'ahead of'} the store's",
            f"set it by NTP: from {MAX_OFFSET_SECONDS:.0f} s on nothing is ended or expired from here",
        )
    else:
        yield ok("clock", f"within {max(abs(offset), clock.error_seconds):.0f} s of the store's")
