"""How much of the stored jobs lies on the queue unanswered, by lane of a pool, and so how much more may be sent. Pure.

The queue is kept short and the backlog in the store: what lies on the queue can be neither reordered, paused nor shared
out any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from backburner.dispatcher.claim import JobKey
from backburner.dispatcher.sharing.scheduler import TURN_REQUESTS, Queue
from backburner_schemas.names import Lane


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a stored job that is not frozen has come."""

    job: JobKey
    lane: Lane
    pools: Sequence[str]
    """Where its requests go; empty while its input is not checked."""
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

    @property
    def unanswered(self) -> int:
        """Requests that have no record yet, sent or not."""
        return max(self.total - self.recorded, 0)

    @property
    def queues(self) -> Sequence[Queue]:
        """The lanes that its requests go to."""
        return [(pool, self.lane) for pool in self.pools]


@dataclass(frozen=True, slots=True)
class Survey:
    """All stored jobs that are not frozen, and the pools, as the store showed them at one time."""

    jobs: Sequence[JobProgress] = ()
    workers: Mapping[str, int] = field(default_factory=dict)
    """Live workers of each pool."""

    def unsent_since(self) -> float | None:
        """When the oldest job was made that is not sent whole, in Unix seconds; None if all are."""
        return min((job.created_at for job in self.jobs if not job.total or job.sent < job.total), default=None)

    def queued_since(self) -> Mapping[Queue, float]:
        """For each lane with unanswered messages, when the oldest job was made that has some, in Unix seconds."""
        return _least((queue, job.created_at) for job in self.jobs if job.on_the_queue for queue in job.queues)

    def pending(self) -> Mapping[Queue, int]:
        """Requests without a record, sent or not, by lane; a job's are split evenly among its pools."""
        return _sums(self.jobs, "unanswered")

    def on_the_queue(self) -> Mapping[Queue, int]:
        """Requests that were sent and have no record yet, by lane."""
        return _sums(self.jobs, "on_the_queue")


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


def _sums(jobs: Iterable[JobProgress], figure: str) -> dict[Queue, int]:
    found: dict[Queue, int] = {}
    for job in jobs:
        count, queues = getattr(job, figure), job.queues
        for place, queue in enumerate(queues):
            share = count // len(queues) + (place < count % len(queues))
            found[queue] = found.get(queue, 0) + share
    return found


def _least(pairs: Iterable[tuple[Queue, float]]) -> dict[Queue, float]:
    found: dict[Queue, float] = {}
    for queue, value in pairs:
        found[queue] = min(found.get(queue, value), value)
    return found
