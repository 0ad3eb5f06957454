"""Which requests may share an answer, and the digest that stands for all that share one. Pure."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from backburner_schemas.request import Endpoint

_NEVER_SAMPLED = frozenset({Endpoint.EMBEDDINGS, Endpoint.SCORE})


def is_repeatable(endpoint: Endpoint, body: Mapping[str, Any]) -> bool:
    """Whether the same body is meant to be answered the same way: nothing is sampled, or from a seed."""
    if endpoint in _NEVER_SAMPLED or body.get("seed") is not None:
        return True
    temperature = body.get("temperature")
    return temperature is not None and temperature == 0


def request_digest(identity: str, endpoint: Endpoint, body: Mapping[str, Any]) -> str:
    """64 hexadecimal digits: the same for bodies that differ in the order of their fields, or in 0 and 0.0, alone.

    `identity` identifies what answers: requests to another model, or another version of it, never share a digest.
    `body` is the checked one, without nulls and what changes no answer.
    """
    text = json.dumps([identity, endpoint, _normal(body)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _normal(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _normal(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_normal(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
