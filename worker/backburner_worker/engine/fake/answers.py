"""The fake engine's answers: OpenAI's response forms, filled from a request's hash. Pure."""

import base64
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle, islice
from typing import Any

from backburner_schemas.errors import RequestRefused
from backburner_schemas.request import Endpoint
from backburner_worker.engine.base import EngineRequest, EngineResponse, Usage

_CREATED_SECONDS = 1_700_000_000
"""Always the same, so that two runs of one request return the same bytes."""

_WORDS = ("the", "pot", "stands", "warm", "on", "the", "back", "burner", "until", "its", "turn", "comes")
_DIMENSION_COUNT = 8
_MAX_DIMENSIONS = 4096


def prompt_text(request: EngineRequest) -> str:
    """All the text of the request that the model reads, joined by new lines."""
    body = request.body
    if request.endpoint is Endpoint.CHAT:
        return "\n".join(_texts(body.get("messages")))
    if request.endpoint is Endpoint.COMPLETIONS:
        return "\n".join(_texts(body.get("prompt")))
    if request.endpoint is Endpoint.RESPONSES:
        return "\n".join(_texts([body.get("instructions"), body.get("input")]))
    if request.endpoint is Endpoint.EMBEDDINGS:
        return "\n".join(_texts([body.get("input"), body.get("messages")]))
    return "\n".join(_texts(list(_sides(body))))


def answer(request: EngineRequest, digest: str, *, echo: bool = False, tokens: int = 0) -> EngineResponse:
    """The answer to a request whose hash is `digest`: the prompt's own text with `echo`, of so many tokens if not 0."""
    return _ANSWERS[request.endpoint](request, digest, echo, tokens)


def _chat(request: EngineRequest, digest: str, echo: bool, length: int) -> EngineResponse:  # noqa: FBT001 - a table's row
    text = prompt_text(request)
    limit = request.body.get("max_completion_tokens") or request.body.get("max_tokens")
    choices: list[dict[str, Any]] = []
    written = 0
    for index in range(request.body.get("n") or 1):
        content, reason, tokens = _generate(text if echo else _sentence(digest, index, length), limit)
        written += tokens
        message = {"role": "assistant", "content": content}
        choices.append({"index": index, "message": message, "logprobs": None, "finish_reason": reason})
    read = len(text.split())
    body = _body("chat.completion", f"chatcmpl-{digest}", request, choices=choices)
    return _response(body, read, written)


def _completion(request: EngineRequest, digest: str, echo: bool, length: int) -> EngineResponse:  # noqa: FBT001
    limit = request.body.get("max_tokens")
    choices: list[dict[str, Any]] = []
    read = written = 0
    for prompt in _several(request.body.get("prompt")):
        text = "\n".join(_texts(prompt))
        read += len(text.split())
        for _ in range(request.body.get("n") or 1):
            index = len(choices)
            content, reason, tokens = _generate(text if echo else _sentence(digest, index, length), limit)
            written += tokens
            choices.append({"index": index, "text": content, "logprobs": None, "finish_reason": reason})
    return _response(_body("text_completion", f"cmpl-{digest}", request, choices=choices), read, written)


def _responses(request: EngineRequest, digest: str, echo: bool, length: int) -> EngineResponse:  # noqa: FBT001
    text = prompt_text(request)
    content, reason, written = _generate(
        text if echo else _sentence(digest, 0, length), request.body.get("max_output_tokens")
    )
    status = "incomplete" if reason == "length" else "completed"
    part = {"type": "output_text", "text": content, "annotations": []}
    message = {
        "id": f"msg_{digest}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part],
    }
    read = len(text.split())
    body = {
        "id": f"resp_{digest}",
        "object": "response",
        "created_at": _CREATED_SECONDS,
        "model": request.body["model"],
        "status": status,
        "incomplete_details": {"reason": "max_output_tokens"} if reason == "length" else None,
        "instructions": request.body.get("instructions"),
        "output": [message],
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        },
    }
    return EngineResponse(body, Usage(read, written))


def _embeddings(request: EngineRequest, digest: str, _echo: bool, _length: int) -> EngineResponse:  # noqa: FBT001
    inputs = _several(request.body["input"]) if "input" in request.body else [request.body.get("messages")]
    size = request.body.get("dimensions") or _DIMENSION_COUNT
    if size > _MAX_DIMENSIONS:
        raise RequestRefused(f"dimensions is over the limit of {_MAX_DIMENSIONS}", param="dimensions")
    packed = request.body.get("encoding_format") == "base64"
    data = []
    for index in range(len(inputs)):
        vector: list[float] | str = _vector(digest, index, size)
        if packed:
            vector = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    return _response(_body("list", f"embd-{digest}", request, data=data), len(prompt_text(request).split()), 0)


def _scores(request: EngineRequest, digest: str, _echo: bool, _length: int) -> EngineResponse:  # noqa: FBT001
    left, right = (_several(side) for side in _sides(request.body))
    data = [
        {"object": "score", "index": index, "score": (_vector(digest, index, 1, unit=False)[0] + 1) / 2}
        for index in range(max(len(left), len(right)))
    ]
    return _response(_body("list", f"score-{digest}", request, data=data), len(prompt_text(request).split()), 0)


_ANSWERS: dict[Endpoint, Callable[[EngineRequest, str, bool, int], EngineResponse]] = {
    Endpoint.CHAT: _chat,
    Endpoint.COMPLETIONS: _completion,
    Endpoint.EMBEDDINGS: _embeddings,
    Endpoint.SCORE: _scores,
    Endpoint.RESPONSES: _responses,
}


def _body(kind: str, name: str, request: EngineRequest, **parts: Any) -> dict[str, Any]:
    return {"id": name, "object": kind, "created": _CREATED_SECONDS, "model": request.body["model"], **parts}


def _response(body: dict[str, Any], read: int, written: int) -> EngineResponse:
    body["usage"] = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
    }
    return EngineResponse(body=body, usage=Usage(read, written))


def _sentence(digest: str, index: int, length: int = 0) -> str:
    turn = (int(digest[:4], 16) + index) % len(_WORDS)
    words = (*_WORDS[turn:], *_WORDS[:turn])
    if length:
        words = tuple(islice(cycle(words), length - 1))
    return " ".join((f"fake-{digest[:12]}-{index}", *words))


def _generate(text: str, limit: int | None) -> tuple[str, str, int]:
    words = text.split()
    if limit is not None and limit < 0:
        raise RequestRefused(f"max_tokens is {limit}; it must not be negative", param="max_tokens")
    if limit is not None and len(words) > limit:
        return " ".join(words[:limit]), "length", limit
    return text, "stop", len(words)


def _vector(digest: str, index: int, size: int, *, unit: bool = True) -> list[float]:
    # A linear congruential generator: the same on every machine and Python, unlike `hash`.
    state = int(digest[:16], 16) + index
    values = []
    for _ in range(size):
        state = (state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
        values.append((state >> 11) / 2**52 - 1)
    norm = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / norm for value in values] if unit else values


def _several(value: Any) -> list[Any]:
    """The inputs that a field holds: a list of texts or of token lists is several, all else is one."""
    if isinstance(value, list) and value and not isinstance(value[0], int):
        return value
    return [value]


def _sides(body: Mapping[str, Any]) -> tuple[Any, Any]:
    left = next((body[name] for name in ("text_1", "queries", "data_1") if name in body), "")
    right = next((body[name] for name in ("text_2", "documents", "data_2", "items") if name in body), "")
    return left, right


def _texts(value: Any) -> Iterator[str]:
    """Every text in a prompt, in order: strings, messages, content parts, and token numbers as words."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, int):
        yield str(value)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, Mapping):
        yield from _texts(value.get("content"))
        yield from _texts(value.get("text"))
