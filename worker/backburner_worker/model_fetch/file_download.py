"""Fetches one file: in parts, several at a time, summed up in their order as they come; goes on where it was left."""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import ParamSpec

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from backburner.logs import get_logger
from backburner_schemas.errors import BackburnerError, ModelChecksumWrong, ModelFolderUnusable, ModelSourceUnavailable
from backburner_worker.model_fetch.folder import unusable
from backburner_worker.model_fetch.model_file import Digest, DigestKind, ModelFile
from backburner_worker.model_fetch.progress import Progress
from backburner_worker.model_fetch.record import FetchedFile
from backburner_worker.model_fetch.source import ModelSource

P = ParamSpec("P")

_MAX_ATTEMPTS = 5
"""At a part. An object store's client rides out some 20 s in each."""
_WAIT = wait_exponential_jitter(multiplier=0.5, max=10.0)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PartLimits:
    """How files are cut for the way."""

    part_bytes: int = 8 * 1024 * 1024
    in_flight: int = 16
    """Parts that are held in memory, of all files together."""


class PartReader:
    """Reads parts from a source, tries again what failed on its way, and holds no more of them than it may."""

    def __init__(self, source: ModelSource, limits: PartLimits) -> None:
        self._source = source
        self._places = asyncio.Semaphore(limits.in_flight)
        self.part_bytes = limits.part_bytes

    @property
    def has_place(self) -> bool:
        """Whether another part may be begun without a wait."""
        return not self._places.locked()

    async def begin(self, file: ModelFile, start: int) -> "asyncio.Task[memoryview]":
        """The part of the file that begins there, being read. Give its place back with `done`."""
        await self._places.acquire()
        length = min(self.part_bytes, file.size - start)
        return asyncio.create_task(self._read(file, start, length))

    async def read(self, file: ModelFile) -> memoryview:
        """The whole file, which is no larger than a part."""
        return await self._read(file, 0, file.size)

    def done(self) -> None:
        """A part is out of memory."""
        self._places.release()

    async def _read(self, file: ModelFile, start: int, length: int) -> memoryview:
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, BackburnerError) and error.retryable),
            stop=stop_after_attempt(_MAX_ATTEMPTS),
            wait=_WAIT,
            before_sleep=partial(_told, file),
            reraise=True,
        )
        return await retrying(self._read_once, file, start, length)

    async def _read_once(self, file: ModelFile, start: int, length: int) -> memoryview:
        data = (await self._source.read(file, start, length)).cast("B")
        if len(data) != length:
            raise ModelSourceUnavailable(
                f"the source gave {len(data)} bytes of {file.name} where it has {length}; start again when it "
                "does not change any more"
            )
        return data


class FileDownload:
    """One file on its way to the disk. Use it once."""

    def __init__(self, file: ModelFile, path: Path, *, parts: PartReader, progress: Progress) -> None:
        """Write the file to `path`, where its beginning may be."""
        self._file = file
        self._path = path
        self._parts = parts
        self._progress = progress

    async def run(self) -> FetchedFile:
        """Fetch what is missing, and write it out to the disk.

        Raises `ModelChecksumWrong` if the file is another than it should be, and then it is gone; what the source
        raises; and `ModelFolderUnusable`.
        """
        try:
            descriptor = await asyncio.to_thread(self._open)
            try:
                return await self._fetch(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unusable(self._path, error) from error

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)

    async def _fetch(self, descriptor: int) -> FetchedFile:
        there = min(os.fstat(descriptor).st_size, self._file.size)
        sums = _Sums(self._file)
        await _in_thread(_sum_up, descriptor, there, sums, self._parts.part_bytes)
        self._progress.kept += there
        await self._fetch_from(descriptor, there, sums)
        if sums.wrong and there:
            log.warning("what was left of an earlier run is not of this file; fetching it anew", file=self._file.name)
            self._progress.kept -= there
            sums = _Sums(self._file)
            await self._fetch_from(descriptor, 0, sums)
        if sums.wrong:
            with suppress(FileNotFoundError):
                self._path.unlink()
            raise ModelChecksumWrong(
                f"{self._file.name} from the source has another checksum than it should have ({sums.told}); "
                "the model's folder was not made: upload the file anew, or correct the sums"
            )
        await _in_thread(self._finish, descriptor)
        return FetchedFile(size=self._file.size, tag=self._file.tag, sha256=sums.sha256)

    async def _fetch_from(self, descriptor: int, start: int, sums: "_Sums") -> None:
        """Fetch all from that byte on; the sums have those before it."""
        begun: deque[asyncio.Task[memoryview]] = deque()
        place = start
        try:
            while start < self._file.size or begun:
                # Of all files together no more parts are held than there are places; each can go on with one.
                while start < self._file.size and (not begun or self._parts.has_place):
                    begun.append(await self._parts.begin(self._file, start))
                    start += self._parts.part_bytes
                data = await begun[0]
                await _in_thread(_take, descriptor, place, data, sums)
                place += len(data)
                self._progress.fetched += len(data)
                begun.popleft()
                self._parts.done()
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)
            for _ in begun:
                self._parts.done()

    def _finish(self, descriptor: int) -> None:
        os.ftruncate(descriptor, self._file.size)
        os.fsync(descriptor)
        if not self._path.exists():
            raise ModelFolderUnusable(f"{self._path} was removed by somebody else while it was written; start again")


class _Sums:
    """The sums of a file that is read from its beginning to its end: SHA-256, and the one that it has to have."""

    def __init__(self, file: ModelFile) -> None:
        self._digest = file.digest or Digest(DigestKind.SHA256, "")
        self._expected = self._digest.begin(file.size)
        # One and the same where that is what is asked for: each sum costs half a second a gigabyte.
        self._sha256 = self._expected if self._digest.kind is DigestKind.SHA256 else sha256()

    def update(self, data: memoryview | bytes) -> None:
        for each in {self._expected, self._sha256}:
            each.update(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    @property
    def wrong(self) -> bool:
        """Whether it is not what it has to be; False where that is not known."""
        return self._digest.hex not in {"", self._expected.hexdigest()}

    @property
    def told(self) -> str:
        """What was found and what was expected."""
        return f"{self._digest.kind} {self._expected.hexdigest()}, expected {self._digest.hex}"


async def _in_thread(function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run the function in a thread to its end, also where this is cancelled: the file is closed after that."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _sum_up(descriptor: int, length: int, sums: _Sums, part_bytes: int) -> None:
    place = 0
    while place < length:
        data = os.pread(descriptor, min(part_bytes, length - place), place)
        if not data:
            raise OSError("it became shorter while it was read")
        sums.update(data)
        place += len(data)


def _take(descriptor: int, place: int, data: memoryview, sums: _Sums) -> None:
    sums.update(data)
    while data:
        count = os.pwrite(descriptor, data, place)
        place, data = place + count, data[count:]


def _told(file: ModelFile, state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    log.warning("read from the source failed; retrying", file=file.name, attempt=state.attempt_number, error=str(error))
