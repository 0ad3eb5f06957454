"""The whitelist of body fields: what may reach an engine, and how much of it. Pure.

Engines silently ignore unknown fields, which changes answers without notice, and some known ones are unsafe
from strangers. So each field is named here, or by the operator, or the request is refused by its name.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from backburner_schemas.body_fields import FIELDS, HARMLESS_FIELDS
from backburner_schemas.errors import RequestRefused, SettingsError, UnsupportedParameter
from backburner_schemas.request import Endpoint
from backburner_worker.requests.chat_messages import (
    check_messages,
    check_template_kwargs,
    unsupported,
    without_empty_fields,
)
from backburner_worker.requests.constraints import (
    check_response_format,
    check_structured_outputs,
    check_tools,
)
from backburner_worker.requests.limits import BodyLimits
from backburner_worker.requests.response_items import (
    MAY_HOLD_NULLS,
    check_include,
    check_instructions,
    check_reasoning,
    check_response_input,
    check_response_tools,
    check_text,
    check_tool_choice,
    check_truncation,
    without_nulls,
)
from backburner_worker.requests.sampling_lists import (
    check_allowed_token_ids,
    check_bad_words,
    check_logit_bias,
    check_stop,
    check_stop_token_ids,
)

__all__ = ["BodyLimits", "check_allowed_extra", "check_parameters"]

NEVER = frozenset(
    {
        *(
            "chat_template",
            "kv_transfer_params",
            "ec_transfer_params",
            "vllm_xargs",
            "priority",
            "request_id",
        ),
        *("session_id", "cache_salt", "use_beam_search", "prompt_embeds", "mm_processor_kwargs"),
        *("media_io_kwargs", "echo", "prompt_logprobs", "add_special_tokens"),
    }
)
"""Never accepted in a body, not even where the operator allows them: they affect more than the one request."""

_GUIDED = "guided_"
NEVER_PREFIXES = ("stream", _GUIDED)
"""How other names begin that are never accepted."""

_WITHOUT_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
"""Of these none means anything to a request without tools, and engines refuse some of them then."""

_COMPLETION_TOKENS = 16
"""OpenAI's default for text completions."""

_ENCODINGS = ("float", "base64")


def check_parameters(
    endpoint: Endpoint,
    body: Mapping[str, Any],
    *,
    allowed_extra: frozenset[str] = frozenset(),
    limits: BodyLimits,
) -> dict[str, Any]:
    """The body to run: checked field by field, without nulls and what changes no answer, with defaults filled in.

    Raises `UnsupportedParameter` for a field that is not on the list, and `RequestRefused` for one over its
    limit or of a form that cannot be checked. `param` names the field.
    """
    taken = _taken(endpoint, allowed_extra)
    checked: dict[str, Any] = {}
    for name, value in body.items():
        # A null is how OpenAI's SDKs spell "not given", for fields that nobody here has heard of too.
        if value is None:
            continue
        field = taken.get(name)
        if field is None:
            _check_harmless(name, value)
            continue
        clean, check = field
        if clean is not None:
            value = clean(value)  # noqa: PLW2901 - what is checked is what runs
        if check is not None:
            check(name, value, limits)
        checked[name] = value
    if "tool_choice" in checked or "tools" in checked:
        _drop_no_tools(checked)
    if "best_of" in checked:
        _check_choices(checked, limits)
    _fill_defaults(endpoint, checked)
    return checked


def check_allowed_extra(names: frozenset[str]) -> None:
    """Raise `SettingsError` if the operator's extra fields hold one that no body may ever carry."""
    if forbidden := sorted(name for name in names if _is_never(name)):
        raise SettingsError(
            f"{', '.join(forbidden)} can never be allowed in a body: it affects more than the one request; "
            "remove it from the list of extra parameters"
        )


@lru_cache(maxsize=64)
def _taken(endpoint: Endpoint, allowed_extra: frozenset[str]) -> Mapping[str, tuple["_Clean | None", "_Check | None"]]:
    """The fields that reach the engine, each with what cleans and checks its value: one lookup a field of any body."""
    labels = {name for name, field in HARMLESS_FIELDS.items() if field.is_label}
    names = FIELDS[endpoint] | (allowed_extra - labels)
    cleans, checks = _CLEANS, _CHECKS
    if endpoint is Endpoint.RESPONSES:
        cleans, checks = _RESPONSES_CLEANS, {**_CHECKS, **_RESPONSES_CHECKS}
    return {name: (cleans.get(name), checks.get(name)) for name in names if not _is_never(name)}


def _check_harmless(name: str, value: Any) -> None:
    """Raise unless the field, which no engine takes, changes no answer."""
    harmless = HARMLESS_FIELDS.get(name)
    if harmless is None:
        if name.startswith(_GUIDED):
            raise unsupported(name, "write it as structured_outputs or response_format")
        raise unsupported(name, "remove it" if _is_never(name) else "remove it, or ask the operator to allow it")
    if not harmless.accepts(value):
        raise unsupported(name, f"remove it, or set it to {harmless.values}")


def _is_never(name: str) -> bool:
    return name in NEVER or name.startswith(NEVER_PREFIXES)


def _check_count(name: str, value: Any, limits: BodyLimits) -> None:
    # Strictly an int: engines also accept "1000" and 1000.0, which would slip past a comparison.
    if type(value) is not int or value < 1:
        raise RequestRefused(f"{name} must be a whole number from 1", param=name)
    if value > limits.max_choices:
        raise RequestRefused(f"{name} is {value} and the limit is {limits.max_choices}", param=name)


def _drop_no_tools(body: dict[str, Any]) -> None:
    """Where no tool is given, "none" and "auto" both mean that none is called."""
    if not body.get("tools") and body.get("tool_choice", "none") in ("none", "auto"):
        for name in _WITHOUT_TOOLS:
            body.pop(name, None)


def _check_choices(body: dict[str, Any], limits: BodyLimits) -> None:
    best_of = body.pop("best_of")
    _check_count("best_of", best_of, limits)
    if best_of != body.get("n", 1):
        raise UnsupportedParameter("best_of is supported only if it equals n; remove it", param="best_of")


def _check_prompt(name: str, value: Any, limits: BodyLimits) -> None:
    _check_inputs(name, value, limits.max_prompts)


def _check_input(name: str, value: Any, limits: BodyLimits) -> None:
    _check_inputs(name, value, limits.max_inputs)


def _check_inputs(name: str, value: Any, limit: int) -> None:
    """Accept a text, a list of token numbers, or a bounded list of either."""
    if isinstance(value, str) or _is_tokens(value):
        return
    if not isinstance(value, list):
        raise RequestRefused(f"{name} must be a text, a list of token numbers, or a list of either", param=name)
    if len(value) > limit:
        raise RequestRefused(f"{name} has {len(value)} items and the limit is {limit}", param=name)
    if not value or not all(isinstance(item, str) or _is_tokens(item) for item in value):
        raise RequestRefused(f"{name} must hold texts or lists of token numbers", param=name)


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def _check_texts(name: str, value: Any, limits: BodyLimits) -> None:
    """Accept a text or a bounded list of texts; engines would accept media here too."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise RequestRefused(f"{name} must be a text or a list of texts", param=name)
    if len(texts) > limits.max_inputs:
        raise RequestRefused(f"{name} has {len(texts)} items and the limit is {limits.max_inputs}", param=name)


def _check_encoding(name: str, value: Any, _limits: BodyLimits) -> None:
    if value not in _ENCODINGS:
        raise RequestRefused(f"{name} must be one of {', '.join(_ENCODINGS)}", param=name)


def _fill_defaults(endpoint: Endpoint, body: dict[str, Any]) -> None:
    if endpoint is Endpoint.COMPLETIONS:
        body.setdefault("max_tokens", _COMPLETION_TOKENS)


_Clean = Callable[[Any], Any]
_Check = Callable[[str, Any, BodyLimits], None]

_CLEANS: dict[str, _Clean] = {"messages": without_empty_fields}
"""Fields that are rid of what means nothing before they are checked."""

_CHECKS: dict[str, _Check] = {
    "n": _check_count,
    "prompt": _check_prompt,
    "input": _check_input,
    "encoding_format": _check_encoding,
    "messages": check_messages,
    "chat_template_kwargs": check_template_kwargs,
    "response_format": check_response_format,
    "structured_outputs": check_structured_outputs,
    "tools": check_tools,
    "stop": check_stop,
    "bad_words": check_bad_words,
    "stop_token_ids": check_stop_token_ids,
    "allowed_token_ids": check_allowed_token_ids,
    "logit_bias": check_logit_bias,
    **dict.fromkeys(("text_1", "text_2", "queries", "documents", "items", "data_1", "data_2"), _check_texts),
}

_RESPONSES_CLEANS: dict[str, _Clean] = {
    name: partial(without_nulls, levels=levels) for name, levels in MAY_HOLD_NULLS.items()
}
_RESPONSES_CHECKS: dict[str, _Check] = {
    "input": check_response_input,
    "instructions": check_instructions,
    "tools": check_response_tools,
    "tool_choice": check_tool_choice,
    "text": check_text,
    "reasoning": check_reasoning,
    "include": check_include,
    "truncation": check_truncation,
}
"""Fields of responses that other endpoints have in another form, or not at all."""
