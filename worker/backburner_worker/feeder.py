"""Which delivery goes to the engine next. Pure: it holds deliveries and never waits.

Lanes take turns by weight, so that `low` moves while `high` is full. Within a lane it is first come, first served.
"""

from collections import deque
from collections.abc import Iterator, Mapping

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
        self._lanes: dict[Lane, deque[Delivery]] = {lane: deque() for lane in Lane}

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def budget(self) -> dict[Lane, int]:
        """How many more deliveries of each lane fit into the window; lanes without room are left out."""
        return {
            lane: self._window - len(held)
            for lane, held in self._lanes.items()
            if len(held) < self._window and self._bytes[lane] < self._window_bytes
        }

    def reopened(self, budget: Mapping[Lane, int]) -> bool:
        """Whether a lane that had no room in that budget has half its window free by now: worth another pull."""
        return any(
            lane not in budget and len(held) <= self._window // 2 and self._bytes[lane] <= self._window_bytes // 2
            for lane, held in self._lanes.items()
        )

    def add(self, delivery: Delivery) -> None:
        """Hold a delivery until its turn."""
        lane = self._lanes[delivery.lane]
        if not lane:
            # A lane that slept may not catch up on turns that it had no use for.
            self._passes[delivery.lane] = max(self._passes[delivery.lane], self._clock)
        lane.append(delivery)
        self._bytes[delivery.lane] += len(delivery.raw)

    def take(self) -> Delivery | None:
        """The next delivery, or None. Its lease may be lost by now."""
        waiting = [lane for lane, held in self._lanes.items() if held]
        if not waiting:
            return None
        lane = min(waiting, key=lambda lane: self._passes[lane])
        delivery = self._lanes[lane].popleft()
        self._bytes[lane] -= len(delivery.raw)
        self._clock = self._passes[lane]
        self._passes[lane] += self._strides[lane]
        return delivery

    def drop_all(self) -> Iterator[Delivery]:
        """Give up every delivery that waits."""
        while (delivery := self.take()) is not None:
            yield delivery
