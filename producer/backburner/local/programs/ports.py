"""Free loopback ports for child processes, leased so that two stacks started at once never pick the same one.

A port is free when it can be listened on now and no other Backburner process has a lease on it. The lease is a file
lock, so it goes away with its holder, however that dies. Nothing here talks to what later listens there.
"""

import errno
import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import IO, Self

from backburner_schemas.errors import SettingsError

LOOPBACK = "127.0.0.1"

TWIN_PORT_OFFSET = 10_000
"""SeaweedFS listens with gRPC on each HTTP port + 10,000."""

# Ports, and their twins, below the range that Linux (32768 up) and macOS (49152 up) assign to outgoing connections:
# nothing can take one between the check here and the child's start but a server that is set to it.
_LOWEST_PORT, _HIGHEST_PORT = 15_000, 22_000
_CANDIDATE_COUNT = 400


class PortLeases:
    """Ports held by this process until `close`. Usable as a context manager."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir()) / f"backburner-ports-{os.getuid()}"
        self._held: dict[int, IO[str]] = {}

    def take(self, *, preferred: int | None = None, twin: bool = False) -> int:
        """A free port: `preferred` if that one is free, otherwise any.

        With `twin`, the port 10,000 above is free and leased too. Raises `SettingsError` if none is free.
        """
        if preferred is not None and self._lease(preferred, twin=twin):
            return preferred
        for candidate in random.sample(range(_LOWEST_PORT, _HIGHEST_PORT), _CANDIDATE_COUNT):
            if self._lease(candidate, twin=twin):
                return candidate
        raise SettingsError(
            f"no free loopback port found between {_LOWEST_PORT} and {_HIGHEST_PORT}; stop other servers, or other "
            "stacks with `backburner down`"
        )

    def close(self) -> None:
        """Release all ports."""
        while self._held:
            port, lock = self._held.popitem()
            # Unlinked while locked: whoever opened the file before sees that its path is gone, and tries again.
            self._path(port).unlink(missing_ok=True)
            lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lease(self, port: int, *, twin: bool) -> bool:
        wanted = [port, port + TWIN_PORT_OFFSET] if twin else [port]
        taken: list[int] = []
        for one in wanted:
            if not self._lock(one):
                break
            taken.append(one)
        if len(taken) == len(wanted) and all(is_free(one) for one in wanted):
            return True
        for one in taken:
            self._path(one).unlink(missing_ok=True)
            self._held.pop(one).close()
        return False

    def _lock(self, port: int) -> bool:
        if port in self._held:
            return False
        path = self._path(port)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._folder.lstat().st_uid != os.getuid():
                raise PermissionError(errno.EACCES, "it is another user's")
            lock = path.open("w", encoding="ascii")
        except OSError as error:
            raise SettingsError(
                f"ports are leased in {self._folder}, which cannot be used ({error.strerror}); remove it, or name a "
                "folder of your own for temporary files in TMPDIR"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(lock.fileno()).st_ino:
                self._held[port] = lock
                return True
        except (BlockingIOError, FileNotFoundError):
            pass  # Held by another process, or released between open and lock: another port will do.
        lock.close()
        return False

    def _path(self, port: int) -> Path:
        return self._folder / f"{port}.lock"


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection that lingers in TIME_WAIT does not keep a port from being listened on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
        return True
