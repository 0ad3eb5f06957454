"""Which server gets a request: the least loaded of those that have room; without any, requests wait in line. No I/O."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from backburner_schemas.errors import EngineError
from backburner_worker.engine.openai_http.server import Place, Server


@dataclass(slots=True)
class _Waiting:
    name: str
    place: asyncio.Future[Place]


class Balancer:
    """Servers and the line before them. Whoever changes a server's state calls `hand_out` afterwards."""

    def __init__(self, servers: Sequence[Server], clock: Callable[[], float]) -> None:
        """`clock` tells monotonic seconds."""
        self.servers = tuple(servers)
        self._clock = clock
        self._line: deque[_Waiting] = deque()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._line)

    @property
    def in_flight(self) -> int:
        """Requests that have a place at a server."""
        return sum(server.in_flight for server in self.servers)

    def capacity(self) -> int:
        """Requests that all of them take at once now."""
        now = self._clock()
        return sum(server.capacity(now) for server in self.servers)

    def unavailable_reason(self) -> str | None:
        """Why none of them answers, in one line; None while one does, and before any was asked."""
        now = self._clock()
        if all(server.untried for server in self.servers):
            return None
        reasons = []
        for server in self.servers:
            if (reason := server.unavailable_reason(now)) is None:
                return None
            reasons.append(f"{server.url}: {reason}")
        return "; ".join(reasons)

    def take(self, name: str) -> Place | None:
        """A place for a request to the model of that name, unless others wait for one, or there is none."""
        return self._place(name, self._clock()) if not self._line else None

    async def wait(self, name: str) -> Place:
        """Wait in line for a place. Cancelling it leaves the line.

        Raises `EngineError` where servers answer, and none of these serves that name: it would wait in vain, and in the
        way of others.
        """
        waiting = _Waiting(name, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        # Those before it may wait for an adapter that only some servers have.
        self.hand_out()
        try:
            return await waiting.place
        except asyncio.CancelledError:
            if waiting in self._line:
                self._line.remove(waiting)
            elif not waiting.place.cancelled() and waiting.place.exception() is None:
                # It got its place in the same turn of the loop.
                waiting.place.result().server.leave()
                self.hand_out()
            raise

    def hand_out(self) -> None:
        """Give places that have come free to those who wait, in their order."""
        now = self._clock()
        kept: deque[_Waiting] = deque()
        while self._line and any(server.has_room(now) for server in self.servers):
            waiting = self._line.popleft()
            if waiting.place.done():
                continue
            if (place := self._place(waiting.name, now)) is not None:
                waiting.place.set_result(place)
            elif any(server.away is None and waiting.name in server.names for server in self.servers):
                kept.append(waiting)
            else:
                waiting.place.set_exception(EngineError(f"no server that answers serves {waiting.name!r} now"))
        self._line.extendleft(reversed(kept))

    def fail_waiting(self, errors: Iterable[BaseException]) -> None:
        """Nobody gets a place any more: each raises one of these."""
        for waiting, error in zip(self._line, errors, strict=False):
            if not waiting.place.done():
                waiting.place.set_exception(error)
        self._line.clear()

    def _place(self, name: str, now: float) -> Place | None:
        best: Server | None = None
        for server in self.servers:
            if server.has_room(now) and name in server.names and (best is None or server.load < best.load):
                best = server
        return best.enter(now) if best is not None else None
