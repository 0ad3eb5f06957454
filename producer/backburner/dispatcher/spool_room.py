"""The disk that the spools of one dispatcher may take together. Pure: it counts, and looks at no disk."""

import errno
from collections.abc import Callable


class CrowdedOut(OSError):
    """Other jobs have the room on the disk; it may be free soon."""


class SpoolRoom:
    """Counts what jobs under way keep on the disk. A spool is a file without a name, which nothing else counts."""

    def __init__(self, limit: int) -> None:
        """`limit` is in bytes."""
        self._limit = limit
        self.used = 0
        """Bytes. Others only read."""

    def reserve(self, size: int) -> Callable[[], None]:
        """Count so many bytes. Returns what gives them back.

        Raises `CrowdedOut` where others have the room for them, and `OSError` where there will never be any.
        """
        if size > self._limit:
            raise OSError(
                errno.ENOSPC,
                f"it takes {size:,} bytes there, over BACKBURNER_DISPATCH_SPOOL_BYTES, {self._limit:,}; raise that, or "
                "split the job",
            )
        if self.used + size > self._limit:
            raise CrowdedOut(
                errno.ENOSPC,
                f"it takes {size:,} bytes there, and other jobs have {self.used:,} of the {self._limit:,} of "
                "BACKBURNER_DISPATCH_SPOOL_BYTES; it is tried again, or raise that",
            )
        self.used += size
        left = [size]

        def give_back() -> None:
            self.used -= left.pop() if left else 0

        return give_back
