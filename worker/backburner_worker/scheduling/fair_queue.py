"""The works of one lane, shared fairly between its tenants: deficit round robin by expected tokens. Pure.

Tenants take turns. A turn allows `QUANTUM` tokens and ends with the work that uses them up; what it took beyond them is
taken off the next turn, and whoever took more than a whole turn sits turns out. A tenant that comes joins behind all
that wait. So between two turns of a tenant each of the others gets no more than a quantum and its largest work, and
over many turns all get the same. A debt is forgotten when nobody else waits.
"""

from collections.abc import Callable
from heapq import heappop, heappush

from backburner_worker.scheduling.tenant_queue import Backlog
from backburner_worker.scheduling.work_set import Held

QUANTUM = 4096
"""Tokens of a turn: some requests, so that what shares a prompt stays together, and a second of a GPU at most."""


class Tenants:
    """Works of one lane. Each operation but `drop` costs O(log n) at most, over many of them."""

    __slots__ = ("_backlogs", "_few", "_joined", "_ring", "_round", "turn")

    def __init__(self, few: int) -> None:
        """A tenant of which not more than so many are held is near its end."""
        self._few = few
        self._backlogs: dict[str, Backlog] = {}
        self.turn: Backlog | None = None
        """Whose turn it is: one that has work. None if nothing is held. Others only read."""
        self._ring: list[tuple[int, int, Backlog]] = []
        """A heap of those that wait for their turn, by its round; some have no work any more, but a debt."""
        self._round = 0
        self._joined = 0

    def put(self, held: Held) -> None:
        """Hold one more, which came after all others."""
        backlog = self._backlogs.get(held.tenant)
        if backlog is None:
            backlog = self._backlogs[held.tenant] = Backlog(held.tenant, self._few)
            if self.turn is None:
                backlog.allowance = QUANTUM
                self.turn = backlog
            else:
                self._join(backlog)
        backlog.put(held)

    def front(self) -> Held:
        """The next. There must be one."""
        assert self.turn is not None
        return self.turn.front()

    def pop(self) -> None:
        """Take the one that `front` tells."""
        turn = self.turn
        assert turn is not None
        turn.allowance -= turn.pop().tokens
        if turn.allowance <= 0 or not turn.works:
            self._pass_on(turn)

    def drop(self, unwanted: Callable[[Held], bool]) -> list[Held]:
        """Give up all that this is true of; of each tenant in the order in which it came."""
        dropped = []
        for backlog in self._backlogs.values():
            found = [held for held in backlog.works.values() if unwanted(held)]
            for held in found:
                backlog.remove(held)
            dropped += found
        if self.turn is not None and not self.turn.works:
            self._pass_on(self.turn)
        return dropped

    def _pass_on(self, turn: Backlog) -> None:
        if turn.works and not self._ring:
            # Nobody else waits, so it takes nothing from anybody.
            turn.allowance = QUANTUM
            return
        if turn.works or turn.allowance < 0:
            skipped, debt = divmod(-turn.allowance, QUANTUM)
            turn.allowance = -debt
            self._join(turn, skipped)
        else:
            del self._backlogs[turn.tenant]
        self.turn = None
        while self._ring and self.turn is None:
            self._round, _, following = heappop(self._ring)
            if following.works:
                following.allowance += QUANTUM
                self.turn = following
            else:
                del self._backlogs[following.tenant]

    def _join(self, backlog: Backlog, skipped: int = 0) -> None:
        self._joined += 1
        heappush(self._ring, (self._round + 1 + skipped, self._joined, backlog))
