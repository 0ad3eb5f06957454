"""How much of the stored jobs lies on the queue unanswered, by lane of a pool, and so how much more may be sent. Pure.

The queue is kept short and the backlog in the store: what lies on the queue can be neither reordered, paused nor shared
out any more.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from backburner.dispatcher.claim import JobKey
from backburner.dispatcher.sharing.scheduler import TURN_REQUESTS, Queue
from backburner_schemas.names import Lane


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a stored job that is not frozen has come."""

    job: JobKey
    lane: Lane
    pools: Sequence[tuple[str, int]]
    """Where its requests go, one pool after the other, with their numbers; empty while its input is not checked."""
    created_at: float
    """Unix seconds."""
    total: int
    """Its requests; 0 while that is not known."""
    sent: int
    recorded: int
    """Records that its segments hold, by their names: an index can be counted twice."""

    @property
    def on_the_queue(self) -> int:
        """Requests that were sent and have no record yet."""
        return max(self.sent - self.recorded, 0)

    def sent_to(self) -> Mapping[str, int]:
        """Requests that were sent to each pool."""
        found, left = {}, self.sent
        for pool, count in self.pools:
            found[pool] = min(count, left)
            left -= found[pool]
        return found


@dataclass(frozen=True, slots=True)
class Survey:
    """All stored jobs that are not frozen, and the pools, as the store showed them at one time."""

    jobs: Sequence[JobProgress] = ()
    workers: Mapping[str, int] = field(default_factory=dict)
    """Live workers of each pool."""
    bound: int = sys.maxsize
    """Unanswered requests that a lane of a pool may have."""

    def unsent_since(self) -> float | None:
        """When the oldest job was made that is not sent whole, in Unix seconds; None if all are."""
        return min((job.created_at for job in self.jobs if not job.total or job.sent < job.total), default=None)

    def queued_since(self) -> Mapping[Queue, float]:
        """For each lane with unanswered messages, when the oldest job was made that has some, in Unix seconds."""
        found: dict[Queue, float] = {}
        for job in self.jobs:
            for pool, count in self._on_the_queue(job).items():
                if count:
                    queue = pool, job.lane
                    found[queue] = min(found.get(queue, job.created_at), job.created_at)
        return found

    def pending(self) -> Mapping[Queue, int]:
        """Requests without a record, sent or not, by lane."""
        found = Counter(self.on_the_queue())
        for job in self.jobs:
            sent = job.sent_to()
            found.update({(pool, job.lane): count - sent[pool] for pool, count in job.pools})
        return found

    def pending_with_room(self) -> int:
        """Requests without a record in lanes of live pools that are below their bound.

        More dispatchers could help with these alone: a full lane waits for workers, and to a pool without one nothing
        is sent.
        """
        queued = self.on_the_queue()
        return sum(
            count
            for queue, count in self.pending().items()
            if queued.get(queue, 0) < self.bound and self.workers.get(queue[0])
        )

    def on_the_queue(self) -> Mapping[Queue, int]:
        """Requests that were sent and have no record yet, by lane."""
        found: Counter[Queue] = Counter()
        for job in self.jobs:
            found.update({(pool, job.lane): count for pool, count in self._on_the_queue(job).items()})
        return found

    def _on_the_queue(self, job: JobProgress) -> Mapping[str, int]:
        """Those of one job by pool. Which pool a record came from, no segment's name tells.

        So they are taken to be at pools that nobody serves, as many as a bound lets be there, then at those that were
        sent to last: what cannot be answered in one pool must not keep another one's lane shut.
        """
        sent, left, found = job.sent_to(), job.on_the_queue, dict[str, int]()
        for pool in (pool for pool, _ in reversed(job.pools) if not self.workers.get(pool)):
            found[pool] = min(sent[pool], left, self.bound)
            left -= found[pool]
        for pool, _ in reversed(job.pools):
            more = min(sent[pool] - found.get(pool, 0), left)
            found[pool] = found.get(pool, 0) + more
            left -= more
        return found


class Backlog:
    """What may still be sent: the bound, less what lay on the queue at the last survey, less what was sent since."""

    def __init__(self, bound: int) -> None:
        """`bound` is the number of unanswered requests that a lane of a pool may have."""
        self._bound = bound
        self._turn = min(TURN_REQUESTS, bound)
        self._queued: Mapping[Queue, int] = {}
        self._since: dict[Queue, int] = {}
        self._before: dict[Queue, int] = {}
        self._full = False
        self.survey = Survey()
        """The latest."""
        self.known = False
        """Whether there was one."""

    @property
    def bound(self) -> int:
        """How many unanswered requests a lane may have."""
        return self._bound

    @property
    def full(self) -> bool:
        """Whether somebody was told since the last survey that a lane has no room."""
        return self._full

    def room(self, queue: Queue, wanted: int) -> int:
        """How many of the wanted requests may go there now, in one turn; 0 rather than a few, unless few are wanted."""
        room = self._bound - self.unanswered(queue)
        if room >= min(self._turn, wanted):
            return min(self._turn, wanted)
        self._full = True
        return 0

    def unanswered(self, queue: Queue) -> int:
        """Requests that lie there, as far as this process knows."""
        return self._queued.get(queue, 0) + self._since.get(queue, 0)

    def has_workers(self, pool: str) -> bool:
        """Whether the pool has a live worker."""
        return self.survey.workers.get(pool, 0) > 0

    def sent(self, queue: Queue, requests: int) -> None:
        """So many were sent there by this process."""
        self._since[queue] = self._since.get(queue, 0) + requests

    def begin_survey(self) -> None:
        """From now on the store is looked at: what is sent meanwhile may be missing in what is found."""
        self._before = dict(self._since)

    def surveyed(self, survey: Survey) -> None:
        """That was found."""
        self.survey, self.known = survey, True
        self._queued = survey.on_the_queue()
        self._since = {
            queue: left for queue, sent in self._since.items() if (left := sent - self._before.get(queue, 0)) > 0
        }
        self._full = False
