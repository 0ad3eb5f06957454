"""What may stand inside `messages` and `chat_template_kwargs`: roles, fields, content parts, media. Pure."""

from typing import Any
from urllib.parse import urlsplit

from backburner_schemas.errors import RequestRefused, UnsupportedParameter
from backburner_worker.requests.limits import DATA_URLS, BodyLimits
from backburner_worker.requests.sampling_lists import check_length

_ROLES = ("system", "developer", "user", "assistant", "tool")
"""Others are refused: a template may render an unknown role in any way, or leave the message out."""

_MESSAGE_FIELDS: dict[str, frozenset[str]] = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset({"role", "content", "name", "refusal", "tool_calls", "reasoning", "reasoning_content"}),
    "tool": frozenset({"role", "content", "tool_call_id"}),
}

_PLAIN_FIELD_COUNT = len(("role", "content"))

_TEXT_PARTS = {"text": "text", "refusal": "refusal"}
"""Content parts of text, and the one field that each carries beside its type."""

_URL_PARTS = ("image_url", "audio_url", "video_url")
_URL_FIELDS = frozenset({"url", "detail"})
_AUDIO_FIELDS = frozenset({"data", "format"})

_SHOWN_CHARACTERS = 128
"""Characters of a field's name that an error repeats."""

_TEMPLATE_RESERVED = frozenset(
    {
        *("chat_template", "tokenize", "tools", "documents", "messages", "conversation", "padding"),
        *("truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs"),
        *("add_generation_prompt", "continue_final_message", "return_assistant_tokens_mask"),
    }
)
"""Arguments of the template function itself; a body could swap the whole template through them."""


def check_messages(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise `RequestRefused` or `UnsupportedParameter` unless every message is of a known form."""
    if not isinstance(value, list) or not value:
        raise RequestRefused(f"{name} must be a list of messages, at least one", param=name)
    for index, message in enumerate(value):
        # A role and a text and nothing else, as in nearly all: that passes every check.
        if not (
            type(message) is dict
            and len(message) == _PLAIN_FIELD_COUNT
            and type(message.get("content")) is str
            and message.get("role") in _ROLES
        ):
            _check_message(f"{name}[{index}]", message, limits)


def without_empty_fields(messages: Any) -> Any:
    """The messages without what SDKs write into those that they give back: nulls, and annotations that are none."""
    if not isinstance(messages, list):
        return messages
    for message in messages:
        if type(message) is dict and len(message) > _PLAIN_FIELD_COUNT:
            break
    else:
        # A role and a text at most, as in nearly all.
        return messages
    return [
        {name: value for name, value in message.items() if name == "content" or not _is_empty(name, value)}
        if type(message) is dict and len(message) > _PLAIN_FIELD_COUNT
        else message
        for message in messages
    ]


def _is_empty(name: str, value: Any) -> bool:
    return value is None or (name == "annotations" and value == [])


def check_template_kwargs(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise `UnsupportedParameter` unless it is a flat, bounded object of texts, numbers and booleans."""
    if not isinstance(value, dict):
        raise RequestRefused(f"{name} must be an object", param=name)
    check_length(name, value, limits.max_template_arguments)
    for key, item in value.items():
        where = f"{name}.{key[:_SHOWN_CHARACTERS]}"
        if key in _TEMPLATE_RESERVED:
            raise unsupported(where)
        if not isinstance(item, str | int | float | bool | None):
            raise UnsupportedParameter(
                f"{where} must be a text, a number or a boolean; nested values are not supported", param=where
            )


def only_fields(where: str, value: Any, allowed: frozenset[str]) -> dict[str, Any]:
    """The value as an object that holds no field but the allowed ones; raises otherwise."""
    if not isinstance(value, dict):
        raise RequestRefused(f"{where} must be an object", param=where)
    for key in value:
        if key not in allowed:
            raise unsupported(f"{where}.{key}")
    return value


def unsupported(name: str, remedy: str = "remove it") -> UnsupportedParameter:
    """The refusal of a field that is not on the list. A name as long as a body is cut."""
    shown = name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}…"
    return UnsupportedParameter(f"{shown} is not supported here; {remedy}", param=shown)


def check_media_url(where: str, url: Any, limits: BodyLimits) -> None:
    """Raise `RequestRefused` unless it is a URL that media may be fetched from, or holds them where that is allowed."""
    if not isinstance(url, str):
        raise RequestRefused(f"{where} must be a text", param=where)
    if url[:5].lower() == DATA_URLS:
        if DATA_URLS not in limits.media_domains:
            raise _media_refused(where)
        return
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError as error:
        raise RequestRefused(f"{where} is not a URL", param=where) from error
    # Parsers disagree about these signs, so that a checked host need not be the one that is called.
    odd = "\\" in url or "@" in parts.netloc or any(sign.isspace() or not sign.isprintable() for sign in url)
    if odd or parts.scheme not in {"http", "https"} or host not in limits.media_domains:
        raise _media_refused(where)


def _check_message(where: str, message: Any, limits: BodyLimits) -> None:
    if not isinstance(message, dict):
        raise RequestRefused(f"{where} must be an object with role and content", param=where)
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise RequestRefused(f"{where}.role must be one of {', '.join(_ROLES)}", param=f"{where}.role")
    only_fields(where, message, _MESSAGE_FIELDS[role])
    content = message.get("content")
    if isinstance(content, list):
        for index, part in enumerate(content):
            _check_part(f"{where}.content[{index}]", part, limits)
    elif not isinstance(content, str) and not (content is None and role == "assistant"):
        raise RequestRefused(f"{where}.content must be a text or a list of parts", param=f"{where}.content")
    _check_calls(f"{where}.tool_calls", message.get("tool_calls"))


def _check_calls(where: str, calls: Any) -> None:
    if calls is None:
        return
    if not isinstance(calls, list):
        raise RequestRefused(f"{where} must be a list", param=where)
    for index, call in enumerate(calls):
        item = f"{where}[{index}]"
        fields = only_fields(item, call, frozenset({"id", "type", "function"}))
        only_fields(f"{item}.function", fields.get("function"), frozenset({"name", "arguments"}))


def _check_part(where: str, part: Any, limits: BodyLimits) -> None:
    if not isinstance(part, dict):
        raise RequestRefused(f"{where} must be an object with a type", param=where)
    kind = part.get("type")
    if kind in _TEXT_PARTS:
        only_fields(where, part, frozenset({"type", _TEXT_PARTS[kind]}))
        if not isinstance(part.get(_TEXT_PARTS[kind]), str):
            raise RequestRefused(f"{where}.{_TEXT_PARTS[kind]} must be a text", param=where)
    elif kind in _URL_PARTS:
        only_fields(where, part, frozenset({"type", kind}))
        media = only_fields(f"{where}.{kind}", part.get(kind), _URL_FIELDS)
        check_media_url(f"{where}.{kind}.url", media.get("url"), limits)
    elif kind == "input_audio":
        only_fields(where, part, frozenset({"type", "input_audio"}))
        only_fields(f"{where}.input_audio", part.get("input_audio"), _AUDIO_FIELDS)
        if DATA_URLS not in limits.media_domains:
            raise _media_refused(f"{where}.input_audio")
    else:
        kinds = ", ".join((*_TEXT_PARTS, *_URL_PARTS, "input_audio"))
        raise RequestRefused(f"{where}.type must be one of {kinds}", param=f"{where}.type")


def _media_refused(where: str) -> RequestRefused:
    return RequestRefused(
        f"{where} is not from a domain that this worker fetches media from; "
        "send text only, or ask the operator to allow the domain",
        param=where,
    )
