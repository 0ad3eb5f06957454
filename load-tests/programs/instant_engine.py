"""An engine that costs nothing: every request has the same answer of about a kilobyte, at once."""

from typing import Any

from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineInfo, EngineRequest, EngineResponse, Usage

ANSWER: dict[str, Any] = {
    "id": "chatcmpl-0",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "fake",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Warm models get to it, sooner or later. " * 20},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {"prompt_tokens": 90, "completion_tokens": 160, "total_tokens": 250},
}
_RESPONSE = EngineResponse(ANSWER, Usage(90, 160))


class InstantEngine:
    """An `Engine` that does nothing; what is measured over it is the way to it and from it."""

    lost = False

    async def start(self) -> EngineInfo:
        """There is nothing to load."""
        return EngineInfo(
            models=("fake",),
            endpoints=frozenset(Endpoint),
            version="instant-1",
            kv_tokens=1 << 22,
            max_sequences=256,
        )

    async def run(self, request: EngineRequest) -> EngineResponse:  # noqa: ARG002 - that is the point
        """The answer."""
        return _RESPONSE

    async def close(self, drain: float) -> None:
        """There is nothing to close."""
