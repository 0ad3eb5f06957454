"""Which direction improves a noisy result: the slope of a line through the last trials. Pure."""

import math
from collections import deque

_MAX_TRIALS = 10
_MIN_SQUARED_LOG_RATIO = 1e-4


class HillClimb:
    """A quantity that is tried a little higher or lower, and what came of it each time."""

    def __init__(self, step: float, trials: int = _MAX_TRIALS) -> None:
        """`step` is the factor of one trial. The first trial is upwards.

        The last `trials` count: more of them are steadier, and slower to turn round.
        """
        self._step = step
        self._tries: deque[tuple[float, float]] = deque(maxlen=trials)
        self._up = False

    def next(self, tried: float, yielded: float) -> float:
        """The factor of the next trial, after `tried` yielded so much; both above 0."""
        self._tries.append((math.log(tried), math.log(yielded)))
        slope = self._slope()
        # Where all trials were the same, nothing is known yet of what another one would yield.
        self._up = not self._up if slope is None else slope > 0
        return self._step if self._up else 1 / self._step

    def _slope(self) -> float | None:
        count = len(self._tries)
        middle = sum(tried for tried, _ in self._tries) / count
        level = sum(yielded for _, yielded in self._tries) / count
        spread = sum((tried - middle) ** 2 for tried, _ in self._tries)
        if spread < _MIN_SQUARED_LOG_RATIO:
            return None
        return sum((tried - middle) * (yielded - level) for tried, yielded in self._tries) / spread
