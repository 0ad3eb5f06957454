"""How much to ask of each SQS queue now, and what to hand out of what came. Pure state between polls and pipeline."""

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Mapping

from backburner_schemas.names import Lane
from backburner_worker.sources.sqs.in_flight import InFlightMessage, Stage

MAX_POLL_MESSAGES = 10
"""Messages that one receive call returns at most."""
READ_AHEAD_MESSAGES = 100
"""Messages of a lane that are read ahead at most. Few: each costs heartbeats, and others could run it."""
READ_AHEAD_BYTES = 16 * 1024 * 1024
"""Bytes of a lane that are read ahead at most; what the calls under way return comes on top."""
MAX_POLLS = 8
"""Receive calls of a lane under way at once."""
HAND_OUT_RECORDS = 128
HAND_OUT_BYTES = 2 * 1024 * 1024
"""Of each lane in one pull: decoding more at once would hold up the loop that feeds the engine."""


class _LaneIntake:
    """What one lane has read ahead, and the calls that read for it."""

    def __init__(self) -> None:
        self.budget = 0
        self.widest = 0
        self.ready: deque[InFlightMessage] = deque()
        self.later: list[tuple[float, int, InFlightMessage]] = []
        self.bytes = 0
        self.asked = 0
        self.polls = 0
        self.allowed = 1

    def next_poll(self) -> int:
        """How many messages one more call should ask for; 0 for no call."""
        # Only full batches: a call costs the same for one message as for ten.
        size = min(MAX_POLL_MESSAGES, self.widest) if self.bytes < READ_AHEAD_BYTES else 0
        room = min(READ_AHEAD_MESSAGES, max(self.budget, size)) - len(self.ready) - len(self.later) - self.asked
        return size if self.budget > 0 and self.polls < self.allowed and room >= size else 0


class SqsIntake:
    """The messages between SQS and the pipeline, of all lanes."""

    def __init__(self, lanes: Iterable[Lane]) -> None:
        self._lanes = {lane: _LaneIntake() for lane in lanes}
        self._numbers = itertools.count()
        self.stopped = False

    def want(self, budget: Mapping[Lane, int]) -> None:
        """The pipeline has room for that many of each lane."""
        for lane, state in self._lanes.items():
            state.budget = max(budget.get(lane, 0), 0)
            state.widest = max(state.widest, state.budget)

    def stop(self) -> None:
        """Ask and hand out no more."""
        self.stopped = True
        for state in self._lanes.values():
            state.ready.clear()
            state.later.clear()
            state.bytes = 0

    def polls(self) -> list[tuple[Lane, int]]:
        """The calls to begin now, each with the number of messages to ask for. They count as begun."""
        found: list[tuple[Lane, int]] = []
        for lane, state in self._lanes.items():
            while not self.stopped and (size := state.next_poll()):
                state.polls += 1
                state.asked += size
                found.append((lane, size))
        return found

    def polled(self, lane: Lane, size: int, came: int) -> None:
        """A call for `size` messages ended, with so many. Full ones lead to more calls at once, empty ones to one."""
        state = self._lanes[lane]
        state.polls -= 1
        state.asked -= size
        if came >= size:
            state.allowed = min(state.allowed + 1, MAX_POLLS)
        elif came == 0:
            state.allowed = 1

    def add(self, held: InFlightMessage, due: float | None) -> None:
        """Keep a message until it is handed out, and not before that monotonic time."""
        state = self._lanes[held.received.lane]
        state.bytes += len(held.received.body)
        if due is None:
            state.ready.append(held)
        else:
            heapq.heappush(state.later, (due, next(self._numbers), held))

    def hand_out(self, now: float) -> list[InFlightMessage]:
        """Messages within the budget, bounded, of what is due at that monotonic time and still waits."""
        found: list[InFlightMessage] = []
        for state in self._lanes.values():
            while state.later and state.later[0][0] <= now:
                state.ready.append(heapq.heappop(state.later)[2])
            room, size = min(state.budget, HAND_OUT_RECORDS), 0
            while room > 0 and size < HAND_OUT_BYTES and state.ready:
                held = state.ready.popleft()
                state.bytes -= len(held.received.body)
                if held.stage is Stage.WAITING and not held.dropped:
                    found.append(held)
                    room -= 1
                    state.budget -= 1
                    size += len(held.received.body)
        return found

    def due_at(self) -> float | None:
        """Monotonic time at which the next message that is held back is due; None if there is none."""
        return min(
            (state.later[0][0] for state in self._lanes.values() if state.later and state.budget > 0), default=None
        )
