"""The plan of a job: in which order its requests go out, as an object that whoever sends the job next can go on from.

The form, all numbers little-endian: a header (`_HEADER`), the name and the number of requests of each pool (`_POOL`),
one entry of 16 bytes for each request (`_ENTRY`), and the SHA-256 of all that. An entry has the offset of the request's
line in the input with two flags above it (the highest: a group begins here; the next: the line may travel as it
stands), the request's index and the line's length.
"""

import os
import tempfile
from collections.abc import AsyncIterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import IO, NamedTuple, Self

from backburner.ordering.forecast import Forecast
from backburner_schemas.errors import StoredObjectBroken
from backburner_schemas.routing import is_pool_name

VERSION = 1
"""Version of the form."""
MAX_POOLS = 1000
"""Pools that one job may be for."""

_MAGIC = b"bbplan"
_HEADER = Struct("<6sHIIQQQQQQQ32s32s")
"""Magic, version, pools, 0, requests, groups, bytes of the input, tokens of prompts and of answers, hits, found tokens,
SHA-256 of the input, SHA-256 over the accepted lines."""
_POOL = Struct("<B40sQ")
"""Length of the name, the name, requests."""
_ENTRY = Struct("<QII")
_DIGEST_BYTES = 32
_GROUP_BIT, _VERBATIM_BIT = 1 << 63, 1 << 62
_OFFSET_BITS = _VERBATIM_BIT - 1
_PIECE_ENTRIES = 16 * 1024
_MIN_LINE_BYTES = 32
"""Of the shortest request; it bounds how many an input can have."""
_MAX_TOKENS = 1 << 60


class Entry(NamedTuple):
    """One request of a plan."""

    index: int  # type: ignore[assignment]  # nobody searches an entry
    """Its place among the accepted lines of the input."""
    offset: int
    """Where its line begins in the input, in bytes."""
    length: int
    """Bytes of the line, without its end."""
    verbatim: bool
    """Whether the line may travel as it stands."""
    opens_group: bool = False
    """Whether a group begins here."""


@dataclass(frozen=True, slots=True)
class InputDigest:
    """Which input a plan is of."""

    size: int
    """Its bytes."""
    sha256: bytes
    """Of its bytes."""
    lines_sha256: bytes
    """Over its accepted lines, as a job's seal has it."""


class Plan:
    """The order of a job's requests, in a temporary file in the form that is stored. Close it.

    Nothing of the file is left when the process ends, however it ends.
    """

    def __init__(
        self,
        file: IO[bytes],
        digest: InputDigest,
        pools: Sequence[tuple[str, int]],
        forecast: Forecast,
        *,
        made_here: bool,
    ) -> None:
        self._file = file
        self._entries_at = _HEADER.size + _POOL.size * len(pools)
        self.made_here = made_here
        """Whether this process made it from its own check of the input. Whoever may write a job's objects may have
        written any other, and what that says of a line has to be checked before the line is sent."""
        self.digest = digest
        """The input that it is of."""
        self.pools = tuple(pools)
        """The pools in their order, each with the number of its requests."""
        self.forecast = forecast
        """What the job is expected to take."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def count(self) -> int:
        """Requests in the job."""
        return self.forecast.requests

    @property
    def size(self) -> int:
        """Bytes of the stored form."""
        return self._entries_at + self.count * _ENTRY.size + _DIGEST_BYTES

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """The requests at these positions, in order. Raises `OSError` if they cannot be read."""
        stop = self.count if stop is None else min(stop, self.count)
        descriptor = self._file.fileno()
        for first in range(start, stop, _PIECE_ENTRIES):
            size = min(_PIECE_ENTRIES, stop - first) * _ENTRY.size
            piece = os.pread(descriptor, size, self._entries_at + first * _ENTRY.size)
            yield from map(_entry, *zip(*_ENTRY.iter_unpack(piece), strict=True))

    def pieces(self) -> Iterator[bytes]:
        """The stored form, piece by piece. Raises `OSError` if it cannot be read."""
        yield from _pieces(self._file, self.size)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    @classmethod
    async def read(
        cls, pieces: AsyncIterable[bytes], *, input_bytes: int, max_line_bytes: int, folder: Path | None = None
    ) -> "Plan":
        """The plan in a stored form, for an input of that size, whose lines have at most so many bytes. Close it.

        Raises `StoredObjectBroken` for what cannot be a plan of it, and `OSError` if it cannot be kept. Memory holds
        little more than a bit for each request, and the disk no more than half of the input's size.
        """
        file = _temporary(folder)
        try:
            reader = _Reader(file, input_bytes, max_line_bytes)
            async for piece in pieces:
                for start in range(0, len(piece), _PIECE_ENTRIES * _ENTRY.size):
                    reader.take(piece[start : start + _PIECE_ENTRIES * _ENTRY.size])
            return reader.finish()
        except BaseException:
            file.close()
            raise


class PlanWriter:
    """Writes a plan, group by group."""

    def __init__(self, digest: InputDigest, pools: Sequence[str], folder: Path | None = None) -> None:
        self._digest = digest
        self._pools = pools
        self._file = _temporary(folder)
        self._finished = False
        self.groups = 0
        """Groups so far."""
        self._file.seek(_HEADER.size + _POOL.size * len(pools))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finished:
            self._file.close()

    def add(self, group: Sequence[Entry]) -> None:
        """Add the next group, whose requests are for one pool."""
        pack = _ENTRY.pack
        flag = _GROUP_BIT
        packed = []
        for index, offset, length, verbatim, _ in group:
            packed.append(pack(offset | flag | (_VERBATIM_BIT if verbatim else 0), index, length))
            flag = 0
        self._file.write(b"".join(packed))
        self.groups += 1

    def finish(self, counts: Sequence[int], forecast: Forecast) -> Plan:
        """The plan, whose pools have these numbers of requests."""
        pools = [*zip(self._pools, counts, strict=True)]
        plan = Plan(self._file, self._digest, pools, forecast, made_here=True)
        self._file.seek(0)
        self._file.write(_header(self._digest, pools, forecast))
        hashed = sha256()
        self._file.flush()
        for piece in _pieces(self._file, plan.size - _DIGEST_BYTES):
            hashed.update(piece)
        self._file.seek(plan.size - _DIGEST_BYTES)
        self._file.write(hashed.digest())
        self._file.flush()
        self._finished = True
        return plan


def _header(digest: InputDigest, pools: Sequence[tuple[str, int]], forecast: Forecast) -> bytes:
    header = _HEADER.pack(
        *(_MAGIC, VERSION, len(pools), 0),
        *(forecast.requests, forecast.groups, digest.size),
        *(forecast.prompt_tokens, forecast.completion_tokens, forecast.hits, forecast.found_tokens),
        *(digest.sha256, digest.lines_sha256),
    )
    return header + b"".join(_POOL.pack(len(name), name.encode(), count) for name, count in pools)


def _entry(place: int, index: int, length: int) -> Entry:
    return Entry(index, place & _OFFSET_BITS, length, bool(place & _VERBATIM_BIT), bool(place & _GROUP_BIT))


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    step = _PIECE_ENTRIES * _ENTRY.size
    for start in range(0, size, step):
        yield os.pread(file.fileno(), min(step, size - start), start)


def _temporary(folder: Path | None) -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="backburner-plan-", dir=folder)


class _Reader:
    """Takes in a stored form and believes nothing of it: it may be broken, or written by somebody who wants harm."""

    def __init__(self, file: IO[bytes], input_bytes: int, max_line_bytes: int) -> None:
        self._file = file
        self._input_bytes = input_bytes
        self._max_line_bytes = max_line_bytes
        self._hash = sha256()
        self._rest = b""
        self._plan: Plan | None = None
        self._seen = bytearray()
        self._taken = 0
        self._groups = 0
        self._line_bytes = 0
        self._openings: set[int] = set()
        """Positions at which a group has to begin, since a pool does."""

    def take(self, piece: bytes) -> None:
        """The next piece of it."""
        self._rest += piece
        if self._plan is None:
            self._plan = self._read_header()
        if self._plan is None:
            return
        left = self._plan.count - self._taken
        whole = min(len(self._rest) // _ENTRY.size, left)
        entries, self._rest = self._rest[: whole * _ENTRY.size], self._rest[whole * _ENTRY.size :]
        self._check(entries, self._plan.count)
        self._keep(entries)
        if len(self._rest) > _DIGEST_BYTES and whole == left:
            raise _broken("it goes on behind its end")

    def finish(self) -> Plan:
        """The plan, now that all of it was taken."""
        plan = self._plan
        if plan is None or self._taken < plan.count or len(self._rest) < _DIGEST_BYTES:
            raise _broken("it ends too early")
        if self._groups != plan.forecast.groups:
            raise _broken("its groups are not as many as it says")
        if self._rest != self._hash.digest():
            raise _broken("its checksum is wrong")
        self._file.write(self._rest)
        self._file.flush()
        return plan

    def _read_header(self) -> Plan | None:
        data = self._rest
        if data[: len(_MAGIC)] != _MAGIC[: len(data)]:
            raise _broken("it does not begin as a plan does")
        if len(data) < _HEADER.size:
            return None
        _, version, pool_count, _, count, groups, size, prompt, answer, hits, found, hashed, lines = (
            _HEADER.unpack_from(data)
        )
        if version != VERSION:
            raise _broken(f"its form has version {version}, and this dispatcher knows {VERSION}")
        if size != self._input_bytes:
            raise _broken(f"it is of an input of {size:,} bytes, and this one has {self._input_bytes:,}")
        if not (count * _MIN_LINE_BYTES <= size and groups <= count and 0 < pool_count <= MAX_POOLS) or (
            hits > count or found > prompt or max(prompt, answer) > _MAX_TOKENS
        ):
            raise _broken("its header holds a number that cannot be")
        end = _HEADER.size + pool_count * _POOL.size
        if len(data) < end:
            return None
        pools = [*map(_pool, *zip(*_POOL.iter_unpack(data[_HEADER.size : end]), strict=True))]
        if len(dict(pools)) < pool_count or sum(number for _, number in pools) != count:
            raise _broken("its pools do not add up")
        at = 0
        for _, number in pools:
            self._openings.add(at)
            at += number
        self._seen = bytearray(count // 8 + 1)
        self._rest = data[end:]
        self._keep(data[:end])
        return Plan(
            self._file,
            InputDigest(size, hashed, lines),
            pools,
            Forecast(count, groups, prompt, answer, hits, found),
            made_here=False,
        )

    def _check(self, entries: bytes, count: int) -> None:
        seen, size, longest, position = self._seen, self._input_bytes, self._max_line_bytes, self._taken
        groups = total = 0
        for place, index, length in _ENTRY.iter_unpack(entries):
            if index >= count:
                raise _broken(f"position {position:,} has a request that the job does not have")
            byte, bit = index >> 3, 1 << (index & 7)
            if seen[byte] & bit:
                raise _broken(f"request {index:,} is in it twice")
            seen[byte] |= bit
            if not 0 < length <= longest or (place & _OFFSET_BITS) + length > size:
                raise _broken(f"the line of request {index:,} is outside of the input, or too long")
            if place & _GROUP_BIT:
                groups += 1
            elif position in self._openings:
                raise _broken("a group in it is for two pools")
            total += length
            position += 1
        self._taken, self._groups = position, self._groups + groups
        self._line_bytes += total
        if self._line_bytes > size:
            raise _broken("its lines are longer than the input")

    def _keep(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)


def _pool(length: int, name: bytes, count: int) -> tuple[str, int]:
    found = name[:length].decode("utf-8", "replace")
    if found and not is_pool_name(found):
        raise _broken("it names a pool that cannot be")
    return found, count


def _broken(what: str) -> StoredObjectBroken:
    return StoredObjectBroken(
        f"the stored plan cannot be used: {what}; remove the job's object `plan`, and it is planned anew"
    )
