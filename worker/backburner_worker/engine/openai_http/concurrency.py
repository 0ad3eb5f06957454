"""How many requests one server takes at once, learned from what came of so many. A control law; pure.

Nothing says how many a server elsewhere takes. By Little's law requests in flight are throughput times latency: as long
as more of them bring more tokens a second, latency hardly grows, and more are tried; where they only wait longer, fewer
are. A server that refuses for lack of capacity (429) has said it more plainly: the limit falls at once, and stays below
what was refused for some turns.

A *turn* is as many answers as the limit, and no judgement is made of one in which the limit held nothing back, nor of
the first after a change, whose answers began before it.
"""

from backburner_worker.engine.hill_climb import HillClimb

INITIAL_REQUESTS = 32
MAX_REQUESTS = 1024
"""For one server: each is a connection, and processes may have few more."""
_MIN_TURN_ANSWERS = 32
_DOUBLED_RATIO = 1.15
"""What doubling has to bring at least to be done again."""
_TRIAL_RATIO = 1.2
"""What is tried more or less after that."""
_MAX_TRIALS = 4
"""The last ones that count. With 10 the limit swung from 0.6 to 3.6 times a modelled batch; with 4 from 0.8 to 1.7."""
_WORTH_FACTOR = 0.2
"""The exponent: of more requests in flight, this power has to come of tokens; of 1.2 times as many 3.7 % more."""
_REFUSED_RATIO = 0.7
"""What is left of the limit after a refusal."""
_CEILING_RATIO = 0.95
_MAX_CEILING_TURNS = 16
"""Turns for which the limit stays below what was refused."""


class ConcurrencyLimit:
    """The limit of one server."""

    def __init__(self, fixed: int = 0) -> None:
        """A `fixed` limit above 0 is never moved."""
        self._fixed = fixed
        self.value = fixed or INITIAL_REQUESTS
        """Requests that may be in flight now."""
        self._doubling = True
        self._climb = HillClimb(_TRIAL_RATIO, _MAX_TRIALS)
        self._last_rate = 0.0
        self._ceiling, self._ceiling_turns = MAX_REQUESTS, 0
        self._settling = True
        self._cut = 0.0
        """When the limit was last cut after a refusal."""
        self._began: float | None = None
        self._full = False
        self._answers = 0
        self._tokens = 0

    def entered(self, in_flight: int, now: float) -> None:
        """One more was sent; so many are in flight with it. `now` is in monotonic seconds, as everywhere here."""
        if self._began is None:
            self._began = now
        if in_flight >= self.value:
            self._full = True

    def answered(self, tokens: int, now: float) -> None:
        """One was answered, with so many tokens."""
        self._answers += 1
        self._tokens += tokens
        if self._fixed or self._answers < max(self.value, _MIN_TURN_ANSWERS):
            return
        seconds = now - self._began if self._began is not None else 0.0
        if self._full and self._settling:
            self._settling = False
        elif self._full and seconds > 0:
            self._judge(max(self._tokens, 1) / seconds)
        self._begin(now)

    def refused(self, in_flight: int, sent: float, now: float) -> None:
        """The server refused one for lack of capacity that was sent at `sent`, with so many in flight, it included."""
        # Others that were sent before the last cut are refused as well, and say nothing new.
        if self._fixed or sent < self._cut:
            return
        self._cut = now
        self._doubling = False
        self._ceiling = max(1, int(min(in_flight, self._ceiling) * _CEILING_RATIO))
        self._ceiling_turns = _MAX_CEILING_TURNS
        self._move(min(in_flight, self.value) * _REFUSED_RATIO)
        self._begin(now)

    def _judge(self, rate: float) -> None:
        if self._ceiling_turns:
            self._ceiling_turns -= 1
            if not self._ceiling_turns:
                self._ceiling = MAX_REQUESTS
        if self._doubling:
            if rate >= self._last_rate * _DOUBLED_RATIO:
                self._last_rate = rate
                self._move(self.value * 2)
            else:
                self._doubling = False
                self._move(self.value / 2)
            return
        self._move(self.value * self._climb.next(self.value, rate / self.value**_WORTH_FACTOR))

    def _move(self, value: float) -> None:
        before = self.value
        # A small limit has to move too.
        step = round(value) if abs(value - before) >= 1 else before + (1 if value > before else -1)
        self.value = max(1, min(step, self._ceiling))
        self._settling = self.value != before

    def _begin(self, now: float) -> None:
        self._began = now
        self._full = False
        self._answers = self._tokens = 0
