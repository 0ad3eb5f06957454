"""What may stand inside the fields of `/v1/responses`: items of `input`, tools, text and reasoning settings. Pure.

What an engine would take no notice of is refused: a part that is dropped changes the answer without a word.
"""

from typing import Any

from backburner_schemas.errors import RequestRefused, UnsupportedParameter
from backburner_worker.requests.chat_messages import check_media_url, only_fields, unsupported
from backburner_worker.requests.constraints import check_size
from backburner_worker.requests.limits import BodyLimits
from backburner_worker.requests.sampling_lists import check_length

_ROLES = ("system", "developer", "user", "assistant")
_MESSAGE_FIELDS = frozenset({"type", "role", "content", "id", "status"})
_ITEM_FIELDS = {
    "function_call": frozenset({"type", "id", "status", "call_id", "name", "arguments"}),
    "function_call_output": frozenset({"type", "id", "status", "call_id", "output"}),
    "reasoning": frozenset({"type", "id", "status", "summary", "content"}),
}
"""Items beside messages."""
_ITEM_TEXTS = {"function_call": ("call_id", "name", "arguments"), "function_call_output": ("call_id", "output")}
"""What of them has to be a text."""

_PART_FIELDS = {
    "input_text": frozenset({"type", "text"}),
    "output_text": frozenset({"type", "text", "annotations", "logprobs"}),
    "input_image": frozenset({"type", "image_url", "detail"}),
}
_TOOL_FIELDS = frozenset({"type", "name", "description", "parameters", "strict"})
_FORMATS = {
    "text": frozenset({"type"}),
    "json_object": frozenset({"type"}),
    "json_schema": frozenset({"type", "name", "description", "schema", "strict"}),
}
_INCLUDABLE = "message.output_text.logprobs"
_TRUNCATIONS = ("auto", "disabled")
_TOOL_CHOICES = ("none", "auto", "required")

MAY_HOLD_NULLS = {"input": 2, "text": 2, "reasoning": 1, "tools": 1}
"""Fields in which SDKs write nulls, and how many levels of objects deep; a schema may mean the nulls that it holds."""


def without_nulls(value: Any, levels: int) -> Any:
    """The value without the nulls in so many levels of objects."""
    if isinstance(value, list):
        return [without_nulls(item, levels) for item in value]
    if levels == 0 or not isinstance(value, dict):
        return value
    return {name: without_nulls(item, levels - 1) for name, item in value.items() if item is not None}


def check_response_input(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise `RequestRefused` or `UnsupportedParameter` unless it is a text, or a list of items of known forms."""
    if isinstance(value, str):
        return
    if not isinstance(value, list) or not value:
        raise RequestRefused(f"{name} must be a text, or a list of items, at least one", param=name)
    for index, item in enumerate(value):
        _check_item(f"{name}[{index}]", item, limits)


def check_instructions(name: str, value: Any, _limits: BodyLimits) -> None:
    """Raise `RequestRefused` unless it is a text."""
    if not isinstance(value, str):
        raise RequestRefused(f"{name} must be a text", param=name)


def check_response_tools(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise unless it is a list of functions, within the limits: nothing here runs a tool."""
    if not isinstance(value, list):
        raise RequestRefused(f"{name} must be a list of tools", param=name)
    check_length(name, value, limits.max_tools)
    for index, tool in enumerate(value):
        where = f"{name}[{index}]"
        if isinstance(tool, dict) and tool.get("type") != "function":
            raise UnsupportedParameter(
                f"{where}.type must be function: nothing here searches, runs code or calls a server; remove the tool",
                param=f"{where}.type",
            )
        only_fields(where, tool, _TOOL_FIELDS)
    check_size(name, value, limits)


def check_tool_choice(name: str, value: Any, _limits: BodyLimits) -> None:
    """Raise unless it is one of OpenAI's words, or names a function."""
    if isinstance(value, dict) and value.get("type") == "function":
        only_fields(name, value, frozenset({"type", "name"}))
    elif value not in _TOOL_CHOICES:
        raise UnsupportedParameter(f"{name} must be one of {', '.join(_TOOL_CHOICES)}, or name a function", param=name)


def check_text(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise unless it asks for one of OpenAI's formats, with a schema within the limits, and for nothing else."""
    fields = only_fields(name, value, frozenset({"format", "verbosity"}))
    if fields.get("verbosity", "medium") != "medium":
        raise unsupported(f"{name}.verbosity", 'remove it, or set it to "medium"')
    if "format" not in fields:
        return
    where, form = f"{name}.format", fields["format"]
    kind = form.get("type") if isinstance(form, dict) else None
    if not isinstance(kind, str) or kind not in _FORMATS:
        raise UnsupportedParameter(f"{where}.type must be one of {', '.join(_FORMATS)}", param=f"{where}.type")
    only_fields(where, form, _FORMATS[kind])
    check_size(f"{where}.schema", form.get("schema"), limits)


def check_reasoning(name: str, value: Any, _limits: BodyLimits) -> None:
    """Raise for anything but an effort: no summaries of reasoning are made here."""
    only_fields(name, value, frozenset({"effort"}))


def check_include(name: str, value: Any, _limits: BodyLimits) -> None:
    """Raise unless nothing but logprobs is asked for: all else belongs to tools that do not run here."""
    if not isinstance(value, list) or any(item != _INCLUDABLE for item in value):
        raise UnsupportedParameter(f"{name} may hold {_INCLUDABLE} and nothing else; remove the rest", param=name)


def check_truncation(name: str, value: Any, _limits: BodyLimits) -> None:
    """Raise unless it is one of OpenAI's words."""
    if value not in _TRUNCATIONS:
        raise RequestRefused(f"{name} must be one of {', '.join(_TRUNCATIONS)}", param=name)


def _check_item(where: str, item: Any, limits: BodyLimits) -> None:
    if not isinstance(item, dict):
        raise RequestRefused(f"{where} must be an object", param=where)
    kind = item.get("type", "message")
    if kind == "message":
        _check_message(where, item, limits)
        return
    if not isinstance(kind, str) or kind not in _ITEM_FIELDS:
        kinds = ", ".join(("message", *_ITEM_FIELDS))
        raise UnsupportedParameter(f"{where}.type must be one of {kinds}", param=f"{where}.type")
    only_fields(where, item, _ITEM_FIELDS[kind])
    for field in _ITEM_TEXTS.get(kind, ()):
        if not isinstance(item.get(field), str):
            raise RequestRefused(f"{where}.{field} must be a text", param=f"{where}.{field}")
    if kind == "reasoning":
        for field in ("summary", "content"):
            _check_one_text(f"{where}.{field}", item.get(field, []))


def _check_message(where: str, item: dict[str, Any], limits: BodyLimits) -> None:
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise RequestRefused(f"{where}.role must be one of {', '.join(_ROLES)}", param=f"{where}.role")
    only_fields(where, item, _MESSAGE_FIELDS)
    content, place = item.get("content"), f"{where}.content"
    if isinstance(content, str):
        return
    if not isinstance(content, list) or not content:
        raise RequestRefused(f"{place} must be a text or a list of parts, at least one", param=place)
    for index, part in enumerate(content):
        _check_part(f"{place}[{index}]", part, limits)
    if role == "assistant":
        _check_one_text(place, content)


def _check_one_text(where: str, parts: Any) -> None:
    """Engines read the first part of an answer that is given back, and leave the others out."""
    if not isinstance(parts, list) or len(parts) > 1:
        raise UnsupportedParameter(f"{where} may have one part here; join its texts", param=where)
    if parts and not (isinstance(parts[0], dict) and isinstance(parts[0].get("text"), str)):
        raise RequestRefused(f"{where}[0].text must be a text", param=f"{where}[0].text")


def _check_part(where: str, part: Any, limits: BodyLimits) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in _PART_FIELDS:
        raise UnsupportedParameter(f"{where}.type must be one of {', '.join(_PART_FIELDS)}", param=f"{where}.type")
    fields = only_fields(where, part, _PART_FIELDS[kind])
    if kind == "input_image":
        check_media_url(f"{where}.image_url", fields.get("image_url"), limits)
    elif not isinstance(fields.get("text"), str):
        raise RequestRefused(f"{where}.text must be a text", param=f"{where}.text")
