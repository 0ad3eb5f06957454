"""An answer in OpenAI's form, as any engine gives it, and what in it shows that it is none. Pure."""

from collections.abc import Mapping
from typing import Any

from backburner_schemas.errors import EngineError, GenerationAborted
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineResponse, Usage

_CONTENT = {
    Endpoint.CHAT: "choices",
    Endpoint.COMPLETIONS: "choices",
    Endpoint.RESPONSES: "output",
    Endpoint.EMBEDDINGS: "data",
    Endpoint.SCORE: "data",
}
"""The list that every answer of an endpoint has."""
MAX_TOKENS = 1 << 31
"""Of one answer. Counts of a segment's answers stand in its key, which has a limit, and become floating-point."""


def response_of(endpoint: Endpoint, answer: Mapping[str, Any]) -> EngineResponse:
    """The response with its usage. Raises `GenerationAborted` for half an answer, `EngineError` for what is none."""
    content = answer.get(_CONTENT[endpoint])
    if not isinstance(content, list) or not all(isinstance(item, Mapping) for item in content):
        raise EngineError(f"the answer is not in OpenAI's form: it has no list {_CONTENT[endpoint]}")
    if not content and endpoint is not Endpoint.RESPONSES:
        # A response may have been cut off before its first item; all else answers something.
        raise EngineError(f"the answer has nothing in its list {_CONTENT[endpoint]}")
    if any(item.get("finish_reason") == "abort" for item in content) or answer.get("status") in ("cancelled", "failed"):
        # It has the form of a success, and half an answer.
        raise GenerationAborted
    if endpoint is Endpoint.EMBEDDINGS and any(item.get("embedding") in ([], "", None) for item in content):
        raise GenerationAborted("the engine returned an empty vector")
    usage = answer.get("usage")
    if not isinstance(usage, Mapping):
        return EngineResponse(answer)
    # Responses call them by other names.
    read = _count(usage, "prompt_tokens") or _count(usage, "input_tokens")
    written = _count(usage, "completion_tokens") or _count(usage, "output_tokens")
    return EngineResponse(answer, Usage(read, written))


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return min(value, MAX_TOKENS) if type(value) is int and value > 0 else 0
