"""The first requests of an engine: one small batch that needs all that a batch of users' may need. Pure."""

from collections.abc import Collection, Sequence
from typing import Any

from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest


def warm_ups(endpoints: Collection[Endpoint], model: str, adapters: Sequence[str] = ()) -> list[EngineRequest]:
    """The requests, to be run at once. The first has to be answered; a model may refuse any other.

    Each adapter is in one of them, so that it is where it is needed when the first request names it.
    """
    bodies = [
        (endpoint, {"model": model, **body})
        for endpoint, kinds in _KINDS.items()
        if endpoint in endpoints
        for body in kinds
    ]
    endpoint, body = bodies[0]
    bodies += [(endpoint, {**body, "model": adapter}) for adapter in adapters]
    return [EngineRequest(f"warm-up-{number}", *one) for number, one in enumerate(bodies)]


_CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Warm"}], "max_tokens": 2}
_KINDS: dict[Endpoint, tuple[dict[str, Any], ...]] = {
    Endpoint.COMPLETIONS: ({"prompt": "Warm", "max_tokens": 1},),
    Endpoint.CHAT: (
        _CHAT,
        {**_CHAT, "temperature": 0.8, "top_p": 0.9, "top_k": 20},
        # What takes longest to come up: half a second on a CPU, and many with a compiler.
        {**_CHAT, "logprobs": True, "top_logprobs": 1},
    ),
    Endpoint.RESPONSES: ({"input": "Warm", "max_output_tokens": 2},),
    Endpoint.EMBEDDINGS: ({"input": "Warm"},),
    Endpoint.SCORE: ({"text_1": "Warm", "text_2": "Cold"},),
}
"""The smallest real requests that need whatever an engine prepares at its first use, by endpoint.

A text completion comes first where there are any, since a model need not have a template for chats.
"""
