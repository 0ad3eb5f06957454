"""What may constrain an answer: response formats, structured outputs, tools; their forms and sizes. Pure.

Schemas and grammars are compiled by the engine, on a thread that all requests share: their size is a cost
that one body imposes on everyone.
"""

import json
from typing import Any

from backburner_schemas.errors import RequestRefused, UnsupportedParameter
from backburner_worker.requests.chat_messages import only_fields
from backburner_worker.requests.limits import BodyLimits
from backburner_worker.requests.sampling_lists import check_length

_FORMATS = ("text", "json_object", "json_schema")
_FORMAT_FIELDS = frozenset({"type", "json_schema"})
_SCHEMA_FIELDS = frozenset({"name", "description", "schema", "strict"})
_STRUCTURED_FIELDS = frozenset(
    {
        *("json", "regex", "choice", "grammar", "json_object", "disable_any_whitespace"),
        *("disable_additional_properties", "whitespace_pattern"),
    }
)
_REGEXES = ("regex", "whitespace_pattern")
_TOOL_FIELDS = frozenset({"type", "function"})
_FUNCTION_FIELDS = frozenset({"name", "description", "parameters", "strict"})


def check_response_format(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise unless it is one of OpenAI's response formats, with a schema within the limits."""
    fields = only_fields(name, value, _FORMAT_FIELDS)
    kind = fields.get("type")
    if kind not in _FORMATS:
        where = f"{name}.type"
        raise UnsupportedParameter(f"{where} must be one of {', '.join(_FORMATS)}", param=where)
    if kind == "json_schema":
        schema = only_fields(f"{name}.json_schema", fields.get("json_schema"), _SCHEMA_FIELDS)
        check_size(f"{name}.json_schema.schema", schema.get("schema"), limits)


def check_structured_outputs(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise unless it is one of vLLM's structured outputs, within the limits."""
    fields = only_fields(name, value, _STRUCTURED_FIELDS)
    for key, item in fields.items():
        where = f"{name}.{key}"
        if key not in _REGEXES:
            check_size(where, item, limits)
        elif isinstance(item, str) and len(item) > limits.max_regex_chars:
            raise RequestRefused(
                f"{where} has {len(item)} characters and the limit is {limits.max_regex_chars}", param=where
            )


def check_tools(name: str, value: Any, limits: BodyLimits) -> None:
    """Raise unless it is a list of function tools, within the limits."""
    if not isinstance(value, list):
        raise RequestRefused(f"{name} must be a list of tools", param=name)
    check_length(name, value, limits.max_tools)
    for index, tool in enumerate(value):
        where = f"{name}[{index}]"
        fields = only_fields(where, tool, _TOOL_FIELDS)
        only_fields(f"{where}.function", fields.get("function"), _FUNCTION_FIELDS)
    check_size(name, value, limits)


def check_size(where: str, value: Any, limits: BodyLimits) -> None:
    """Raise `RequestRefused` if the value is larger, or nested deeper, than what one body may have compiled."""
    if _depth(value) > limits.max_schema_depth:
        raise RequestRefused(
            f"{where} is nested deeper than the limit of {limits.max_schema_depth} levels", param=where
        )
    size = len(value.encode()) if isinstance(value, str) else len(json.dumps(value).encode())
    if size > limits.max_schema_bytes:
        raise RequestRefused(f"{where} has {size} bytes and the limit is {limits.max_schema_bytes}", param=where)


def _depth(value: Any) -> int:
    """Levels of nesting, found level by level: a recursion could be driven into its own limit."""
    depth, level = 0, [value]
    while containers := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
    return depth
