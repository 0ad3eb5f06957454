"""How many suspects are tried at once. Pure.

When an engine dies, one of the requests that were in it may have killed it. Tried one by one, 256 of 30 s each take
two hours; all at once, they kill once more and nothing is learned. A trial of some that does not kill acquits all of
them in the time of one; one that kills costs a restart, and leaves fewer. The expected time until the killer is alone
is least for sizes that follow from how long a restart takes in generations.
"""

import math
from functools import lru_cache

_MAX_TRIAL_REQUESTS = 1024
_SIZES = tuple(
    sorted({size for power in range(11) for size in (1 << power, 3 << power) if size <= _MAX_TRIAL_REQUESTS})
)
_UNKNOWN_RATIO = 4.0
"""Generations that a restart takes where no generation has been seen yet: two minutes, and half a minute each."""
_MIN_RATIO, _MAX_RATIO = 0.25, 256.0
_LEARNED_SHARE = 0.1
"""Of what is learned, that the last generation makes up."""


class TrialSizes:
    """Learns how long generations take, and says how many suspects to try at once."""

    def __init__(self, restart_seconds: float = 0.0) -> None:
        """`restart_seconds`: how long this worker took until it was warm."""
        self._restart = restart_seconds
        self._generation: float | None = None

    def learn(self, seconds: float) -> None:
        """A generation took so long."""
        before = self._generation
        self._generation = seconds if before is None else before + (seconds - before) * _LEARNED_SHARE

    def size(self, among: int) -> int:
        """How many of them to try at once, where one of so many killed an engine; 1 where that is not known."""
        if among <= 1:
            return 1
        return _best(min(among, _SIZES[-1]), self._ratio())[1]

    def _ratio(self) -> float:
        if not self._generation or not self._restart:
            return _UNKNOWN_RATIO
        ratio = min(max(self._restart / self._generation, _MIN_RATIO), _MAX_RATIO)
        # Powers of two: a little more or less changes nothing.
        return 2.0 ** round(math.log2(ratio))


@lru_cache(maxsize=4096)
def _best(among: int, ratio: float) -> tuple[float, int]:
    """The least expected time, in generations, until one killer among so many is convicted, and the size to try first.

    All of them are tried, since there may be more than one; the killer's trial costs a restart and goes on within it.
    """
    costs = ((_cost(among, size, ratio), size) for size in _SIZES if size < among)
    return min(costs)


def _cost(among: int, size: int, ratio: float) -> float:
    rest = 0.0 if size == 1 else _best(size, ratio)[0]
    return math.ceil(among / size) + ratio + rest
