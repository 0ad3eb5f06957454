"""Finds dead letters in the store, reads them a few at a time, and removes them. It sends nothing."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace

from backburner.dead_letters.letter import DeadLetter, DeadLetterRef, broken_letter, read_letter
from backburner.jobs.answered import Answered
from backburner.logs import get_logger
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import JobError, LetterNotFound
from backburner_schemas.names import is_name

_MAX_BATCH_LETTERS = 64
"""Letters that are read concurrently, and handed on together."""
_MAX_BATCH_BYTES = 8 << 20
_OVERHEAD_BYTES = 1 << 20
"""Bytes that a letter may have beside its message."""
_MAX_BATCH_REMOVALS = 500

log = get_logger(__name__)


class DeadLetterStore:
    """The dead letters of a tenant, and those that belong to no tenant. Every method raises `StoreError`."""

    def __init__(self, storage: Storage, tenant: str, *, max_body_bytes: int) -> None:
        self._storage = storage
        self._tenant = tenant
        # A raw message is written in base64, which takes a third more.
        self._max_bytes = 2 * max_body_bytes + _OVERHEAD_BYTES

    async def jobs(self) -> list[str]:
        """The jobs that have letters, by name."""
        found = await self._storage.folders(keys.dead_letters(self._tenant))
        return [job for job in found if is_name(job)]

    async def letters(
        self, job: str | None = None, *, stale: bool = False, unaddressed: bool = False
    ) -> AsyncGenerator[DeadLetter]:
        """The letters one by one, with the stale ones only if asked for. See `Client.dead_letters`."""
        if not unaddressed:
            await self._warn_broken_off(job)
        async with aclosing(self._read(keys.DEAD) if unaddressed else self.batches(job)) as batches:
            async for batch in batches:
                for letter in batch:
                    if stale or not letter.stale:
                        yield letter

    async def batches(self, job: str | None = None) -> AsyncGenerator[list[DeadLetter]]:
        """The letters, of one job or of all, some at a time: by job, and within a job in the order of their keys.

        Each is marked if it is stale.
        """
        answered = Answered(self._storage)
        async with aclosing(self._read(keys.dead_letters(self._tenant, job))) as found:
            async for batch in found:
                yield await asyncio.gather(*(_marked(letter, answered) for letter in batch))

    async def one(self, id: str) -> DeadLetter:  # noqa: A002 - the word that users know it by
        """The letter of that id. Raises `LetterNotFound`, and `JobError` for what cannot be an id."""
        ref = DeadLetterRef.parse(id, self._tenant)
        found = await self._fetch(ref)
        if found is None:
            raise LetterNotFound(f"there is no dead letter {id}; `backburner dlq list` lists those that exist")
        return await _marked(found, Answered(self._storage))

    async def purge(
        self,
        *,
        job: str | None = None,
        id: str | None = None,  # noqa: A002 - the word that users know it by
        everything: bool = False,
        unaddressed: bool = False,
    ) -> int:
        """Remove letters for good, and what a redrive of them has under way. Returns how many letters there were.

        Raises `JobError` unless exactly one of the four is given, and `LetterNotFound` for an id without a letter.
        """
        check_one({"job": job, "id": id, "all": everything, "unaddressed": unaddressed})
        if id is not None:
            ref = DeadLetterRef.parse(id, self._tenant)
            if await self._storage.modified(ref.key) is None:
                raise LetterNotFound(f"there is no dead letter {id}; `backburner dlq list` lists those that exist")
            await self._storage.delete([ref.key])
            return 1
        if unaddressed:
            return await self._storage.delete_all(keys.DEAD)
        removed = await self._storage.delete_all(keys.dead_letters(self._tenant, job))
        await self._storage.delete_all(keys.redrives(self._tenant, job))
        return removed

    async def remove(self, refs: Iterable[DeadLetterRef]) -> None:
        """Remove these letters, and the marks of those that were suspects."""
        batch: list[str] = []
        for ref in refs:
            batch.append(ref.key)
            if ref.tenant is not None and ref.job is not None and ref.index is not None:
                batch.append(keys.suspect(ref.tenant, ref.job, ref.index))
            if len(batch) >= _MAX_BATCH_REMOVALS:
                await self._storage.delete(batch)
                batch = []
        await self._storage.delete(batch)

    async def broken_off(self, job: str | None = None) -> list[str]:
        """The jobs whose redrive was broken off, or is under way."""
        jobs = [job] if job is not None else await self._storage.folders(keys.redrives(self._tenant))
        # A store on a file system may go on listing a folder whose last object is gone.
        return [name for name in jobs if is_name(name) and await self._any(keys.redrives(self._tenant, name))]

    async def _any(self, prefix: str) -> bool:
        async for _ in self._storage.scan(prefix):
            return True
        return False

    async def _warn_broken_off(self, job: str | None) -> None:
        """Log a warning for each of them: its letters may have been moved aside."""
        for name in await self.broken_off(job):
            log.warning(
                "redrive is under way or was broken off; `backburner dlq redrive --job JOB` completes it", job=name
            )

    async def _read(self, prefix: str) -> AsyncGenerator[list[DeadLetter]]:
        passed_over = 0
        batch: list[DeadLetterRef] = []
        size = 0
        async for one in self._storage.scan(prefix):
            ref = DeadLetterRef.of(one.key)
            if ref is None:
                passed_over += 1
                continue
            batch.append(ref)
            size += min(one.size, self._max_bytes)
            if len(batch) >= _MAX_BATCH_LETTERS or size >= _MAX_BATCH_BYTES:
                yield await self._fetch_all(batch)
                batch, size = [], 0
        if batch:
            yield await self._fetch_all(batch)
        if passed_over:
            log.warning("objects are not dead letters; skipping them", prefix=prefix, count=passed_over)

    async def _fetch_all(self, refs: list[DeadLetterRef]) -> list[DeadLetter]:
        found = await asyncio.gather(*(self._fetch(ref) for ref in refs))
        # None where somebody else has removed it meanwhile.
        return [letter for letter in found if letter is not None]

    async def _fetch(self, ref: DeadLetterRef) -> DeadLetter | None:
        data = await self._storage.head(ref.key, self._max_bytes + 1)
        if data is None:
            return None
        if len(data) > self._max_bytes:
            return broken_letter(ref, f"it has more than {self._max_bytes:,} bytes")
        return read_letter(ref, data)


def check_one(given: dict[str, object]) -> None:
    """Raise `JobError` unless exactly one of these was given."""
    names = [name for name, value in given.items() if value not in {None, False}]
    if len(names) != 1:
        listed = ", ".join(given)
        raise JobError(f"choose dead letters by exactly one of {listed}; {len(names)} were given")


async def _marked(letter: DeadLetter, answered: Answered) -> DeadLetter:
    if letter.problem is not None or letter.envelope is None or not await answered.has(letter.envelope):
        return letter
    return replace(letter, stale=True)
