"""Judges well-formed lines fast. What it is not sure of it leaves to the full check, which words the refusals."""

from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, from_json, to_json

from backburner_schemas.request import INPUT_FIELDS, MAX_CUSTOM_ID, BatchRequest

_INPUTS = {str(endpoint): fields for endpoint, fields in INPUT_FIELDS.items()}


class Sendable(NamedTuple):
    """A request that is fit to be sent."""

    custom_id: str
    model: str
    data: bytes
    """The request in one form, whatever form the line had: what the rolling hash is made of."""
    members: bytes
    """What stands between the braces of the request's JSON object."""
    own: bool
    """Whether these are the line's own bytes."""


def plain(line: bytes, max_bytes: int) -> Sendable | None:
    """The request that the line holds; None leaves it to the full check, and says nothing about the line."""
    try:
        found = from_json(line, allow_inf_nan=False)
        custom_id, url, body = found["custom_id"], found["url"], found["body"]
        model, inputs = body["model"], _INPUTS[url]
        if (
            type(custom_id) is not str
            or not 0 < len(custom_id) <= MAX_CUSTOM_ID
            or type(body) is not dict
            or type(model) is not str
            or not model
            or found.get("method", "POST") != "POST"
            or body.get("stream")
            or (inputs[0] not in body and not any(name in body for name in inputs))
        ):
            return None
        data = to_json((custom_id, url, body), inf_nan_mode="constants")
    except (ValueError, TypeError, LookupError, PydanticSerializationError):
        return None
    # A number that no float can hold was read as infinite. A text with that word goes the longer way too.
    if len(line) > max_bytes or len(data) > max_bytes or b"Infinity" in data:
        return None
    if _says_nothing_else(line, data, found):
        return Sendable(custom_id, model, data, line[1:-1], own=True)
    return Sendable(custom_id, model, data, _members(custom_id, url, data), own=False)


def sendable(request: BatchRequest) -> Sendable:
    """The same of a request that the full check has accepted."""
    data = to_json((request.custom_id, request.url, request.body), inf_nan_mode="null")
    members = _members(request.custom_id, request.url, data)
    return Sendable(request.custom_id, request.model, data, members, own=False)


def _members(custom_id: str, url: str, data: bytes) -> bytes:
    name = to_json(custom_id)
    # The data is a list of the three values: what is behind the first two is the body.
    start = len(name) + len(url) + len('[,"",')
    return b'"custom_id":%b,"url":"%b","body":%b' % (name, url.encode(), data[start:-1])


def _says_nothing_else(line: bytes, data: bytes, found: dict[str, Any]) -> bool:
    """Whether the line has the request's own fields alone, and no object in it has a name twice.

    Then any reader finds in it what was found here. A name that is there twice brings a colon more than the data has,
    which lacks only those of the fields' names. An escaped colon could make up for that, so there must be none.
    """
    return (
        line[:1] == b"{"
        and line[-1:] == b"}"
        and len(found) == (4 if "method" in found else 3)
        and line.count(b":") == data.count(b":") + len(found)
        and b"\\u003" not in line
    )
