"""Which work goes to the engine next. Pure: it holds work and never waits.

The order is decided by one rule, from the top:

1. Suspects come before all others, since they run apart: the fewer times the engine has to run empty for them, the
   better. Those come first that are of the fewest (`suspect_queue`).
2. Lanes take turns by weight, so that `low` moves while `high` is full.
3. Within a lane tenants take turns, and share it fairly by expected tokens (`fair_queue`).
4. Within a tenant the earliest deadline begins a run, and what shares its adapter and prompt's beginning follows it,
   up to a bound (`tenant_queue`).
5. Among equals it is first come, first served; near the end it is the longest first.
"""

import math
from collections.abc import Callable, Mapping

from backburner_schemas.names import Lane
from backburner_worker.scheduling.fair_queue import FairQueue
from backburner_worker.scheduling.suspect_queue import SuspectQueue
from backburner_worker.scheduling.tenant_queue import BUCKET_SECONDS
from backburner_worker.scheduling.work import Work
from backburner_worker.scheduling.work_set import QueuedWork

_ENDING_RATIO = 0.25
"""A tenant of which not more than this share of the window is held is near its end."""


class _LaneQueue:
    """What is held of one lane, suspects included, and the lane's turn among the others."""

    __slots__ = ("bytes", "count", "lane", "passed", "queue", "stride")

    def __init__(self, lane: Lane, stride: int, few: int) -> None:
        self.lane = lane
        self.stride = stride
        self.passed = 0
        self.count = 0
        self.bytes = 0
        self.queue = FairQueue(few)


class Feeder:
    """A window of work that waits for the engine. The same calls always yield the same order."""

    def __init__(self, weights: Mapping[Lane, int], window: int, window_bytes: int) -> None:
        """Hold about `window` deliveries and `window_bytes` of each lane; share the engine by `weights`.

        One pull may go over the bytes once.
        """
        turns = math.lcm(*weights.values())
        self._lanes = {lane: _LaneQueue(lane, turns // weights[lane], int(window * _ENDING_RATIO)) for lane in Lane}
        self._in_order = tuple(self._lanes.values())
        self._clock = 0
        self._window = window
        self._window_bytes = window_bytes
        self._suspects = SuspectQueue()
        self.held = 0
        """Works that are held. Others only read."""
        self._numbers = 0
        self._taken: tuple[_LaneQueue, QueuedWork] | None = None
        """What was taken last. It stays where it was held until the next call, so that putting it back undoes all."""

    def __len__(self) -> int:
        return self.held

    @property
    def suspects(self) -> int:
        """Suspects that are held; while there is one, it is the next delivery."""
        return len(self._suspects)

    def budget(self) -> dict[Lane, int]:
        """How many more deliveries of each lane fit into the window; lanes without room are left out."""
        return {
            lane.lane: self._window - lane.count
            for lane in self._in_order
            if lane.count < self._window and lane.bytes < self._window_bytes
        }

    def reopened(self, budget: Mapping[Lane, int]) -> bool:
        """Whether a lane that had no room in that budget has half its window free by now: worth another pull."""
        return any(
            lane.lane not in budget and lane.count <= self._window // 2 and lane.bytes <= self._window_bytes // 2
            for lane in self._in_order
        )

    def add(self, work: Work) -> None:
        """Hold it until its turn."""
        if self._taken is not None:
            self._let_go()
        delivery, run = work.delivery, work.run
        lane = self._lanes[delivery.lane]
        self._count(lane, 1, work.weight)
        if delivery.facts.suspect:
            self._suspects.add(work)
            return
        if lane.queue.turn is None:
            # A lane that slept may not catch up on turns that it had no use for.
            lane.passed = max(lane.passed, self._clock)
        self._numbers += 1
        body, deadline = run.envelope.body, run.deadline
        model = body.get("model") if body else None
        lane.queue.put(
            QueuedWork(
                self._numbers,
                work,
                run.envelope.tenant,
                (model if isinstance(model, str) else None, *work.prefix),
                deadline if deadline == math.inf else deadline // BUCKET_SECONDS,
                max(work.tokens, 1),
                work.weight,
            )
        )

    def take(self) -> Work | None:
        """The next work, or None. Its lease may be lost by now."""
        if self._suspects:
            if self._taken is not None:
                self._let_go()
            work = self._suspects.take()
            self._count(self._lanes[work.lane], -1, work.weight)
            return work
        if (lane := self._next_lane()) is None:
            return None
        queued = lane.queue.front()
        self._taken = lane, queued
        self._count(lane, -1, queued.size)
        return queued.work

    def put_back(self, work: Work) -> None:
        """Undo the last `take`: as if it had not been. The feeder may not have been called in between."""
        if work.suspect:
            self._suspects.put_back(work)
            self._count(self._lanes[work.lane], 1, work.weight)
            return
        if self._taken is None or self._taken[1].work is not work:
            raise RuntimeError("only what was taken last can be put back, and at once")
        lane, queued = self._taken
        self._taken = None
        self._count(lane, 1, queued.size)

    def peek(self) -> Work | None:
        """What `take` would return."""
        if self._suspects:
            return self._suspects.first
        lane = self._next_lane()
        return lane.queue.front().work if lane is not None else None

    def drop(self, unwanted: Callable[[Work], bool]) -> list[Work]:
        """Give up all work that this is true of."""
        if self._taken is not None:
            self._let_go()
        dropped = self._suspects.drop(unwanted)
        for work in dropped:
            self._count(self._lanes[work.lane], -1, work.weight)
        for lane in self._in_order:
            for queued in lane.queue.drop(lambda one: unwanted(one.work)):
                self._count(lane, -1, queued.size)
                dropped.append(queued.work)
        return dropped

    def _next_lane(self) -> _LaneQueue | None:
        if self._taken is not None:
            self._let_go()
        first = None
        for lane in self._in_order:
            if lane.queue.turn is not None and (first is None or lane.passed < first.passed):
                first = lane
        return first

    def _let_go(self) -> None:
        """What was taken last will not be put back any more: count its turn."""
        assert self._taken is not None
        lane, _ = self._taken
        self._taken = None
        lane.queue.pop()
        self._clock = lane.passed
        lane.passed += lane.stride

    def _count(self, lane: _LaneQueue, one: int, size: int) -> None:
        self.held += one
        lane.count += one
        lane.bytes += one * size
