"""How fast a caller takes what waits for it. Pure; the connection says when something waits, and how much."""

LEAST_BYTES_PER_SECOND = 2048
"""A caller that is slower holds a connection, and the memory of its answer, for more than it is worth."""


class WritePace:
    """The pace of one connection. Time in which nothing waits for the caller counts neither for it nor against it."""

    def __init__(self, seconds: float) -> None:
        """The caller is judged each time that something has waited for it for so many `seconds`, pauses left out."""
        self._seconds = seconds
        self._waited = 0.0
        self._taken = 0
        self._size = 0
        self._since = 0.0

    def pause(self, size: int, now: float) -> float:
        """So many bytes begin to wait. Returns after how many seconds the caller is to be judged."""
        self._size, self._since = size, now
        return self._seconds - self._waited

    def resume(self, size: int, now: float) -> None:
        """Nothing waits any more, but for so many bytes that the connection still holds."""
        self._waited += now - self._since
        self._taken += self._size - size

    def is_kept(self, size: int, now: float) -> bool:
        """Whether the caller took enough since it was judged last, now that so many bytes are left."""
        self.resume(size, now)
        kept = self._taken >= self._seconds * LEAST_BYTES_PER_SECOND
        self._waited, self._taken = 0.0, 0
        return kept
