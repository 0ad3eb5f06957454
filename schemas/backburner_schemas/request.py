"""A request: one inference call in OpenAI's batch form, as a user writes it, and what is checked at the edge."""

import math
from collections.abc import Iterator
from enum import Enum, StrEnum, auto
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from backburner_schemas.errors import BodyTooComplex, BodyTooLarge, InvalidJson, RequestRefused, UnknownEndpoint


class Endpoint(StrEnum):
    """The endpoints that a request may name in `url`."""

    CHAT = "/v1/chat/completions"
    """Chat completions: `messages` in, one assistant message out."""
    COMPLETIONS = "/v1/completions"
    """Text completions: `prompt` in, text out."""
    EMBEDDINGS = "/v1/embeddings"
    """Embeddings: `input` in, vectors out."""
    SCORE = "/v1/score"
    """Similarity or relevance scores of pairs of texts."""
    RESPONSES = "/v1/responses"
    """Responses: `input` in, a text or messages, and output items out."""


EndpointUrl = (
    Endpoint | Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/score", "/v1/responses"]
)
"""How users write an endpoint: a member, or its URL."""

MAX_CUSTOM_ID_CHARACTERS = 512
"""Characters in a custom_id at most, as OpenAI allows."""

DEFAULT_MAX_BODY_BYTES = 8 * 1024 * 1024
"""Default of BACKBURNER_MAX_BODY_BYTES: bytes in one request line at most."""

ENVELOPE_BYTES = 8192
"""What an envelope may add to its request's line: names, ids and facts, escaped."""

MAX_CONTAINERS = 65_536
"""Objects and lists in one request at most: each takes up to a hundred times the memory of its two bytes of JSON."""

_MAX_GROWTH_FACTOR = 16
"""Bytes that a request may be parsed into, for each byte that one may have. Token ids take ten."""
_CONTAINER_BYTES = 200
_ITEM_BYTES = 64
"""What an object or a list takes at most, and about what an item does."""
_CHUNK_BYTES = 64 * 1024

CustomId = Annotated[str, Field(min_length=1, max_length=MAX_CUSTOM_ID_CHARACTERS)]


class BatchRequest(BaseModel):
    """One line of a batch file: `{"custom_id", "method", "url", "body"}`. Unknown fields are passed over."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    custom_id: CustomId
    """The request's name in its job, 1 to 512 characters; the result's record has the same."""
    method: Literal["POST"] = "POST"
    """Always `POST`; may be left out."""
    url: Annotated[Endpoint, Field(strict=False)]
    """The endpoint that answers it."""
    body: dict[str, Any]
    """What the endpoint takes, its `model` included."""

    @property
    def model(self) -> str:
        """The model that the body names; the request is routed by it."""
        return str(self.body["model"])


def parse_request(
    line: bytes | str, *, max_bytes: int = DEFAULT_MAX_BODY_BYTES, model: str | None = None
) -> BatchRequest:
    """Parse and check one line, strictly. `model`, if there is one, takes the place of the body's.

    Raises a `RequestRefused`: `BodyTooLarge`, `InvalidJson`, `UnknownEndpoint`, or the class itself for a field
    that is missing or of the wrong type; `param` names the field.
    """
    try:
        data = line if isinstance(line, bytes) else line.encode()
        check_size(data, max_bytes)
        check_parsed_size(data, max_bytes)
        found = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidJson(f"not a JSON object: {error}; write one JSON object a line, in UTF-8") from error
    if model is not None and isinstance(found, dict) and isinstance(found.get("body"), dict):
        found["body"]["model"] = model
    return check_request(found)


def check_request(found: Any) -> BatchRequest:
    """Check a line that was parsed already. Raises as `parse_request` does, but for its size."""
    try:
        request = BatchRequest.model_validate(found)
    except ValidationError as error:
        raise refusal(error) from error
    check_values(request.body)
    check_body(request.url, request.body)
    return request


def check_size(line: bytes, max_bytes: int) -> None:
    """Raise `BodyTooLarge` if the line has more bytes than that."""
    if len(line) > max_bytes:
        raise BodyTooLarge(
            # Of a longer one not more is read than shows that it is.
            f"the request has more than {max_bytes:,} bytes, which is the limit; send less, or raise "
            "BACKBURNER_MAX_BODY_BYTES for producers and workers",
            param="body",
        )


def check_parsed_size(data: bytes, max_bytes: int) -> None:
    """Raise `BodyTooComplex` if the JSON may take many times what a request may have, once it is parsed.

    It is asked before that: one byte can become eighty. Signs within texts are told apart where that matters.
    """
    most_bytes = max(max_bytes, DEFAULT_MAX_BODY_BYTES) * _MAX_GROWTH_FACTOR
    if len(data) * _CONTAINER_BYTES <= most_bytes or _parsed_bytes(data) <= most_bytes:
        return
    if sum(map(_parsed_bytes, _outside_texts(data))) > most_bytes:
        raise BodyTooComplex(
            "the request has too many objects, lists and items; send less in one request", param="body"
        )


def few(value: object, count: int) -> object:
    """The value. Raises `ValueError` if it is a list or a dict of more items than that.

    A model notes what is wrong with each item, and that takes hundreds of bytes for one of them. So lists of models
    stop at the first (`pydantic.FailFast`), and where that cannot be said, they are held against this before.
    """
    if isinstance(value, list | tuple | dict) and len(value) > count:
        raise ValueError(f"must have {count:,} items at most, and has {len(value):,}")
    return value


def at_most(count: int) -> BeforeValidator:
    """Has a field refuse a list or a dict of more items than that."""
    return BeforeValidator(lambda value: few(value, count))


def _parsed_bytes(data: bytes) -> int:
    """What the JSON may be parsed into, in bytes; its texts aside."""
    return _CONTAINER_BYTES * (data.count(b"{") + data.count(b"[")) + _ITEM_BYTES * data.count(b",")


def _outside_texts(data: bytes) -> Iterator[bytes]:
    """The JSON without its texts, in pieces: split as a whole, it could take far more than its bytes."""
    bare = data.replace(rb"\\", b"").replace(rb"\"", b"")
    within = 0
    for start in range(0, len(bare), _CHUNK_BYTES):
        pieces = bare[start : start + _CHUNK_BYTES].split(b'"')
        yield b"".join(pieces[within::2])
        within = (within + len(pieces) - 1) % 2


def check_values(value: dict[str, Any]) -> None:
    """Raise unless each value in the parsed object, however deep, may travel.

    `InvalidJson` for a number that was too large for a float, such as 1e999: it would be written on as null.
    `BodyTooComplex` for too many objects and lists.
    """
    match _fault(value):
        case _Fault.NUMBER:
            raise InvalidJson("a number is out of range; write one that a 64-bit float can hold")
        case _Fault.CONTAINERS:
            raise BodyTooComplex(
                f"the request has more than {MAX_CONTAINERS:,} objects and lists; send less in one request",
                param="body",
            )


def are_values_fine(value: dict[str, Any]) -> bool:
    """Whether `check_values` accepts the parsed object."""
    return _fault(value) is None


class _Fault(Enum):
    NUMBER = auto()
    CONTAINERS = auto()


def _fault(value: dict[str, Any]) -> _Fault | None:
    # Walking over values costs more than scanning the text only where they are numbers, and never by much.
    containers: list[Any] = [value]
    for container in containers:  # which grows meanwhile
        for item in container.values() if isinstance(container, dict) else container:
            kind = type(item)
            if kind is str:
                continue
            if kind is dict or kind is list:
                containers.append(item)
            elif kind is float and not math.isfinite(item):
                return _Fault.NUMBER
    return None if len(containers) <= MAX_CONTAINERS else _Fault.CONTAINERS


def check_body(endpoint: Endpoint, body: dict[str, Any]) -> None:
    """Raise `RequestRefused` unless the body names a model, carries the endpoint's input and does not stream."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RequestRefused("body.model is missing; name the model that should answer", param="model")
    wanted = INPUT_FIELDS[endpoint]
    if not any(name in body for name in wanted):
        raise RequestRefused(f"body.{wanted[0]} is missing; {endpoint} needs it", param=wanted[0])
    if body.get("stream"):
        raise RequestRefused("body.stream is set; results are stored whole, so remove it", param="stream")


INPUT_FIELDS: dict[Endpoint, tuple[str, ...]] = {
    Endpoint.CHAT: ("messages",),
    Endpoint.COMPLETIONS: ("prompt",),
    Endpoint.EMBEDDINGS: ("input", "messages"),
    Endpoint.SCORE: ("text_1", "queries", "data_1"),
    Endpoint.RESPONSES: ("input",),
}
"""The body fields of which each endpoint needs one."""


def refusal(error: ValidationError) -> RequestRefused:
    """The refusal for what pydantic found, by its first finding."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return InvalidJson(f"not a JSON object: {first['msg']}")
    if first["type"] == "model_type" or not where:
        return InvalidJson("not a JSON object; write one JSON object a line, in UTF-8")
    if where == "url" and first["type"] == "enum":
        served = ", ".join(Endpoint)
        return UnknownEndpoint(f"url names no endpoint that is served here; use one of {served}", param="url")
    if first["type"] == "missing":
        return RequestRefused(f"{where} is missing; a line needs custom_id, url and body", param=where)
    if (wording := _IN_JSONS_WORDS.get(first["type"])) is not None:
        return RequestRefused(f"{where} {wording}", param=where)
    return RequestRefused(f"{where}: {first['msg']}", param=where)


_IN_JSONS_WORDS = {
    "dict_type": "must be a JSON object",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "string_too_long": f"must have no more than {MAX_CUSTOM_ID_CHARACTERS} characters",
    "literal_error": "must be POST, or be left out",
}
"""What pydantic finds, in the terms of JSON."""
