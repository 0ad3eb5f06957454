"""How long one generation may take: the tokens that it asks for, at the slowest speed that was seen. Pure.

A request that an engine has lost track of, while it goes on with all others, is noticed by nothing else. The limit is
wide, since what is broken off was work: no answer that comes is to be lost by it.
"""

from collections.abc import Mapping
from typing import Any

from backburner_schemas.request import Endpoint
from backburner_worker.scheduling.token_estimates import choices_of, tokens_asked

MIN_LIMIT_SECONDS = 600.0
"""No generation is broken off before."""
_SLOW_TOKENS_PER_SECOND = 2.0
"""Of one sequence in a full batch on a slow machine; where only faster ones were seen, slower ones may still come."""
_JUDGED_TOKENS = 32
"""An answer of fewer tokens shows how long its prompt took."""
_UNASKED_TOKENS = 1024
"""Of an answer without a limit of its own; as vLLM in the worker has it for chats."""
_FIELDS = {
    Endpoint.CHAT: ("max_completion_tokens", "max_tokens"),
    Endpoint.COMPLETIONS: ("max_tokens",),
    Endpoint.RESPONSES: ("max_output_tokens",),
}


class TimeLimit:
    """Learns an engine's slowest speed, and tells from it how long a request may take."""

    def __init__(self) -> None:
        self._slowest = _SLOW_TOKENS_PER_SECOND

    def learn(self, tokens: int, seconds: float) -> None:
        """An answer of so many tokens took so long in the engine.

        One that took longer than any may at least was long, which shows little, or this process stood still meanwhile:
        an hour's pause would otherwise leave no limit at all.
        """
        if tokens >= _JUDGED_TOKENS and tokens < self._slowest * seconds and seconds <= MIN_LIMIT_SECONDS:
            self._slowest = tokens / seconds

    def seconds(self, endpoint: Endpoint, body: Mapping[str, Any]) -> float:
        """Seconds in the engine after which the request with that body, which was checked, is broken off."""
        asked = 0
        if (fields := _FIELDS.get(endpoint)) is not None:
            given = (tokens_asked(body.get(name)) for name in fields)
            asked = next((tokens for tokens in given if tokens is not None), _UNASKED_TOKENS) * choices_of(body)
        return max(MIN_LIMIT_SECONDS, asked / self._slowest)
