"""Suspects that wait for the engine: those of the fewest first, whose killer is nearly found. Pure."""

from collections import deque
from collections.abc import Callable

from backburner_worker.scheduling.work import Work


class SuspectQueue:
    """Suspects by how many the death was among that made them such; first come, first served among equals."""

    def __init__(self) -> None:
        self._groups: dict[int, deque[Work]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __bool__(self) -> bool:
        return bool(self._groups)

    @property
    def first(self) -> Work:
        """The next; there has to be one."""
        return self._groups[min(self._groups)][0]

    def add(self, work: Work) -> None:
        """Hold it until its turn."""
        self._groups.setdefault(work.delivery.facts.among, deque()).append(work)

    def put_back(self, work: Work) -> None:
        """Undo the last `take`."""
        self._groups.setdefault(work.delivery.facts.among, deque()).appendleft(work)

    def take(self) -> Work:
        """Take the next; there has to be one."""
        key = min(self._groups)
        work = self._groups[key].popleft()
        if not self._groups[key]:
            del self._groups[key]
        return work

    def drop(self, unwanted: Callable[[Work], bool]) -> list[Work]:
        """Give up all that this is true of."""
        dropped = [work for group in self._groups.values() for work in group if unwanted(work)]
        kept = {key: deque(work for work in group if not unwanted(work)) for key, group in self._groups.items()}
        self._groups = {key: group for key, group in kept.items() if group}
        return dropped
