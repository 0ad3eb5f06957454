"""Records that a broker may show late: offsets that were passed by are read again for a while before they are given up.

Kafka shows a partition's records in order, so that what is not there will never come. A broker that numbers a record
first and stores it afterwards, each producer's on its own, shows a later one in between. Tansu does that. Pure: it asks
nobody, and by a monotonic clock that its caller reads.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from backburner.logs import get_logger
from backburner_worker.sources.kafka.assignment import Assignment, Partition

GIVE_UP_SECONDS = 75.0
"""A producer waits up to 60 s for its record to be acknowledged, as ours do, and sends it anew then, elsewhere."""
_FIRST_LOOK_SECONDS = 0.1
_MAX_LOOK_SECONDS = 10.0
_REMEMBERED_SECONDS = 600.0

log = get_logger(__name__)


@dataclass(slots=True)
class _Watch:
    """The gaps of one partition."""

    look_at: float
    wait: float = _FIRST_LOOK_SECONDS
    looked_at: float = -math.inf
    """When the last look began, after which all up to the position was read."""
    noticed: list[tuple[float, int]] = field(default_factory=list)
    """When gaps were noticed, and the offset that all were below which there were by then."""

    def note(self, stop: int, now: float) -> None:
        """There are gaps up to that offset now."""
        if not self.noticed or stop > self.noticed[-1][1]:
            self.noticed.append((now, stop))
            self.wait = _FIRST_LOOK_SECONDS
            # Never later: where gaps come one upon another, each look would wait for the last of them.
            self.look_at = min(self.look_at, now + self.wait)

    def given_up(self) -> int:
        """The offset below which nothing is waited for any more: a look that began late enough has not found it."""
        below = 0
        while self.noticed and self.looked_at - self.noticed[0][0] >= GIVE_UP_SECONDS:
            _, below = self.noticed.pop(0)
        return below


class GapWatch:
    """Has partitions with gaps read again, ever more seldom, and gives up what did not come."""

    def __init__(self, assignment: Assignment, sought: Callable[[Partition], None]) -> None:
        """`sought` has a partition read on from where the assignment says."""
        self._assignment = assignment
        self._sought = sought
        self._watches: dict[Partition, _Watch] = {}

    def step(self, now: float) -> None:
        """Do what is due at that monotonic time."""
        gaps = self._assignment.gaps()
        if not gaps and not self._watches:
            return
        # What is filled may be open again: where the partition goes away and comes back.
        self._watches = {
            partition: watch
            for partition, watch in self._watches.items()
            if partition in gaps or now - watch.look_at < _REMEMBERED_SECONDS
        }
        for partition, (first, stop) in gaps.items():
            watch = self._watches.setdefault(partition, _Watch(now + _FIRST_LOOK_SECONDS))
            watch.note(stop, now)
            if self._assignment.is_reread(partition) or self._gave_up(partition, first, watch):
                continue
            if now >= watch.look_at:
                self._look(partition, watch, now)

    def forget(self, partition: Partition) -> None:
        """The partition is another log than it was: what is missing there has not been waited for yet."""
        self._watches.pop(partition, None)

    def _gave_up(self, partition: Partition, first: int, watch: _Watch) -> bool:
        count = self._assignment.close_gaps(partition, watch.given_up())
        if count:
            log.warning(
                "offsets were left out by the broker and did not come; going on without them",
                topic=partition[0],
                partition=partition[1],
                offset=first,
                offsets=count,
            )
        return count > 0

    def _look(self, partition: Partition, watch: _Watch, now: float) -> None:
        watch.wait = min(2 * watch.wait, _MAX_LOOK_SECONDS)
        watch.look_at = now + watch.wait
        watch.looked_at = now
        self._assignment.reread(partition)
        self._sought(partition)
