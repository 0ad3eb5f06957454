"""Which custom_ids were used before, for inputs of any length: hashes in a private file that the system removes."""

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b

from backburner.inputs.sequential_ids import SequentialIds
from backburner.temporary_files import temporary_files

_CACHE_KIB = 16 * 1024
"""Memory that the set uses at most; the rest is on disk."""


class SeenIds:
    """The custom_ids seen so far and the line of each one's first use.

    Sequential ones cost next to nothing. Of others it holds 128-bit hashes in a temporary SQLite database, which
    needs about 40 bytes on disk for each. Use it from one task at a time, and close it.
    """

    def __init__(self) -> None:
        self._sequential = SequentialIds()
        self._others = False
        # An empty name is a private database on disk, deleted when it is closed or the process dies.
        with temporary_files():
            self._file = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode=OFF")
            self._file.execute("PRAGMA synchronous=OFF")
            self._file.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._file.execute("CREATE TABLE seen (id BLOB PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID")
            self._file.execute("BEGIN")

    def add_all(self, custom_ids: Sequence[str], first: int) -> dict[int, int]:
        """The same as `add` for lines that follow each other, from number `first` on."""
        if custom_ids and not self._others and self._sequential.add(custom_ids, first):
            return {}
        return self.add(list(zip(custom_ids, range(first, first + len(custom_ids)), strict=True)))

    def add(self, uses: Sequence[tuple[str, int]]) -> dict[int, int]:
        """Add custom_ids with their lines, in order. Returns the lines that repeat one, with that of its first use.

        Raises `TemporaryFilesError` if they can be kept neither in memory nor on disk.
        """
        repeated: dict[int, int] = {}
        if self._sequential:
            left = []
            for custom_id, line in uses:
                first = self._sequential.find(custom_id)
                if first is None:
                    left.append((custom_id, line))
                elif first != line:
                    repeated[line] = first
            uses = left
        rows = [(blake2b(custom_id.encode(), digest_size=16).digest(), line) for custom_id, line in uses]
        self._others = self._others or bool(rows)
        with temporary_files():
            return repeated | self._repeated(rows)

    def _repeated(self, rows: Sequence[tuple[bytes, int]]) -> dict[int, int]:
        before = self._file.total_changes
        self._file.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", rows)
        if self._file.total_changes - before == len(rows):
            return {}
        repeated: dict[int, int] = {}
        for digest, line in rows:
            (first,) = self._file.execute("SELECT line FROM seen WHERE id = ?", (digest,)).fetchone()
            if first != line:
                repeated[line] = first
        return repeated

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
