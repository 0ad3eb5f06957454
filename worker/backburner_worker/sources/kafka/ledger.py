"""Which offsets of one partition are begun and done, and how far that may be committed. Pure: it knows no broker.

Work ends out of order, and the broker stores one offset for a partition: everything below it is done. The ledger finds
that number, the low-water mark, and knows what is done above it. Offsets may have gaps, as compaction and transactions
leave them; what the broker passes by counts as done, since nothing there will ever come. Of a broker that may show a
record before an earlier one, gaps are held open instead, until they are closed.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator

from backburner_schemas.indexset import IndexSet

_NONE = IndexSet()


class Ledger:
    """The offsets of one partition, from where an assignment of it began.

    `base` is the first offset that may still need work. `running`, those of them in `started`, and `done` are from
    before: offsets that are held here already, are in the engine, or need no more work. The broker delivers them
    once more, and the ledger recognises the copies. Memory is proportional to what waits and to the number of
    ranges that are done.
    """

    __slots__ = ("_adopted", "_done", "_gaps", "_low", "_position", "_started", "_waiting", "changes")

    def __init__(
        self, base: int, running: Iterable[int] = (), done: IndexSet = _NONE, started: Iterable[int] = ()
    ) -> None:
        self.changes = 0
        """Goes up whenever what is to be committed changes."""
        self._low = self._position = base
        self._done = _Ranges()
        self._gaps = _Ranges()
        for start, stop in done.ranges:
            self._done.add(max(start, base), stop)
        self._waiting = {offset for offset in running if offset >= base and offset not in self._done}
        self._started = self._waiting.intersection(started)
        self._adopted = deque(sorted(self._waiting))
        self._sweep()

    @property
    def low_water(self) -> int:
        """The offset below which everything is done: what to commit."""
        return self._low

    @property
    def position(self) -> int:
        """The offset that the broker is expected to deliver next, or a later one."""
        return self._position

    @property
    def completed(self) -> IndexSet:
        """Offsets above the low-water mark that are done, or that the log does not have."""
        return self._done.frozen()

    @property
    def started(self) -> IndexSet:
        """Offsets that were begun and are not done."""
        return IndexSet.of(self._started)

    @property
    def catching_up(self) -> bool:
        """Whether the broker still has to deliver what is known here: only reading on moves the mark past that."""
        return bool(self._adopted and self._adopted[-1] >= self._position) or self._done.stop > self._position

    @property
    def gaps(self) -> tuple[int, int] | None:
        """The first offset that was passed by and may still come, and the one behind the last; None without any."""
        return self._gaps.bounds

    @property
    def span(self) -> int:
        """How far reading is ahead of the low-water mark."""
        return self._position - self._low

    @property
    def size(self) -> int:
        """How many numbers the ledger keeps, roughly."""
        return len(self._waiting) + len(self._done) + len(self._gaps)

    def take(self, offset: int, *, hold_gaps: bool = False) -> bool:
        """Note an offset from the broker. Returns whether it is new, or else a copy of what is held or done already.

        With `hold_gaps`, what is passed by on the way may still come.
        """
        if offset < self._position:
            return self._fill(offset)
        if hold_gaps:
            self._hold(offset)
        else:
            self.reach(offset)
        if offset < self._low:
            return False  # What was passed by was all that the mark waited for.
        self._position = offset + 1
        if offset in self._waiting or (offset < self._done.stop and offset in self._done):
            return False
        self._waiting.add(offset)
        return True

    def reach(self, offset: int) -> int:
        """Note that the broker has nothing more from the position up to there: no record came, and none will.

        Returns how many of these offsets were not known here: neither done nor held.
        """
        if offset <= self._position:
            return 0
        unknown = self._pass_by(offset)
        self._position = max(self._position, offset)
        return unknown

    def begin(self, offset: int) -> None:
        """Note that the offset goes to the engine."""
        if offset in self._waiting:
            self._started.add(offset)
            self.changes += 1

    def settle(self, offset: int) -> bool:
        """Note that the offset is done. Returns False if it was not waiting."""
        if offset not in self._waiting:
            return False
        self._waiting.discard(offset)
        self._started.discard(offset)
        self.changes += 1
        if offset == self._low:
            self._low = offset + 1
            self._sweep()
        else:
            self._done.add(offset, offset + 1)
        return True

    def close_gaps(self, below: int) -> int:
        """What was passed by below that offset will never come. Returns how many offsets these are."""
        closed = self._gaps.take(0, below)
        for start, stop in closed:
            self._done.add(start, stop)
        if closed:
            self.changes += 1
            self._sweep()
        return sum(stop - start for start, stop in closed)

    def _fill(self, offset: int) -> bool:
        if offset not in self._gaps:
            return False
        self._gaps.take(offset, offset + 1)
        self._waiting.add(offset)
        return True

    def _hold(self, offset: int) -> None:
        for passed in self._passed(offset):
            for start, stop in self._done.missing(*passed):
                self._gaps.add(start, stop)

    def _pass_by(self, offset: int) -> int:
        unknown = sum(self._done.add(start, stop) for start, stop in self._passed(offset))
        self.changes += 1
        self._sweep()
        return unknown

    def _passed(self, offset: int) -> Iterator[tuple[int, int]]:
        """The ranges from the position up to there, but for what was adopted: it waits, though it won't come again."""
        start = self._position
        while self._adopted and self._adopted[0] < offset:
            kept = self._adopted.popleft()
            if kept in self._waiting and kept >= start:
                yield start, kept
                start = kept + 1
        yield start, offset

    def _sweep(self) -> None:
        # All between the mark and the position waits or is done; what is done right at the mark is passed.
        self._low = self._done.take_from(self._low)
        self._position = max(self._position, self._low)


class _Ranges:
    """Offsets as sorted ranges that do not touch; adding one costs a search."""

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def __contains__(self, offset: int) -> bool:
        at = bisect_right(self._starts, offset)
        return at > 0 and offset < self._stops[at - 1]

    @property
    def stop(self) -> int:
        """One more than the largest; 0 if there is none."""
        return self._stops[-1] if self._stops else 0

    @property
    def bounds(self) -> tuple[int, int] | None:
        """The smallest, and one more than the largest; None if there is none."""
        return (self._starts[0], self._stops[-1]) if self._starts else None

    def frozen(self) -> IndexSet:
        """As a value."""
        return IndexSet(zip(self._starts, self._stops, strict=True))

    def add(self, start: int, stop: int) -> int:
        """Add a range; an empty one changes nothing. Returns how many of its offsets are new."""
        if start >= stop:
            return 0
        low, high = bisect_left(self._stops, start), bisect_right(self._starts, stop)
        new = stop - start
        for at in range(low, high):
            new -= max(min(stop, self._stops[at]) - max(start, self._starts[at]), 0)
        if low < high:
            start, stop = min(start, self._starts[low]), max(stop, self._stops[high - 1])
        self._starts[low:high] = [start]
        self._stops[low:high] = [stop]
        return new

    def missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The ranges between the two that are not in it."""
        found = []
        for at in range(bisect_right(self._stops, start), bisect_left(self._starts, stop)):
            if start < self._starts[at]:
                found.append((start, self._starts[at]))
            start = self._stops[at]
        if start < stop:
            found.append((start, stop))
        return found

    def take(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Take out what lies between the two; which ranges these were."""
        low, high = bisect_right(self._stops, start), bisect_left(self._starts, stop)
        taken = [(max(self._starts[at], start), min(self._stops[at], stop)) for at in range(low, high)]
        left = [(self._starts[at], start) for at in range(low, high) if self._starts[at] < start]
        left += [(stop, self._stops[at]) for at in range(low, high) if self._stops[at] > stop]
        self._starts[low:high] = [first for first, _ in left]
        self._stops[low:high] = [last for _, last in left]
        return taken

    def take_from(self, offset: int) -> int:
        """Take away the range that begins there; where it ends, or the offset itself if there is none."""
        if not self._starts or self._starts[0] != offset:
            return offset
        del self._starts[0]
        return self._stops.pop(0)
