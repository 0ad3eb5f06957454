"""Reads and checks the input of a stored job, and puts its requests in order. A plan is stored once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial

from backburner.dispatcher.spool_room import SpoolRoom
from backburner.inputs.findings import SkippedLine
from backburner.inputs.validation import Checker
from backburner.logs import get_logger
from backburner.ordering.index import OrderIndex
from backburner.ordering.plan import Plan
from backburner.ordering.spool import Spool
from backburner.ordering.survey import survey
from backburner.pools import PoolDirectory
from backburner.runtime.until_stored import until_stored
from backburner.storage import Storage
from backburner_schemas import keys
from backburner_schemas.errors import BackburnerError, InvalidInput, PoolError, PoolNotFound, StoredObjectBroken
from backburner_schemas.job import InputError, JobManifest, StoredInput

_MAX_MESSAGE_CHARACTERS = 1000
_MAX_PARAM_CHARACTERS = 255
_PLAN_BYTES = 64
"""On the disk, of each request of a job: its entry in the plan, and its place while the input is read."""
_MAX_CONCURRENT_PLANS = 4
"""Each takes some 30 MB, and for seconds one of the few threads that turns are read in, too."""

log = get_logger(__name__)


class InputRefused(Exception):
    """The input cannot be sent as it is; its job fails with these errors."""

    def __init__(self, *errors: InputError) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


class Planner:
    """Makes plans, and reads those that are there."""

    def __init__(self, storage: Storage, pools: PoolDirectory, *, room: SpoolRoom, max_bytes: int) -> None:
        """`room` is that on the disk, for all jobs; `max_bytes` is the size of the largest request."""
        self._room = room
        self._storage = storage
        self._pools = pools
        self._max_bytes = max_bytes
        self._places = asyncio.Semaphore(_MAX_CONCURRENT_PLANS)

    async def stored(self, manifest: JobManifest) -> Plan | None:
        """The plan that was made of a job before; None if there is none that can be used. Close it.

        Waits for a store that is away. Raises `InputRefused` if the input is gone or has another size, and `OSError` if
        the plan cannot be kept on this machine's disk.
        """
        key = keys.plan(manifest.tenant, manifest.id)
        return await until_stored(partial(self._stored, key, input_of(manifest)), "read a plan")

    async def _stored(self, key: str, source: StoredInput) -> Plan | None:
        if await self._storage.modified(key) is None:
            return None
        # What a plan may take in memory and on disk is bounded by the size of the input, so that has to be true.
        await self._check_there(source)
        try:
            return await Plan.read(self._storage.stream(key), input_bytes=source.bytes, max_line_bytes=self._max_bytes)
        except StoredObjectBroken as error:
            log.error(  # noqa: TRY400 - the error says what is wrong
                "reading a plan failed; planning the job anew", key=key, error=error.message
            )
            await self._storage.delete([key])
            return None

    async def make(self, manifest: JobManifest) -> Plan:
        """Read the input, and plan in which order it goes out. Close the plan.

        Waits for a store that is away. Raises `InputRefused`, and `OSError` if the disk of this machine is full.
        """
        plan = await until_stored(partial(self._make, manifest), "read an input")
        key, data = keys.plan(manifest.tenant, manifest.id), b"".join(plan.pieces())
        if await until_stored(partial(self._storage.create, key, data), "store a plan"):
            return plan
        # Another was faster, or the client library wrote it twice: what is stored counts.
        plan.close()
        return await self.stored(manifest) or await self.make(manifest)

    async def spool(self, manifest: JobManifest, plan: Plan, start: int) -> Spool:
        """The lines from that position of the plan on, on this machine's disk. Close it.

        Waits for a store that is away. Raises `InputRefused` if the input is gone, or is not what it was when it was
        planned, and `OSError` if the disk is full, or other jobs have the room that there is for them.
        """
        source = input_of(manifest)

        async def build() -> Spool:
            give_back = self._room.reserve(source.bytes + _PLAN_BYTES * plan.count)
            try:
                await self._check_there(source)
                return await Spool.build(plan, self._storage.stream(source.key), start=start, closed=give_back)
            except BaseException:
                give_back()
                raise

        try:
            return await until_stored(build, "read an input")
        except StoredObjectBroken as error:
            raise InputRefused(_about_all(error)) from error

    async def _make(self, manifest: JobManifest) -> Plan:
        async with self._places:
            return await self._read_input(manifest)

    async def _read_input(self, manifest: JobManifest) -> Plan:
        source = input_of(manifest)
        await self._check_there(source)
        # What was known of them may be older than the job, and its pool newer.
        await self._pools.read()
        try:
            pool = await self._pools.check_pool(manifest.pool) if manifest.pool is not None else None
        except PoolNotFound as error:
            raise InputRefused(_about_all(error)) from error
        checker = Checker(max_bytes=self._max_bytes, router=self._pools, pool=pool)
        with closing(checker), closing(OrderIndex()) as index:
            try:
                found = await survey(
                    self._bounded(source), checker, index, max_bytes=self._max_bytes, endpoint=manifest.endpoint
                )
            except PoolError as error:
                raise InputRefused(_about_all(error)) from error
            if found.findings.total:
                # Found in blocks, a kind after the other; people read them by line.
                raise InputRefused(*sorted(map(_error, found.findings), key=lambda error: error.line or 0))
            if not found.count:
                raise _refused("the input holds no request; it needs at least one line")
            if manifest.max_requests is not None and found.count > manifest.max_requests:
                raise _refused(
                    f"the input has {found.count:,} requests, and a job may have {manifest.max_requests:,}; split it"
                )
            if found.digest.size != source.bytes or source.sha256 not in {"", found.digest.lines_sha256.hex()}:
                raise _changed()
            return await asyncio.to_thread(index.plan, found.digest)

    async def _bounded(self, source: StoredInput) -> AsyncIterator[bytes]:
        """The input's bytes, no more of them than the job was made with."""
        size = 0
        async for piece in self._storage.stream(source.key):
            size += len(piece)
            if size > source.bytes:
                raise _changed()
            yield piece

    async def _check_there(self, source: StoredInput) -> None:
        size = await self._storage.size(source.key)
        if size is None:
            raise _refused("the input is not there any more; store it again, and make a new job of it")
        if size != source.bytes:
            raise _changed()


def input_of(manifest: JobManifest) -> StoredInput:
    """Where a stored job's input is."""
    assert manifest.stored is not None
    return manifest.stored


def _error(finding: SkippedLine) -> InputError:
    param = finding.param[:_MAX_PARAM_CHARACTERS] if finding.param is not None else None
    message = finding.message[:_MAX_MESSAGE_CHARACTERS]
    return InputError(code=finding.code, message=message, line=finding.line, param=param)


def _about_all(error: BackburnerError) -> InputError:
    return InputError(code=error.code, message=error.message[:_MAX_MESSAGE_CHARACTERS])


def _refused(message: str) -> InputRefused:
    return InputRefused(_about_all(InvalidInput(message)))


def _changed() -> InputRefused:
    return _refused("the input is not what it was when the job was made; make a new job of it")
