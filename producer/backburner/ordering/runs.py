"""Sorts more records than fit into memory: sorted runs on disk, merged while they are read."""

import heapq
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import IO

MEMORY_BYTES = 16 * 1024 * 1024
"""Default of what is held in memory before it is written."""

_RECORD_OVERHEAD_BYTES = 56
"""Of a `bytes` object and its place in a list."""
_MAX_RUNS = 64
"""Runs that are merged at once, each with an open file and two pieces in memory; a few times as many at the end."""
_READ_BYTES = 64 * 1024
_LENGTH = Struct("<H")
MAX_RECORD_BYTES = 0xFFFF


class SortedRuns:
    """Records in, in any order; out once, in the order of their bytes.

    Memory holds so many bytes of records, and some megabytes more while runs are merged. The files are in `folder`, the
    system's own for temporary files if not given; nothing of them is left when the process ends, however it ends.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES, folder: Path | None = None) -> None:
        self._memory_bytes = memory_bytes
        self._folder = folder
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._levels: list[list[IO[bytes]]] = []
        """Runs of what was held, runs that were merged from those, runs that were merged from these, and so on."""

    def add(self, record: bytes) -> None:
        """Add a record of at most `MAX_RECORD_BYTES`. Raises `OSError` if it cannot be written."""
        self._held.append(record)
        self._held_bytes += len(record) + _RECORD_OVERHEAD_BYTES
        if self._held_bytes >= self._memory_bytes:
            self._spill()

    def __iter__(self) -> Iterator[bytes]:
        """The records in order. Raises `OSError` if they cannot be read."""
        self._held.sort()
        if not self._levels:
            yield from self._held
            return
        self._spill()
        yield from _merged([run for level in self._levels for run in level])

    def close(self) -> None:
        """Remove what is on disk and in memory; nothing can be read after it."""
        for level in self._levels:
            _close(level)
        self._levels, self._held = [], []

    def _spill(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if not held:
            return
        held.sort()
        run = self._written(held)
        for level in self._levels:
            level.append(run)
            if len(level) < _MAX_RUNS:
                return
            run = self._written(_merged(level))
            _close(level)
            level.clear()
        self._levels.append([run])

    def _written(self, records: Iterable[bytes]) -> IO[bytes]:
        file = tempfile.TemporaryFile(prefix="backburner-runs-", dir=self._folder, buffering=_READ_BYTES)  # noqa: SIM115
        pack, write = _LENGTH.pack, file.write
        for record in records:
            write(pack(len(record)))
            write(record)
        return file


def _merged(runs: Iterable[IO[bytes]]) -> Iterator[bytes]:
    return heapq.merge(*map(_read, runs))


def _close(runs: Iterable[IO[bytes]]) -> None:
    for run in runs:
        run.close()


def _read(run: IO[bytes]) -> Iterator[bytes]:
    run.seek(0)
    rest, unpack_from = b"", _LENGTH.unpack_from
    while piece := run.read(_READ_BYTES):
        data = rest + piece
        at, end = 0, len(data) - _LENGTH.size
        while at <= end:
            start = at + _LENGTH.size
            stop = start + unpack_from(data, at)[0]
            if stop > len(data):
                break
            yield data[start:stop]
            at = stop
        rest = data[at:]
