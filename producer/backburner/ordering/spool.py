"""The lines of an input in the order of a plan, on disk: read once from beginning to end, and then run by run."""

import asyncio
import errno
import os
import tempfile
import threading
from bisect import bisect_right
from collections.abc import AsyncIterable, Callable
from contextlib import suppress
from hashlib import sha256
from itertools import accumulate
from mmap import mmap
from pathlib import Path
from struct import Struct
from typing import IO, NamedTuple, Self, TypeVar

from backburner.inputs.batch import Accepted
from backburner.inputs.validation import canonical
from backburner.ordering.plan import Entry, Plan
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.request import parse_request

_LANDMARK_REQUESTS = 1024
"""Requests between two positions whose place in the file is remembered."""
_PLACE = Struct("<QQI4x")
"""Of one line, by its index: where it goes, where it is in the input, its length."""
_FILLED_BYTES = 1 << 20
_NO_OFFSET = (1 << 64) - 1

ArgumentT = TypeVar("ArgumentT")


class SpooledLine(NamedTuple):
    """One request, as it is sent."""

    position: int
    """Its place in the plan."""
    index: int  # type: ignore[assignment]  # nobody searches a line
    """Its place among the accepted lines of the input."""
    group: int
    """Number of its group in the plan, from 0; those of a group are for one worker."""
    pool: str
    """Where it goes."""
    data: bytes
    """Its line of the input, without the line's end."""
    verbatim: bool
    """Whether the line may travel as it stands."""

    def members(self, max_bytes: int) -> bytes:
        """What stands between the braces of the request's JSON object, as a batch's `members` has it.

        Raises `RequestRefused` where the line is none, or over the limit: then it was not the one that was planned.
        """
        if self.verbatim:
            return self.data[1:-1]
        request = parse_request(self.data, max_bytes=max_bytes)
        return Accepted(0, request, canonical(request), self.pool).members


class Spool:
    """Lines in planned order. Close it: the file goes, as it does when the process ends, however it ends."""

    def __init__(
        self, plan: Plan, *, start: int = 0, folder: Path | None = None, closed: Callable[[], None] | None = None
    ) -> None:
        """For `build`, which reads the input, too."""
        self._closed = closed
        self._plan = plan
        self._first = start
        self._file = tempfile.TemporaryFile(prefix="backburner-spool-", dir=folder, buffering=0)  # noqa: SIM115
        self._landmarks: list[tuple[int, int]] = []
        """Bytes before each landmark, and groups that have begun before it."""
        self._pools = [pool for pool, _ in plan.pools]
        self._ends = [*accumulate(count for _, count in plan.pools)]
        self._reading = threading.Lock()
        """Held while a thread reads, so that none reads on by a file's number that is another file's by then."""

    @classmethod
    async def build(
        cls,
        plan: Plan,
        pieces: AsyncIterable[bytes],
        *,
        start: int = 0,
        folder: Path | None = None,
        closed: Callable[[], None] | None = None,
    ) -> "Spool":
        """Read the input, and keep its lines from planned position `start` on. Close it; the plan must stay open.

        `closed` is called whenever it was closed.

        The disk holds the lines that are kept, and 24 bytes for each of the job while the input is read. Raises
        `StoredObjectBroken` if the input is not the one that was planned, and `OSError` if the lines cannot be kept.
        """
        spool = cls(plan, start=start, folder=folder, closed=closed)
        try:
            if not plan.count:
                await spool._take_all(pieces, b"")
                return spool
            with tempfile.TemporaryFile(prefix="backburner-places-", dir=folder) as file:
                await _to_its_end(spool._write_places, file)
                with mmap(file.fileno(), plan.count * _PLACE.size) as places:
                    await spool._take_all(pieces, places)
        except BaseException:
            spool.close()
            raise
        return spool

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def lines(self, start: int, stop: int, *, max_bytes: int) -> list[SpooledLine]:
        """The lines at planned positions `start` to `stop`, fewer where they have over `max_bytes`, but at least one.

        None of them where the job ends before `start`. Raises `ValueError` before the first position that was kept, or
        if the spool is closed, and `OSError` if the lines cannot be read.
        """
        if start < self._first:
            raise ValueError(f"position {start:,} was not kept; the spool begins at {self._first:,}")
        stop = min(stop, self._plan.count)
        return await asyncio.to_thread(self._read, start, stop, max_bytes) if start < stop else []

    def close(self) -> None:
        """Remove the file, once a thread that reads it is through."""
        with self._reading:
            self._file.close()
        if self._closed is not None:
            self._closed()

    # --- filling ---------------------------------------------------------------------------------------------------

    def _write_places(self, file: IO[bytes]) -> None:
        """Where each line goes, by its index. What is before the first that is kept goes nowhere."""
        size = _PLACE.size
        _fill(file, self._plan.count * size)
        pack_into = _PLACE.pack_into
        place = groups = 0
        with mmap(file.fileno(), self._plan.count * size) as places:
            for position, entry in enumerate(self._plan.entries()):
                if not position % _LANDMARK_REQUESTS:
                    self._landmarks.append((place, groups))
                groups += entry.opens_group
                kept = position >= self._first
                pack_into(places, entry.index * size, place if kept else _NO_OFFSET, entry.offset, entry.length)
                place += entry.length if kept else 0

    async def _take_all(self, pieces: AsyncIterable[bytes], places: mmap | bytes) -> None:
        taking, hashed = _Taking(self._file.fileno(), places), sha256()
        async for piece in pieces:
            hashed.update(piece)
            await _to_its_end(taking.take, piece)
        if not taking.complete or hashed.digest() != self._plan.digest.sha256:
            raise _changed()

    # --- reading ---------------------------------------------------------------------------------------------------

    def _read(self, start: int, stop: int, max_bytes: int) -> list[SpooledLine]:
        with self._reading:
            return self._read_open(self._file.fileno(), start, stop, max_bytes)

    def _read_open(self, descriptor: int, start: int, stop: int, max_bytes: int) -> list[SpooledLine]:
        position = start - start % _LANDMARK_REQUESTS
        place, groups = self._landmarks[start // _LANDMARK_REQUESTS]
        found: list[tuple[Entry, int]] = []
        size = 0
        for entry in self._plan.entries(position, stop):
            groups += entry.opens_group
            if position >= start:
                if found and size + entry.length > max_bytes:
                    break
                found.append((entry, groups - 1))
                size += entry.length
            elif position >= self._first:
                place += entry.length
            position += 1
        data = os.pread(descriptor, size, place)
        if len(data) < size:
            raise OSError(errno.EIO, "the spool ends too early")
        lines, at = [], 0
        for position, (entry, group) in enumerate(found, start):
            pool = self._pools[bisect_right(self._ends, position)]
            lines.append(SpooledLine(position, entry.index, group, pool, data[at : at + entry.length], entry.verbatim))
            at += entry.length
        return lines


class _Taking:
    """Writes the lines of an input to their places, in the order of the input."""

    def __init__(self, descriptor: int, places: mmap | bytes) -> None:
        self._descriptor = descriptor
        self._places = places
        self._count = len(places) // _PLACE.size
        self._next = 0
        self._rest = b""
        self._rest_at = 0
        """Where in the input the rest begins."""
        self._end = 0
        """Where the last line ended."""

    @property
    def complete(self) -> bool:
        """Whether every line was found."""
        return self._next == self._count

    def take(self, piece: bytes) -> None:
        """The next piece of the input."""
        data, data_at = self._rest + piece, self._rest_at
        places, unpack_from, size, descriptor = self._places, _PLACE.unpack_from, _PLACE.size, self._descriptor
        end, kept = self._end, len(data)
        for number in range(self._next, self._count):
            place, offset, length = unpack_from(places, number * size)
            if offset < end:
                raise _changed()
            begin = offset - data_at
            if begin + length > len(data):
                kept = min(begin, kept)
                break
            if place != _NO_OFFSET:
                _write(descriptor, data[begin : begin + length], place)
            end = offset + length
            self._next += 1
        self._end = end
        self._rest, self._rest_at = data[kept:], data_at + kept


async def _to_its_end(call: Callable[[ArgumentT], None], argument: ArgumentT) -> None:
    """The call in a thread. It is through when this ends, also if this is cancelled: then its files can be closed."""
    running = asyncio.ensure_future(asyncio.to_thread(call, argument))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        raise


def _fill(file: IO[bytes], size: int) -> None:
    """Write so many bytes. In a file that is only cut to its size, a page without room is a signal, and no error."""
    zeros = bytes(min(size, _FILLED_BYTES))
    for begin in range(0, size, _FILLED_BYTES):
        file.write(zeros[: size - begin])
    file.flush()


def _write(descriptor: int, data: bytes, place: int) -> None:
    written = os.pwrite(descriptor, data, place)
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], place + written)


def _changed() -> StoredObjectBroken:
    return StoredObjectBroken(
        "the input is not the one that the job's plan is of; restore it, or remove the job's object `plan`, and it is "
        "planned anew"
    )
