"""What is known of one server: whether it answers, what it serves, how much of it is taken. Pure; it calls nobody."""

from collections.abc import Iterable
from dataclasses import dataclass

from backburner_worker.engine.openai_http.concurrency import ConcurrencyLimit

_MAX_FAILURES_IN_A_ROW = 5
"""Failures without an answer between them, after which a server is ejected: one request may fail by itself."""
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.5, 60.0
"""After a refusal for lack of capacity; twice as long after each further one, or what the server asks for."""
_PATIENCE_SECONDS = 30.0
"""Of refusals alone after which the server counts as away: it is out of quota rather than busy."""
_NOT_YET = "it has not answered yet"


@dataclass(slots=True)
class Place:
    """A request's place at a server, from before it is sent until its end is known."""

    server: "Server"
    stay: int
    """Which of the server's stays among those that answer it belongs to."""
    sent: float
    """Monotonic seconds."""


class Server:
    """A server that is ejected when it fails, and admitted again after it has answered a real request."""

    def __init__(self, url: str, limit: ConcurrencyLimit) -> None:
        self.url = url
        self.limit = limit
        self.names: frozenset[str] = frozenset()
        """What it serves, by its own names."""
        self.in_flight = 0
        self.away: str | None = _NOT_YET
        """Why it gets no requests, in one line; None while it answers."""
        self.paused_until = 0.0
        """Monotonic seconds."""
        self.heard = 0
        """How often anything came from it: a piece of an answer, or an answer to a look."""
        self._stay = 0
        self._failures = self._refusals = 0
        self._pause = 0.0
        self._refusing_since: float | None = None

    def has_room(self, now: float) -> bool:
        """Whether it takes another request at the monotonic second `now`."""
        return self.away is None and now >= self.paused_until and self.in_flight < self.limit.value

    @property
    def untried(self) -> bool:
        """Whether nothing is known of it yet."""
        return self.away == _NOT_YET

    @property
    def load(self) -> float:
        """How full it is, as far as this worker fills it."""
        return self.in_flight / self.limit.value

    def capacity(self, now: float) -> int:
        """Requests that it takes at once now."""
        return self.limit.value if self.away is None and now >= self.paused_until else 0

    def unavailable_reason(self, now: float) -> str | None:
        """Why it answers nothing; None while it does."""
        if self.away is not None:
            return self.away
        if self._refusing_since is not None and now - self._refusing_since >= _PATIENCE_SECONDS:
            return f"it has refused every request for {now - self._refusing_since:.0f} s for lack of capacity or quota"
        return None

    def enter(self, now: float) -> Place:
        """Take a place for one request."""
        self.in_flight += 1
        self.limit.entered(self.in_flight, now)
        return Place(self, self._stay, now)

    def hear(self) -> None:
        """Something came from it."""
        self.heard += 1

    def leave(self) -> None:
        """Free the place, after its end was told, if it has one."""
        self.in_flight -= 1

    def answered(self, tokens: int, now: float) -> None:
        """It answered a request, if only to refuse it for the request's own fault; `tokens` are those of the answer."""
        self._failures = self._refusals = 0
        self._pause = 0.0
        self._refusing_since = None
        self.limit.answered(tokens, now)

    def busy(self, place: Place, asked: float | None, now: float) -> None:
        """It refused that request for lack of capacity, and asks for so many seconds of pause."""
        self.limit.refused(self.in_flight, place.sent, now)
        if self._refusing_since is None:
            self._refusing_since = now
        if place.sent < self.paused_until:
            # Sent before the pause that a request beside it brought about.
            return
        self._pause = min(max(self._pause * 2, _MIN_PAUSE_SECONDS), _MAX_PAUSE_SECONDS)
        pause = self._pause if asked is None else min(max(asked, _MIN_PAUSE_SECONDS), _MAX_PAUSE_SECONDS)
        self.paused_until = now + pause

    def failed(self, place: Place, reason: str) -> None:
        """It failed on that request: ejected if it does nothing else."""
        if place.stay == self._stay:
            self._failures += 1
            if self._failures >= _MAX_FAILURES_IN_A_ROW:
                self.eject(reason)

    def refused(self, place: Place) -> bool:
        """It refused that request, which may be the request's own trouble. Whether it is time to find out."""
        if place.stay != self._stay:
            return False
        self._refusals += 1
        return self._refusals % _MAX_FAILURES_IN_A_ROW == 0

    def refused_caller(self, place: Place, reason: str) -> None:
        """It takes no request at all, from this worker at least, or cannot be reached: ejected at once."""
        if place.stay == self._stay:
            self.eject(reason)

    def eject(self, reason: str) -> None:
        """Send it nothing more. What is in flight may still end well."""
        self.away = reason

    def admit(self, names: Iterable[str]) -> None:
        """It answered a real request, and serves these: send it requests from now on."""
        self.names = frozenset(names)
        self.away = None
        self._stay += 1
        self._failures = self._refusals = 0
        self._pause, self.paused_until = 0.0, 0.0
        self._refusing_since = None
