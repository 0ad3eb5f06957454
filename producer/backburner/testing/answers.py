"""The fake system's answers: OpenAI's response forms, filled from the request. Pure, and always alike."""

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from backburner_schemas.envelope import Envelope
from backburner_schemas.request import Endpoint
from backburner_schemas.result import ResultRecord

_CREATED_SECONDS = 1_700_000_000
_DIMENSION_COUNT = 8


def default_answer(envelope: Envelope) -> str:
    """A text that names the request's hash: the same request gets the same text."""
    return f"fake answer {_digest(envelope)[:12]}"


def response_of(envelope: Envelope, answer: str | Mapping[str, Any]) -> dict[str, Any]:
    """The response body: the one given, or one in the endpoint's form around the text."""
    if not isinstance(answer, str):
        return dict(answer)
    digest = _digest(envelope)
    read, written = len(to_json(envelope.body).split()), len(answer.split())
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    common = {"id": f"fake-{digest[:24]}", "created": _CREATED_SECONDS, "model": (envelope.body or {}).get("model")}
    if envelope.url is Endpoint.CHAT:
        message = {"role": "assistant", "content": answer}
        choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]
        return {**common, "object": "chat.completion", "choices": choices, "usage": usage}
    if envelope.url is Endpoint.COMPLETIONS:
        choices = [{"index": 0, "text": answer, "logprobs": None, "finish_reason": "stop"}]
        return {**common, "object": "text_completion", "choices": choices, "usage": usage}
    if envelope.url is Endpoint.RESPONSES:
        content = [{"type": "output_text", "text": answer, "annotations": []}]
        output = [{"id": "msg_fake", "type": "message", "role": "assistant", "status": "completed", "content": content}]
        return {
            **{name: common[name] for name in ("id", "model")},
            "object": "response",
            "created_at": _CREATED_SECONDS,
            "status": "completed",
            "output": output,
            "usage": {"input_tokens": read, "output_tokens": written, "total_tokens": read + written},
        }
    numbers = [byte / 255 for byte in bytes.fromhex(digest)[:_DIMENSION_COUNT]]
    if envelope.url is Endpoint.EMBEDDINGS:
        data: list[dict[str, Any]] = [{"object": "embedding", "index": 0, "embedding": numbers}]
    else:
        data = [{"object": "score", "index": 0, "score": numbers[0]}]
    return {**common, "object": "list", "data": data, "usage": usage}


def usage_of(record: ResultRecord) -> tuple[int, int]:
    """Prompt and completion tokens in the record's response."""
    usage = (record.response.body.get("usage") if record.response is not None else None) or {}
    # Responses call them by other names.
    read = usage.get("prompt_tokens") or usage.get("input_tokens")
    written = usage.get("completion_tokens") or usage.get("output_tokens")
    return int(read or 0), int(written or 0)


def _digest(envelope: Envelope) -> str:
    return hashlib.sha256(to_json((envelope.url, envelope.body))).hexdigest()
