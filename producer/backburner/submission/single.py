"""Builds one request from a user's arguments: a prompt, messages or a whole body."""

from collections.abc import Mapping, Sequence
from typing import Any

from backburner.inputs.items import json_of
from backburner_schemas.errors import RequestRefused, UnknownEndpoint
from backburner_schemas.request import BatchRequest, Endpoint, parse_request


def endpoint_of(url: str) -> Endpoint:
    """The endpoint of that URL. Raises `UnknownEndpoint`."""
    try:
        return Endpoint(url)
    except ValueError as error:
        raise UnknownEndpoint(f"{url!r} names no endpoint; use one of {', '.join(Endpoint)}", param="url") from error


def body_of(
    endpoint: Endpoint,
    *,
    prompt: str | None,
    messages: Sequence[Mapping[str, Any]] | None,
    body: Mapping[str, Any] | None,
    model: str | None,
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """The body, without a model if none was named. Raises `RequestRefused` unless exactly one input was given."""
    given = [name for name, value in (("prompt", prompt), ("messages", messages), ("body", body)) if value is not None]
    if len(given) != 1:
        named = "none was" if not given else " and ".join(given) + " were"
        raise RequestRefused(f"pass exactly one of prompt, messages and body; {named} given", param="prompt")
    made: dict[str, Any] = {"model": model} if model is not None else {}
    if body is not None:
        made = {**body, **made}
    elif messages is not None:
        made["input" if endpoint is Endpoint.RESPONSES else "messages"] = list(messages)
    else:
        made.update(_from_prompt(endpoint, prompt or ""))
    return {**made, **parameters}


def _from_prompt(endpoint: Endpoint, prompt: str) -> dict[str, Any]:
    if endpoint is Endpoint.CHAT:
        return {"messages": [{"role": "user", "content": prompt}]}
    if endpoint is Endpoint.COMPLETIONS:
        return {"prompt": prompt}
    if endpoint in {Endpoint.EMBEDDINGS, Endpoint.RESPONSES}:
        return {"input": prompt}
    raise RequestRefused(f"{endpoint} needs more than a prompt; pass its fields as body", param="prompt")


def request_of(custom_id: str, endpoint: Endpoint, body: Mapping[str, Any], *, max_bytes: int) -> BatchRequest:
    """The request, checked as a line of a file is. Raises `RequestRefused`."""
    line = json_of({"custom_id": custom_id, "url": endpoint, "body": dict(body)})
    return parse_request(line, max_bytes=max_bytes)
