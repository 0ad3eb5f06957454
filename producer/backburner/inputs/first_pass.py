"""What the first reading of a file found, block by block, so that the second need not check the same bytes again."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import count
from struct import Struct
from tempfile import SpooledTemporaryFile

from backburner.temporary_files import temporary_files
from backburner_schemas.job import Prefix

_IN_MEMORY_BYTES = 1 << 20
_FORM = Struct("<32sQ32sI")
_MIXED_POOLS_INDEX = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class SurveyedBlock:
    """What was found in one block."""

    digest: bytes
    """Of the block's bytes."""
    end: Prefix
    """The accepted lines up to the block's end."""
    pool: str | None
    """Where every line of the block goes as it stands: it is accepted, and may travel with its own bytes. Otherwise
    None, and the lines must be checked one by one."""


class FirstPass:
    """The blocks of a file in order; on disk beyond a megabyte, which corresponds to a file of some ten gigabytes."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - closed by `close`
        self._pools: list[str] = []

    def add(self, found: SurveyedBlock) -> None:
        """Add the next block."""
        number = _MIXED_POOLS_INDEX
        if found.pool is not None:
            if found.pool not in self._pools:
                self._pools.append(found.pool)
            number = self._pools.index(found.pool)
        with temporary_files():
            self._file.write(_FORM.pack(found.digest, found.end.count, bytes.fromhex(found.end.sha256), number))

    def __iter__(self) -> Iterator[SurveyedBlock]:
        """The blocks, from the first on."""
        for place in count(0, _FORM.size):
            self._file.seek(place)
            packed = self._file.read(_FORM.size)
            if not packed:
                return
            digest, accepted, rolling, number = _FORM.unpack(packed)
            pool = None if number == _MIXED_POOLS_INDEX else self._pools[number]
            yield SurveyedBlock(digest, Prefix(accepted, rolling.hex()), pool)

    def ends_at(self, counts: Collection[int]) -> bool:
        """Whether a block ends with each of these numbers of accepted lines."""
        return set(counts).issubset(found.end.count for found in self)

    def close(self) -> None:
        """Remove what is on disk."""
        self._file.close()
