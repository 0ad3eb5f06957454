"""The works of one lane, shared fairly between its tenants: deficit round robin by expected tokens. Pure.

Tenants take turns. A turn allows `QUANTUM_TOKENS` and ends with the work that uses them up; what it took beyond them is
taken off the next turn, and whoever took more than a whole turn skips turns. A new tenant joins behind all
that wait. So between two turns of a tenant each of the others gets no more than a quantum and its largest work, and
over many turns all get the same. A debt is forgotten when nobody else waits.
"""

from collections.abc import Callable
from heapq import heappop, heappush

from backburner_worker.scheduling.tenant_queue import TenantQueue
from backburner_worker.scheduling.work_set import QueuedWork

QUANTUM_TOKENS = 4096
"""Tokens of a turn: some requests, so that what shares a prompt stays together, and a second of a GPU at most."""


class FairQueue:
    """Works of one lane. Each operation but `drop` costs O(log n) at most, over many of them."""

    __slots__ = ("_few", "_joined", "_queues", "_ring", "_round", "turn")

    def __init__(self, few: int) -> None:
        """A tenant of which not more than so many are held is near its end."""
        self._few = few
        self._queues: dict[str, TenantQueue] = {}
        self.turn: TenantQueue | None = None
        """Whose turn it is: one that has work. None if nothing is held. Others only read."""
        self._ring: list[tuple[int, int, TenantQueue]] = []
        """A heap of those that wait for their turn, by its round; some have no work any more, but a debt."""
        self._round = 0
        self._joined = 0

    def put(self, queued: QueuedWork) -> None:
        """Hold one more, which came after all others."""
        queue = self._queues.get(queued.tenant)
        if queue is None:
            queue = self._queues[queued.tenant] = TenantQueue(queued.tenant, self._few)
            if self.turn is None:
                queue.allowance = QUANTUM_TOKENS
                self.turn = queue
            else:
                self._join(queue)
        queue.put(queued)

    def front(self) -> QueuedWork:
        """The next. There must be one."""
        assert self.turn is not None
        return self.turn.front()

    def pop(self) -> None:
        """Take the one that `front` returns."""
        turn = self.turn
        assert turn is not None
        turn.allowance -= turn.pop().tokens
        if turn.allowance <= 0 or not turn.works:
            self._pass_on(turn)

    def drop(self, unwanted: Callable[[QueuedWork], bool]) -> list[QueuedWork]:
        """Give up all that this is true of; of each tenant in the order in which it came."""
        dropped = []
        for queue in self._queues.values():
            found = [queued for queued in queue.works.values() if unwanted(queued)]
            for queued in found:
                queue.remove(queued)
            dropped += found
        if self.turn is not None and not self.turn.works:
            self._pass_on(self.turn)
        return dropped

    def _pass_on(self, turn: TenantQueue) -> None:
        if turn.works and not self._ring:
            # Nobody else waits, so nobody loses anything.
            turn.allowance = QUANTUM_TOKENS
            return
        if turn.works or turn.allowance < 0:
            skipped, debt = divmod(-turn.allowance, QUANTUM_TOKENS)
            turn.allowance = -debt
            self._join(turn, skipped)
        else:
            del self._queues[turn.tenant]
        self.turn = None
        while self._ring and self.turn is None:
            self._round, _, following = heappop(self._ring)
            if following.works:
                following.allowance += QUANTUM_TOKENS
                self.turn = following
            else:
                del self._queues[following.tenant]

    def _join(self, queue: TenantQueue, skipped: int = 0) -> None:
        self._joined += 1
        heappush(self._ring, (self._round + 1 + skipped, self._joined, queue))
