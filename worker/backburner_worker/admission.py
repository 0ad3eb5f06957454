"""How much goes into the engine at once: enough that its queue is never empty, not so much that it grows. Pure."""

from collections.abc import Mapping
from typing import Any

from backburner_worker.engine.base import EngineInfo

OVERSUBSCRIBED = 1.5
"""Requests in flight for each sequence that the engine runs, and tokens for each that its KV cache holds.

vLLM keeps a full batch as long as a few requests wait in it; 1.25 to 2 was found to be enough.
"""

_BYTES_A_TOKEN = 4
_DEFAULT_ANSWER_TOKENS = 256


class Admission:
    """A budget of sequences and tokens. One request always fits into an empty engine, however large."""

    def __init__(self, info: EngineInfo, concurrency: int = 0) -> None:
        """Size the budget from what the engine offers; `concurrency` overrides the number of requests if not 0."""
        self.sequences = concurrency or max(1, int(info.max_sequences * OVERSUBSCRIBED))
        self.tokens = max(1, int(info.kv_tokens * OVERSUBSCRIBED))
        self._sequences_used = 0
        self._tokens_used = 0

    @property
    def in_flight(self) -> int:
        """Requests that are in the engine."""
        return self._sequences_used

    @property
    def open(self) -> bool:
        """Whether another request may be considered at all."""
        return self._sequences_used < self.sequences

    def cost(self, size: int, body: Mapping[str, Any] | None) -> int:
        """What a request counts as: no more than half of the budget, so that none that asks for the moon stops all."""
        return min(token_cost(size, body), self.tokens // 2)

    def fits(self, cost: int) -> bool:
        """Whether a request of that many tokens fits now."""
        if self._sequences_used == 0:
            return True
        return self.open and self._tokens_used + cost <= self.tokens

    def enter(self, cost: int) -> None:
        """Count a request in."""
        self._sequences_used += 1
        self._tokens_used += cost

    def leave(self, cost: int) -> None:
        """Count a request out, with the cost that it entered with."""
        self._sequences_used -= 1
        self._tokens_used -= cost


def token_cost(size: int, body: Mapping[str, Any] | None) -> int:
    """About how many KV tokens a request of `size` bytes takes: its text at four bytes a token, and its answer."""
    answer = _DEFAULT_ANSWER_TOKENS
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name) if body else None
        if isinstance(value, int) and value > 0:
            answer = value
            break
    return size // _BYTES_A_TOKEN + answer
