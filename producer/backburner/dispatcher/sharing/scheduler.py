"""Whose turn it is: fair between tenants by weight, earliest deadline first within one, lanes by weight. Pure.

Each tenant of a lane has an account of the requests that were sent for it, divided by its weight, and whoever has the
least goes next: a fair queue, which serves each in proportion while it has work. Turns end with whole groups, so that
sharing does not take apart what the order put together.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from backburner_schemas.names import Lane

TURN_REQUESTS = 512
"""Requests of one turn; it may be fewer, to end with a group."""
URGENT_RATIO = 0.1
"""A job is urgent in the last tenth of the time from its making to its deadline."""
BORROWED_REQUESTS = 8 * TURN_REQUESTS
"""How far a tenant with an urgent job may get ahead of its share."""
LANE_WEIGHTS = {Lane.HIGH: 8, Lane.NORMAL: 4, Lane.LOW: 1}
"""How lanes share what the dispatcher can send, as workers share their engine among them unless told otherwise."""
_MAX_QUEUES = 1000
"""Lanes of pools that accounts are kept of."""

Queue = tuple[str, Lane]
"""A lane of a pool."""


class Sendable(Protocol):
    """A job that could be sent from now."""

    @property
    def tenant(self) -> str:
        """Whose it is."""
        ...

    @property
    def queue(self) -> Queue:
        """Where its next requests go."""
        ...

    @property
    def created_at(self) -> float:
        """Unix seconds."""
        ...

    @property
    def deadline(self) -> float:
        """Unix seconds."""
        ...


SendableT = TypeVar("SendableT", bound=Sendable)


@dataclass(slots=True)
class _Accounts:
    """What the tenants of a lane were given, in requests for each unit of weight."""

    spent: dict[str, float]
    floor: float = 0.0
    """The account of the last one that was served: who comes back begins there, and has saved nothing up."""

    def enter(self, tenants: Collection[str]) -> None:
        for tenant in tenants:
            self.spent[tenant] = max(self.spent.get(tenant, 0.0), self.floor)
        # Whoever is not ahead of the floor would begin there anyway.
        gone = [name for name, spent in self.spent.items() if name not in tenants and spent <= self.floor]
        for name in gone:
            del self.spent[name]


class Scheduler:
    """Picks the job that sends next. The same calls in the same order always return the same."""

    def __init__(self, weight: Callable[[str], float]) -> None:
        """`weight` is a tenant's: of two that always have work, each gets in proportion to it."""
        self._weight = weight
        self._tenants: dict[Queue, _Accounts] = {}
        self._lanes: dict[Queue, float] = {}
        self._lane_floor = 0.0

    def pick(self, ready: Iterable[SendableT], now: float) -> SendableT | None:
        """The job whose turn it is among those that could send; None of none."""
        queues: dict[Queue, list[SendableT]] = {}
        for job in ready:
            queues.setdefault(job.queue, []).append(job)
        if not queues:
            return None
        for queue in queues:
            self._lanes[queue] = max(self._lanes.get(queue, 0.0), self._lane_floor)
        queue = min(queues, key=lambda one: (self._lanes[one], one))
        self._lane_floor = self._lanes[queue]
        return self._pick_in(queue, queues[queue], now)

    def _pick_in(self, queue: Queue, ready: list[SendableT], now: float) -> SendableT:
        accounts = self._of(queue)
        accounts.enter({job.tenant for job in ready})
        spent = accounts.spent
        least = min(spent[job.tenant] for job in ready)
        accounts.floor = least
        urgent = [
            job
            for job in ready
            if job.deadline - now < URGENT_RATIO * (job.deadline - job.created_at)
            and spent[job.tenant] <= least + BORROWED_REQUESTS
        ]
        if urgent:
            return min(urgent, key=lambda job: (job.deadline, spent[job.tenant]))
        return min(ready, key=lambda job: (spent[job.tenant], job.tenant, job.deadline))

    def charge(self, tenant: str, queue: Queue, requests: int) -> None:
        """So many requests of that tenant were sent there."""
        accounts = self._of(queue)
        accounts.spent[tenant] = accounts.spent.get(tenant, accounts.floor) + requests / self._weight(tenant)
        weight = LANE_WEIGHTS.get(queue[1], 1)
        self._lanes[queue] = self._lanes.get(queue, self._lane_floor) + requests / weight

    def _of(self, queue: Queue) -> _Accounts:
        """The lane's accounts; where there are very many lanes, the one that was made first is forgotten."""
        found = self._tenants.get(queue)
        if found is None:
            found = self._tenants[queue] = _Accounts({})
            if len(self._tenants) > _MAX_QUEUES:
                gone = next(iter(self._tenants))
                del self._tenants[gone]
                self._lanes.pop(gone, None)
        return found
