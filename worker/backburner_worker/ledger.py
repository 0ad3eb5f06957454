"""Which offsets of one partition are done, and how far that may be committed. Pure: it knows no broker and no delivery.

Work ends out of order, and the broker keeps one number for a partition: everything below it is done. The ledger finds
that number, the low-water mark. Offsets may have gaps, as compaction and transactions leave them.
"""

from collections import deque
from collections.abc import Iterable


class Ledger:
    """The offsets of one partition, from where an assignment of it began.

    `base` is the first offset that may still need work, None where nothing was ever committed. `running` and `done`
    are offsets from before that are already held here, or finished here and not yet covered by `base`; the broker
    gives them once more, and the ledger tells that copy from news.
    """

    __slots__ = ("_adopted", "_done", "_open", "_position", "_waiting", "base")

    def __init__(self, base: int | None = None, running: Iterable[int] = (), done: Iterable[int] = ()) -> None:
        self.base = base
        self._position = base
        self._waiting = {offset for offset in running if base is None or offset >= base}
        self._done = {offset for offset in done if base is None or offset >= base} - self._waiting
        # In order: what was taken or passed by and is not below the low-water mark; and what was adopted further on.
        self._open: deque[int] = deque()
        self._adopted = deque(sorted(self._waiting | self._done))

    @property
    def low_water(self) -> int | None:
        """The offset below which everything is done: what to commit. None while nothing is known of the partition."""
        return self._open[0] if self._open else self._position

    @property
    def position(self) -> int | None:
        """The offset that the broker is expected to give next, or a later one; None for the beginning of its log."""
        return self._position

    @property
    def completed(self) -> frozenset[int]:
        """Offsets above the low-water mark that are done."""
        return frozenset(self._done)

    @property
    def ahead(self) -> int:
        """How many offsets above the low-water mark are done: what a rebalance would run again.

        0 while the broker still has to give what was adopted: only reading on moves the mark past that.
        """
        return 0 if self._adopted else len(self._done)

    @property
    def span(self) -> int:
        """How many offsets the ledger keeps in mind; its memory is proportional to this."""
        return len(self._open) + len(self._adopted)

    def take(self, offset: int) -> bool:
        """Note that the broker gave this offset; whether it is news, or else a copy of what is held or done already."""
        if self._position is not None and offset < self._position:
            return False
        # Adopted offsets that the broker passes by are gone from its log; they still wait for their end.
        while self._adopted and self._adopted[0] < offset:
            self._open.append(self._adopted.popleft())
        copy = bool(self._adopted) and self._adopted[0] == offset
        if copy:
            self._adopted.popleft()
        else:
            self._waiting.add(offset)
        self._open.append(offset)
        self._position = offset + 1
        self._sweep()
        return not copy

    def settle(self, offset: int) -> bool:
        """Note that the offset is done; False if it was not waiting."""
        if offset not in self._waiting:
            return False
        self._waiting.discard(offset)
        self._done.add(offset)
        self._sweep()
        return True

    def _sweep(self) -> None:
        while self._open and self._open[0] in self._done:
            self._done.discard(self._open.popleft())
        # What was adopted right at the mark needs no second look at the broker's log, which may be closed by now.
        while not self._open and self._adopted and self._adopted[0] == self._position and self._position in self._done:
            self._done.discard(self._adopted.popleft())
            self._position += 1
