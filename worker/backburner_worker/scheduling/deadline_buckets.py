"""Works by the slots of their deadlines. Pure."""

from heapq import heapify, heappop, heappush

from backburner_worker.scheduling.work_set import SLACK, Bunch, Held


class Slots:
    """Works of which the earliest are at hand. Each operation costs O(log n) at most, over many of them."""

    __slots__ = ("_bunches", "_order")

    def __init__(self) -> None:
        self._bunches: dict[float, Bunch] = {}
        self._order: list[float] = []
        """A heap of the slots, and of some that are gone."""

    def put(self, held: Held) -> None:
        """Hold one more, which came after all others."""
        bunch = self._bunches.get(held.deadline)
        if bunch is None:
            bunch = self._bunches[held.deadline] = Bunch()
            heappush(self._order, held.deadline)
            if len(self._order) > 2 * len(self._bunches) + SLACK:
                self._order = [*self._bunches]
                heapify(self._order)
        bunch.put(held)

    def remove(self, held: Held) -> None:
        """Let go of one that is held."""
        bunch = self._bunches[held.deadline]
        bunch.remove(held)
        if not bunch.works:
            del self._bunches[held.deadline]

    def earliest(self) -> Bunch:
        """The works of the earliest slot. There must be one."""
        while (bunch := self._bunches.get(self._order[0])) is None:
            heappop(self._order)
        return bunch
