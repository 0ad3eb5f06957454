"""Which delivery goes to the engine next. Pure: it holds deliveries and never waits.

Lanes take turns by weight, so that `low` moves while `high` is full. Within a lane it is first come, first served.
Suspects come before all others, since they run alone: the fewer times the engine has to run empty for them, the better.
"""

from collections import deque
from collections.abc import Callable, Mapping

from backburner_schemas.names import Lane
from backburner_worker.sources.base import Delivery

DEFAULT_WINDOW_BYTES = 64 * 1024 * 1024
"""Bytes of a lane's messages that are held before the engine; one pull may go over it once."""


class Feeder:
    """A window of deliveries that wait for the engine."""

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
        self._lanes: dict[Lane, deque[Delivery]] = {lane: deque() for lane in Lane}
        self._suspects: deque[Delivery] = deque()

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

    def add(self, delivery: Delivery) -> None:
        """Hold a delivery until its turn."""
        self._count(delivery, 1)
        if delivery.facts.suspect:
            self._suspects.append(delivery)
            return
        lane = self._lanes[delivery.lane]
        if not lane:
            # A lane that slept may not catch up on turns that it had no use for.
            self._passes[delivery.lane] = max(self._passes[delivery.lane], self._clock)
        lane.append(delivery)

    def take(self) -> Delivery | None:
        """The next delivery, or None. Its lease may be lost by now."""
        if self._suspects:
            delivery = self._suspects.popleft()
        elif (lane := self._next_lane()) is not None:
            delivery = self._lanes[lane].popleft()
            self._clock = self._passes[lane]
            self._passes[lane] += self._strides[lane]
        else:
            return None
        self._count(delivery, -1)
        return delivery

    def put_back(self, delivery: Delivery) -> None:
        """Undo the last `take`."""
        self._count(delivery, 1)
        if delivery.facts.suspect:
            self._suspects.appendleft(delivery)
        else:
            self._lanes[delivery.lane].appendleft(delivery)
            self._passes[delivery.lane] -= self._strides[delivery.lane]

    def peek(self) -> Delivery | None:
        """What `take` would give."""
        if self._suspects:
            return self._suspects[0]
        lane = self._next_lane()
        return self._lanes[lane][0] if lane is not None else None

    def drop(self, unwanted: Callable[[Delivery], bool]) -> list[Delivery]:
        """Give up every delivery that this is true of; the order of the others stays."""
        dropped: list[Delivery] = []
        for held in (self._suspects, *self._lanes.values()):
            for _ in range(len(held)):
                delivery = held.popleft()
                if unwanted(delivery):
                    self._count(delivery, -1)
                    dropped.append(delivery)
                else:
                    held.append(delivery)
        return dropped

    def _next_lane(self) -> Lane | None:
        waiting = [lane for lane, held in self._lanes.items() if held]
        return min(waiting, key=lambda lane: self._passes[lane]) if waiting else None

    def _count(self, delivery: Delivery, one: int) -> None:
        self._counts[delivery.lane] += one
        self._bytes[delivery.lane] += one * len(delivery.raw)
