"""The fake engine's journal: one line for each request that it begins, so that a harness can count what runs twice.

Any number of engines may write one file. It is not a log: nothing reads it but tests and the fault harness.
"""

import os
from pathlib import Path

_MODE = 0o644


class FakeJournal:
    """Lines `{pid} {request id} {digest}`, each in the file before its generation begins.

    `pid` is the engine's own process. The digest is the one that the answer is made from, see `fake.digest_of`.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the file for appending; make it if it is not there. Raises `OSError`."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)

    def begun(self, request_id: str, digest: str) -> None:
        """Note a request. One write, so that lines of several processes never mix and a kill loses none."""
        os.write(self._file, f"{os.getpid()} {request_id} {digest}\n".encode())

    def close(self) -> None:
        """Close the file. Safe to repeat."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
