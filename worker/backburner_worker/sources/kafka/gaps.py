"""Records that a broker may show late: offsets that were passed by are read again for a while before they are given up.

Kafka shows a partition's records in order, so that what is not there will never come. A broker that numbers a record
first and stores it afterwards, each producer's on its own, shows a later one in between. Tansu does that. Pure: it asks
nobody, and by a monotonic clock that its caller reads.
"""

from collections.abc import Callable
from dataclasses import dataclass

from backburner.logs import get_logger
from backburner_worker.sources.kafka.assignment import Assignment, Partition

GIVE_UP_SECONDS = 90.0
"""A producer waits 60 s for a record to be acknowledged, as ours do, and sends it again then, under another offset."""
_FIRST_LOOK_SECONDS = 0.1
_MAX_LOOK_SECONDS = 10.0

log = get_logger(__name__)


@dataclass(slots=True)
class _Watch:
    """The gaps of one partition that were there at one time."""

    since: float
    below: int
    """They are below this offset; later ones have a time of their own."""
    look_at: float
    wait: float = _FIRST_LOOK_SECONDS


class GapWatch:
    """Has partitions with gaps read again, ever more seldom, and gives up what did not come."""

    def __init__(self, assignment: Assignment, seek: Callable[[Partition, int], None]) -> None:
        """`seek` has a partition read on from that offset."""
        self._assignment = assignment
        self._seek = seek
        self._watches: dict[Partition, _Watch] = {}

    def step(self, now: float) -> None:
        """Do what is due at that monotonic time."""
        gaps = self._assignment.gaps()
        self._watches = {partition: watch for partition, watch in self._watches.items() if partition in gaps}
        for partition, first in gaps.items():
            watch = self._watches.get(partition)
            if watch is None or first >= watch.below:
                below = self._assignment.position(partition)
                self._watches[partition] = _Watch(now, below, now + _FIRST_LOOK_SECONDS)
            elif now >= watch.look_at and not self._assignment.is_reread(partition):
                self._step(partition, first, watch, now)

    def _step(self, partition: Partition, first: int, watch: _Watch, now: float) -> None:
        if now - watch.since < GIVE_UP_SECONDS:
            watch.wait = min(2 * watch.wait, _MAX_LOOK_SECONDS)
            watch.look_at = now + watch.wait
            self._assignment.reread(partition)
            self._seek(partition, first)
            return
        count = self._assignment.close_gaps(partition, watch.below)
        log.warning(
            "offsets were left out by the broker and did not come; going on without them",
            topic=partition[0],
            partition=partition[1],
            offset=first,
            offsets=count,
        )
