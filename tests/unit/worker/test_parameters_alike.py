"""The whitelist looks each field up once and passes plain messages by; what it says is what the long way says."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backburner_schemas.body_fields import FIELDS, HARMLESS_FIELDS
from backburner_schemas.errors import RequestRefused
from backburner_schemas.request import Endpoint
from backburner_worker.requests import chat_messages, parameters
from backburner_worker.requests.limits import DATA_URLS, BodyLimits

EXTRA = ["frobnicate", "user", "stream", "echo", "priority", "guided_json", "n", ""]
NAMES = sorted(
    {*EXTRA, *HARMLESS_FIELDS, *parameters.NEVER, "guided_x", "stream_options", "x" * 200}.union(*FIELDS.values())
)
TEXTS = st.sampled_from(["", "user", "system", "tool", "assistant", "robot", "text", "image_url", "data:x", "json"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 20) | st.just(10**30) | st.floats() | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "function", "name", "json_schema"]) | TEXTS, inner, max_size=3
        )
    ),
    max_leaves=6,
)
PARTS = st.fixed_dictionaries({"type": TEXTS | VALUES}, optional={"text": TEXTS | VALUES, "image_url": VALUES})
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "role": TEXTS | VALUES,
        "content": TEXTS | VALUES | st.lists(PARTS, max_size=2),
        "name": TEXTS,
        "tool_calls": VALUES,
        "x": VALUES,
    },
)
PLAIN = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": TEXTS})
BODIES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5).flatmap(
    lambda found: (
        st.lists(PLAIN | PLAIN | MESSAGES | VALUES, max_size=4).map(lambda said: {"messages": said} | found)
        | st.just(found)
    )
)
LIMITS = st.sampled_from([BodyLimits(), BodyLimits(max_choices=2, max_schema_bytes=3, media_domains={DATA_URLS})])


def the_long_way(
    endpoint: Endpoint, body: dict[str, Any], allowed_extra: frozenset[str], limits: BodyLimits
) -> dict[str, Any]:
    """Field by field, each against every list, each message in full."""
    allowed = FIELDS[endpoint]
    checked: dict[str, Any] = {}
    for name, value in body.items():
        if value is None:
            continue
        harmless = HARMLESS_FIELDS.get(name)
        label = harmless is not None and harmless.is_label
        if parameters._is_never(name) or not (name in allowed or (name in allowed_extra and not label)):
            parameters._check_harmless(name, value)
            continue
        responses = endpoint is Endpoint.RESPONSES
        clean = (parameters._RESPONSES_CLEANS if responses else parameters._CLEANS).get(name, lambda same: same)
        check = (responses and parameters._RESPONSES_CHECKS.get(name)) or parameters._CHECKS.get(name)
        value = clean(value)  # noqa: PLW2901 - as in what is tested
        if check:
            check(name, value, limits)
        checked[name] = value
    if not checked.get("tools") and checked.get("tool_choice", "auto") in ["auto", "none"]:
        if "tools" in checked or "tool_choice" in checked:
            checked.pop("parallel_tool_calls", None)
        checked.pop("tools", None)
        checked.pop("tool_choice", None)
    if checked.get("best_of") is not None:
        parameters._check_choices(checked, limits)
    parameters._fill_defaults(endpoint, checked)
    return checked


def told(check: Any) -> str:
    """The body, in its order, or the refusal, word for word."""
    try:
        return json.dumps(check())
    except RequestRefused as error:
        return repr((type(error), error.code, error.message, error.param))


@given(st.sampled_from([*Endpoint]), BODIES, st.sets(st.sampled_from(EXTRA)).map(frozenset), LIMITS)
@example(Endpoint.CHAT, {"messages": [{"role": ["user"], "content": "a"}]}, frozenset(), BodyLimits())
@example(Endpoint.CHAT, {"messages": [{"role": "robot", "content": "a"}]}, frozenset(), BodyLimits())
@example(Endpoint.CHAT, {"messages": [{"role": "user", "content": None}]}, frozenset(), BodyLimits())
@example(Endpoint.CHAT, {"messages": [{"role": "user", "x": "a"}]}, frozenset(), BodyLimits())
@example(Endpoint.CHAT, {"stream": False, "echo": False, "user": 1, "n": None}, frozenset(EXTRA), BodyLimits())
@example(Endpoint.CHAT, {"stream": True}, frozenset(EXTRA), BodyLimits())
@example(Endpoint.COMPLETIONS, {"n": 2, "best_of": 3}, frozenset(), BodyLimits())
@example(Endpoint.COMPLETIONS, {"n": 2, "best_of": 2}, frozenset(), BodyLimits())
@example(Endpoint.COMPLETIONS, {"best_of": None}, frozenset(), BodyLimits())
def test_both_ways_say_the_same_of_any_body(endpoint, body, extra, limits):
    short = told(lambda: parameters.check_parameters(endpoint, body, allowed_extra=extra, limits=limits))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat_messages, "_PLAIN_FIELD_COUNT", -1)
        long = told(lambda: the_long_way(endpoint, body, extra, limits))
    assert short == long


def test_a_plain_message_is_passed_by(monkeypatch):
    monkeypatch.setattr(chat_messages, "_check_message", pytest.fail)
    body = {"model": "m", "messages": [{"role": "system", "content": ""}, {"content": "a", "role": "user"}]}
    assert parameters.check_parameters(Endpoint.CHAT, body, limits=BodyLimits()) == body
