"""Which work goes to the engine next. Pure: it holds work and never waits.

Lanes take turns by weight, so that `low` moves while `high` is full. Within a lane it is first come, first served.
Suspects come before all others, since they run alone: the fewer times the engine has to run empty for them, the better.
"""

from collections import deque
from collections.abc import Callable, Mapping

from backburner_schemas.names import Lane
from backburner_worker.work import Work

DEFAULT_WINDOW_BYTES = 64 * 1024 * 1024
"""Bytes of a lane's messages that are held before the engine; one pull may go over it once."""


class Feeder:
    """A window of work that waits for the engine."""

    def __init__(self, weights: Mapping[Lane, int], window: int, window_bytes: int = DEFAULT_WINDOW_BYTES) -> None:
        """Hold about `window` deliveries and `window_bytes` of each lane; share the engine by `weights`."""
        self._strides = {lane: 1 / weights[lane] for lane in Lane}
        self._passes = dict.fromkeys(Lane, 0.0)
        self._clock = 0.0
        self._window = window
        self._window_bytes = window_bytes
        self._bytes = dict.fromkeys(Lane, 0)
        self._counts = dict.fromkeys(Lane, 0)
        """Deliveries held of each lane, suspects included."""
        self._lanes: dict[Lane, deque[Work]] = {lane: deque() for lane in Lane}
        self._suspects: deque[Work] = deque()

    def __len__(self) -> int:
        return sum(self._counts.values())

    @property
    def suspects(self) -> int:
        """Suspects that are held; while there is one, it is the next delivery."""
        return len(self._suspects)

    def budget(self) -> dict[Lane, int]:
        """How many more deliveries of each lane fit into the window; lanes without room are left out."""
        return {
            lane: self._window - count
            for lane, count in self._counts.items()
            if count < self._window and self._bytes[lane] < self._window_bytes
        }

    def reopened(self, budget: Mapping[Lane, int]) -> bool:
        """Whether a lane that had no room in that budget has half its window free by now: worth another pull."""
        return any(
            lane not in budget and count <= self._window // 2 and self._bytes[lane] <= self._window_bytes // 2
            for lane, count in self._counts.items()
        )

    def add(self, work: Work) -> None:
        """Hold it until its turn."""
        self._count(work, 1)
        if work.suspect:
            self._suspects.append(work)
            return
        lane = self._lanes[work.lane]
        if not lane:
            # A lane that slept may not catch up on turns that it had no use for.
            self._passes[work.lane] = max(self._passes[work.lane], self._clock)
        lane.append(work)

    def take(self) -> Work | None:
        """The next work, or None. Its lease may be lost by now."""
        if self._suspects:
            work = self._suspects.popleft()
        elif (lane := self._next_lane()) is not None:
            work = self._lanes[lane].popleft()
            self._clock = self._passes[lane]
            self._passes[lane] += self._strides[lane]
        else:
            return None
        self._count(work, -1)
        return work

    def put_back(self, work: Work) -> None:
        """Undo the last `take`."""
        self._count(work, 1)
        if work.suspect:
            self._suspects.appendleft(work)
        else:
            self._lanes[work.lane].appendleft(work)
            self._passes[work.lane] -= self._strides[work.lane]

    def peek(self) -> Work | None:
        """What `take` would give."""
        if self._suspects:
            return self._suspects[0]
        lane = self._next_lane()
        return self._lanes[lane][0] if lane is not None else None

    def drop(self, unwanted: Callable[[Work], bool]) -> list[Work]:
        """Give up all work that this is true of; the order of the rest stays."""
        dropped: list[Work] = []
        for held in (self._suspects, *self._lanes.values()):
            for _ in range(len(held)):
                work = held.popleft()
                if unwanted(work):
                    self._count(work, -1)
                    dropped.append(work)
                else:
                    held.append(work)
        return dropped

    def _next_lane(self) -> Lane | None:
        waiting = [lane for lane, held in self._lanes.items() if held]
        return min(waiting, key=lambda lane: self._passes[lane]) if waiting else None

    def _count(self, work: Work, one: int) -> None:
        self._counts[work.lane] += one
        self._bytes[work.lane] += one * len(work.delivery.raw)
