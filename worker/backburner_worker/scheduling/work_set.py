"""Works in the order in which they came, with quick access to the longest while it is in use. Pure."""

from collections import OrderedDict
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from backburner_worker.scheduling.work import Work

Step = str | int | None
"""One step of a path: the model's name at first, then a hash for each block of the prompt."""

SLACK_ENTRIES = 16
"""Entries of works that are gone, beside as many as there are works, before the heap is rebuilt."""


@dataclass(slots=True, eq=False)
class QueuedWork:
    """A work that is held, with all that it is ordered by: as it was when it came, whatever becomes of the work."""

    number: int
    """Of two works the one that came first has the lower."""
    work: Work
    tenant: str
    path: tuple[Step, ...]
    """Its model and its prefix: works whose paths begin alike are cheap one after another."""
    deadline: float
    """The start of the bucket in which its deadline is; infinite if it has none."""
    tokens: int
    """What it is expected to take; at least 1."""
    size: int
    """Bytes that it takes in memory, roughly."""


class WorkSet:
    """Some works. Each operation costs O(log n) at most, over many of them."""

    __slots__ = ("_longest", "works")

    def __init__(self) -> None:
        self.works: OrderedDict[int, QueuedWork] = OrderedDict()
        """By their numbers. Others only read."""
        self._longest: list[tuple[int, int]] | None = None
        """A heap of negative tokens and numbers, some of them of works that are gone; None while nobody asks."""

    def __len__(self) -> int:
        return len(self.works)

    def put(self, queued: QueuedWork) -> None:
        """Hold one more, which came after all others."""
        self.works[queued.number] = queued
        if self._longest is not None:
            heappush(self._longest, (-queued.tokens, queued.number))
            if len(self._longest) > 2 * len(self.works) + SLACK_ENTRIES:
                self._longest = None

    def remove(self, queued: QueuedWork) -> None:
        """Let go of one that is held."""
        del self.works[queued.number]

    def first(self) -> QueuedWork:
        """The one that came first. There must be one."""
        return next(iter(self.works.values()))

    def longest(self) -> QueuedWork:
        """The one with the most tokens; of several, the one that came first. There must be one."""
        if self._longest is None:
            self._longest = [(-queued.tokens, queued.number) for queued in self.works.values()]
            heapify(self._longest)
        while (number := self._longest[0][1]) not in self.works:
            heappop(self._longest)
        return self.works[number]

    def forget_longest(self) -> None:
        """Nobody asks for the longest any more: additions are cheaper until somebody does."""
        self._longest = None
