"""Which way gives more: the slope of a line through the last tries, each of which is noisy. Pure."""

import math
from collections import deque

_MAX_TRIALS = 10
_MIN_SQUARED_LOG_RATIO = 1e-4


class HillClimb:
    """A quantity that is tried a little higher or lower, and what came of it each time."""

    def __init__(self, step: float) -> None:
        """`step` is the factor of one try. The first try is upwards."""
        self._step = step
        self._tries: deque[tuple[float, float]] = deque(maxlen=_MAX_TRIALS)
        self._up = False

    def next(self, tried: float, gave: float) -> float:
        """The factor of the next try, after `tried` gave so much; both above 0."""
        self._tries.append((math.log(tried), math.log(gave)))
        slope = self._slope()
        # Where all tries were the same, nothing is known yet of what another one would give.
        self._up = not self._up if slope is None else slope > 0
        return self._step if self._up else 1 / self._step

    def _slope(self) -> float | None:
        count = len(self._tries)
        middle = sum(tried for tried, _ in self._tries) / count
        level = sum(gave for _, gave in self._tries) / count
        spread = sum((tried - middle) ** 2 for tried, _ in self._tries)
        if spread < _MIN_SQUARED_LOG_RATIO:
            return None
        return sum((tried - middle) * (gave - level) for tried, gave in self._tries) / spread
