"""How much goes into the engine at once, following how full the engine reports that it is. A control law; pure.

Two limits, each of which is moved only while it is the one that holds work back:

- *Sequences*. What waits inside the engine can be reordered and cancelled no more, so it should be little; but where
  nothing waits, a place that comes free stays empty until the next request is there. So the law looks at the fewest
  that waited over a whole turn of the batch: so many were in there for nothing, and go, but for a few. Where places
  stood empty, that many more are let in.
- *KV tokens*. The sum of what is expected, which may be wrong, and prompts may share more than is known. While the
  cache is not nearly full although places stand empty, more is let in. Once it is, more in flight means that sequences
  are preempted and computed again, which may cost more than it brings, or less, as prefill compares to decode: there
  the law tries a little more or less at each turn, whichever yielded more tokens a second over the last trials. Between
  a cache that is not full and a queue that does not move, it has not far to go.

Whatever was moved is judged by what is seen after it: each judgement begins a new stretch. A limit is raised as soon
as that is sure to help, and lowered after a whole turn, in which all that was in flight has gone. So the law does not
oscillate.
"""

from dataclasses import dataclass
from enum import Enum, auto

from backburner_worker.engine.base import EngineInfo, EngineLoad
from backburner_worker.engine.hill_climb import HillClimb

_INITIAL_SEQUENCES_RATIO = 1.5
"""Requests for each place of the batch; vLLM keeps a full batch with 1.25 to 2."""
_MAX_SEQUENCES_RATIO = 4.0
_INITIAL_TOKENS_RATIO = 1.0
_MIN_TOKENS_RATIO, _MAX_TOKENS_RATIO = 0.25, 16.0
"""Multiples of the KV cache's size. With prefixes shared unnoticed it serves prompts of many times its size."""
_SPARE_RATIO = 1 / 16
"""The part of the batch that may always wait, and at least one."""
_VACANT_RATIO = 0.01
"""Share of places that may stand empty."""
_MIN_STEPS = 8
"""Steps that a stretch has at least."""
_NEARLY_FULL_RATIO = 0.92
"""Share of the KV cache."""
_MAX_RAISE_RATIO = 1.25
"""Most that a limit is raised by at once."""
_TRIAL_RATIO = 1.2
"""What is tried more or less where the cache is full."""
_NOTHING = EngineLoad()


class Bound(Enum):
    """What holds work back."""

    SEQUENCES = auto()
    TOKENS = auto()


@dataclass(slots=True)
class _Stretch:
    """What was seen since a limit was last moved, or began to hold work back."""

    bound: Bound | None = None
    began: float = 0.0
    start: EngineLoad = _NOTHING
    ended: int = 0
    """Requests that had ended by then."""
    least_waiting: int = 0
    kv_used: float = 0.0


class Governor:
    """The two limits, and the law that moves them."""

    def __init__(self, info: EngineInfo) -> None:
        """Begin with what suits most loads."""
        self._places = max(1, info.max_sequences)
        self._kv = max(1, info.kv_tokens)
        self._spare = max(1, int(self._places * _SPARE_RATIO))
        self.sequences = max(1, int(self._places * _INITIAL_SEQUENCES_RATIO))
        """Sequences that may be in the engine."""
        self.tokens = max(1, int(self._kv * _INITIAL_TOKENS_RATIO))
        """KV tokens that they may be expected to hold."""
        self._stretch = _Stretch()
        self._hill_climb = HillClimb(_TRIAL_RATIO)

    def observe(
        self, load: EngineLoad, bound: Bound | None, now: float, *, ended: int, inside: int, tokens: int
    ) -> bool:
        """Judge what the engine reports at the monotonic second `now`. Returns whether there may be more room.

        `bound` is the limit that holds work back. `ended` counts the requests that have ended so far, `inside` the
        sequences that are in the engine, which are expected to hold so many KV `tokens`.
        """
        stretch = self._stretch
        if bound is None or bound is not stretch.bound:
            self._begin(load, bound, now, ended)
            return False
        stretch.least_waiting = min(stretch.least_waiting, load.least_waiting)
        stretch.kv_used = max(stretch.kv_used, load.kv_used)
        steps = load.steps - stretch.start.steps
        if steps < _MIN_STEPS:
            return False
        before = (self.sequences, self.tokens)
        vacant = (load.vacant - stretch.start.vacant) / steps / self._places
        turn = (ended - stretch.ended) / max(1, inside)
        idle = stretch.least_waiting - self._spare
        full = stretch.kv_used >= _NEARLY_FULL_RATIO
        if vacant > _VACANT_RATIO and not full:
            self._raise(bound, vacant, turn)
        elif turn >= 1 and idle > 0:
            self._lower(bound, idle / max(1, inside), tokens, full=full)
        elif turn >= 1 and vacant > _VACANT_RATIO and bound is Bound.TOKENS:
            rate = (load.generated - stretch.start.generated) / max(now - stretch.began, 1e-9)
            self._set_tokens(self.tokens * self._hill_climb.next(self.tokens, max(rate, 1e-9)))
        if before != (self.sequences, self.tokens) or turn >= 1:
            self._begin(load, bound, now, ended)
        return self.sequences > before[0] or self.tokens > before[1]

    def _begin(self, load: EngineLoad, bound: Bound | None, now: float, ended: int) -> None:
        self._stretch = _Stretch(bound, now, load, ended, load.waiting, load.kv_used)

    def _raise(self, bound: Bound, vacant: float, turn: float) -> None:
        if bound is Bound.SEQUENCES:
            more = min(int(vacant * self._places) + 1, self._places // 4 + 1)
            self.sequences = min(self.sequences + more, int(self._places * _MAX_SEQUENCES_RATIO))
        elif turn >= 1 / 4:
            # Later than above: what is let in grows, and the cache shows it only then.
            growth = min(_NEARLY_FULL_RATIO / max(self._stretch.kv_used, 0.01), 1 + vacant, _MAX_RAISE_RATIO)
            self._set_tokens(self.tokens * growth + 1)

    def _lower(self, bound: Bound, share: float, tokens: int, *, full: bool) -> None:
        if bound is Bound.SEQUENCES:
            self.sequences = max(int(self.sequences * (1 - share)), self._places)
        if full or bound is Bound.TOKENS:
            # Also where sequences are the bound: it is the cache that cannot take what they are.
            self._set_tokens(min(self.tokens, tokens) * (1 - share))

    def _set_tokens(self, tokens: float) -> None:
        self.tokens = max(1, int(self._kv * _MIN_TOKENS_RATIO), min(int(tokens), int(self._kv * _MAX_TOKENS_RATIO)))
