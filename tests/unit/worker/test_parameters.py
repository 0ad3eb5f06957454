"""The whitelist: nothing is passed on that is not on it, nothing is dropped without a word."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.errors import RequestRefused, SettingsError, UnsupportedParameter
from backburner_schemas.request import Endpoint
from backburner_worker.requests.parameters import BodyLimits, check_allowed_extra, check_parameters

LIMITS = BodyLimits()
HELLO = [{"role": "user", "content": "hello"}]
BODIES = {
    Endpoint.CHAT: {"model": "m", "messages": HELLO},
    Endpoint.COMPLETIONS: {"model": "m", "prompt": "hello"},
    Endpoint.EMBEDDINGS: {"model": "m", "input": "hello"},
    Endpoint.SCORE: {"model": "m", "text_1": "a", "text_2": "b"},
    Endpoint.RESPONSES: {"model": "m", "input": "hello"},
}
NEVER = [
    *("stream_options", "stream_interval", "chat_template", "kv_transfer_params", "ec_transfer_params"),
    *("vllm_xargs", "priority", "request_id", "session_id", "cache_salt", "use_beam_search", "prompt_embeds"),
    *("mm_processor_kwargs", "media_io_kwargs", "prompt_logprobs", "add_special_tokens", "guided_json"),
    *("guided_regex", "guided_choice"),
]


def check(endpoint=Endpoint.CHAT, limits=LIMITS, allowed_extra=frozenset(), **fields):
    return check_parameters(endpoint, {**BODIES[endpoint], **fields}, allowed_extra=allowed_extra, limits=limits)


def refused(error, **arguments):
    with pytest.raises(error) as caught:
        check(**arguments)
    # The class itself: UnsupportedParameter is a RequestRefused, and the two have different codes.
    assert type(caught.value) is error
    assert caught.value.param is not None
    assert caught.value.param in caught.value.message
    return caught.value.param


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_the_smallest_body_passes_unchanged(endpoint):
    checked = check(endpoint)
    assert {name: checked[name] for name in BODIES[endpoint]} == BODIES[endpoint]


@pytest.mark.parametrize("endpoint", list(Endpoint))
@pytest.mark.parametrize(
    "name", ["frobnicate", "documents_", "functions", "suffix", "verbosity", "modalities", "web_search_options", ""]
)
def test_an_unknown_field_is_refused_by_its_name(endpoint, name):
    with pytest.raises(UnsupportedParameter) as caught:
        check(endpoint, **{name: 1})
    assert caught.value.param == name
    assert caught.value.code == "unsupported_parameter"


@pytest.mark.parametrize("endpoint", list(Endpoint))
@pytest.mark.parametrize("name", NEVER)
def test_a_forbidden_field_is_refused_even_if_the_operator_names_it(endpoint, name):
    with pytest.raises(UnsupportedParameter) as caught:
        check(endpoint, allowed_extra=frozenset({name}), **{name: [1]})
    assert caught.value.param == name


@pytest.mark.parametrize("name", [*NEVER, "stream", "echo"])
def test_the_operator_is_told_at_once_that_a_field_can_never_be_allowed(name):
    with pytest.raises(SettingsError, match=name):
        check_allowed_extra(frozenset({name, "fine"}))


def test_the_operator_may_allow_other_fields():
    extra = frozenset({"length_penalty"})
    check_allowed_extra(extra)
    assert check(allowed_extra=extra, length_penalty=0.5)["length_penalty"] == 0.5


def test_a_name_as_long_as_a_body_is_not_repeated_in_the_error():
    param = refused(UnsupportedParameter, **{"x" * 100_000: 1})
    assert len(param) < 200


@pytest.mark.parametrize("name", ["stream", "echo"])
def test_a_switch_that_is_off_passes_and_one_that_is_on_does_not(name):
    assert name not in check(**{name: False})
    assert refused(UnsupportedParameter, **{name: True}) == name


HARMLESS = [
    *(("user", "u"), ("metadata", {"a": "b"}), ("store", False), ("store", True), ("service_tier", "flex")),
    *(("safety_identifier", "x"), ("prompt_cache_key", "x"), ("prompt_cache_retention", "24h")),
    *(("prediction", {"type": "content", "content": "x"}), ("background", False)),
    *(("stream", False), ("stream_options", {"include_usage": True}), ("echo", False), ("suffix", "")),
    *(("modalities", ["text"]), ("verbosity", "medium"), ("functions", []), ("function_call", "none")),
    *(("tools", []), ("tool_choice", "none"), ("tool_choice", "auto")),
]
HARMFUL = [
    *(("stream", True), ("stream", 1), ("stream_options", {"interval": 2}), ("echo", True), ("suffix", "x")),
    *(("modalities", ["text", "audio"]), ("modalities", "text"), ("verbosity", "low"), ("functions", [{}])),
    *(("function_call", {"name": "f"}), ("background", True), ("web_search_options", {}), ("audio", {"voice": "x"})),
]


@pytest.mark.parametrize(("name", "value"), HARMLESS)
def test_a_field_that_changes_no_answer_is_taken_and_left_out(name, value):
    assert check(**{name: value}) == BODIES[Endpoint.CHAT]


@pytest.mark.parametrize(("name", "value"), HARMFUL)
def test_a_value_that_would_change_the_answer_is_refused_by_its_fields_name(name, value):
    assert refused(UnsupportedParameter, **{name: value}) == name


def test_a_value_that_is_refused_is_told_which_would_do():
    with pytest.raises(UnsupportedParameter, match='verbosity is not supported here; remove it, or set it to "medium"'):
        check(verbosity="low")


def test_the_old_names_of_structured_outputs_are_told_the_new_ones():
    with pytest.raises(UnsupportedParameter, match="guided_json is not supported here; write it as structured_outputs"):
        check(guided_json={"type": "object"})


def test_tools_that_are_given_keep_what_is_said_of_them():
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    said = {"tools": tools, "tool_choice": "none", "parallel_tool_calls": False}
    assert check(**said) == {**BODIES[Endpoint.CHAT], **said}
    assert check(tool_choice="required")["tool_choice"] == "required"


@pytest.mark.parametrize("endpoint", list(Endpoint))
@pytest.mark.parametrize(
    "name", [*NEVER, "temperature", "max_tokens", "prediction", "functions", "audio", "unheard_of"]
)
def test_a_null_means_not_given_whatever_the_field(endpoint, name):
    assert check(endpoint, **{name: None}) == check(endpoint)


def test_sampling_fields_pass_as_they_are():
    fields = {"temperature": 0.2, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "seed": 3}
    assert check(**fields) == {**BODIES[Endpoint.CHAT], **fields}


def test_a_completion_without_a_limit_gets_openais_default():
    assert check(Endpoint.COMPLETIONS)["max_tokens"] == 16
    assert check(Endpoint.COMPLETIONS, max_tokens=5)["max_tokens"] == 5


def test_a_chat_without_a_limit_is_left_to_the_engine():
    assert "max_tokens" not in check()
    assert check(max_tokens=5)["max_tokens"] == 5


@pytest.mark.parametrize("n", [17, 0, -1, "2", 2.0, True, [1]])
def test_n_is_a_whole_number_within_the_limit(n):
    assert refused(RequestRefused, n=n) == "n"


def test_best_of_must_equal_n():
    assert "best_of" not in check(Endpoint.COMPLETIONS, n=2, best_of=2)
    assert refused(UnsupportedParameter, endpoint=Endpoint.COMPLETIONS, best_of=2) == "best_of"
    assert refused(RequestRefused, endpoint=Endpoint.COMPLETIONS, best_of=1000) == "best_of"


@pytest.mark.parametrize(
    ("endpoint", "name", "limits"),
    [
        (Endpoint.COMPLETIONS, "prompt", BodyLimits(max_prompts=3)),
        (Endpoint.EMBEDDINGS, "input", BodyLimits(max_inputs=3)),
        (Endpoint.SCORE, "text_2", BodyLimits(max_inputs=3)),
    ],
)
def test_the_number_of_inputs_is_capped(endpoint, name, limits):
    assert len(check(endpoint, limits, **{name: ["a"] * 3})[name]) == 3
    assert refused(RequestRefused, endpoint=endpoint, limits=limits, **{name: ["a"] * 4}) == name


@pytest.mark.parametrize("endpoint", [Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS])
@pytest.mark.parametrize("value", ["a", [1, 2, 3], ["a", "b"], [[1], [2, 3]]])
def test_inputs_are_texts_or_token_numbers(endpoint, value):
    name = "prompt" if endpoint is Endpoint.COMPLETIONS else "input"
    assert check(endpoint, **{name: value})[name] == value


@pytest.mark.parametrize("value", [{}, 5, [], [[]], [{"role": "user", "content": "x"}], [True], [1.5]])
def test_other_inputs_are_refused(value):
    assert refused(RequestRefused, endpoint=Endpoint.EMBEDDINGS, input=value) == "input"


def test_a_score_takes_texts_only_because_engines_would_fetch_media_there():
    value = {"content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}]}
    assert refused(RequestRefused, endpoint=Endpoint.SCORE, text_2=value) == "text_2"


def test_embeddings_come_as_json_only():
    assert refused(RequestRefused, endpoint=Endpoint.EMBEDDINGS, encoding_format="bytes") == "encoding_format"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["messages", "n", "tools", "response_format", "structured_outputs", "chat_template_kwargs", "prompt", "best_of"]
)


@given(endpoint=st.sampled_from(list(Endpoint)), fields=st.dictionaries(FIELDS | st.text(max_size=8), JSON))
def test_any_json_is_either_refused_or_passed_on_field_by_field(endpoint, fields):
    body = {**BODIES[endpoint], **fields}
    before = json.dumps(body)
    with contextlib.suppress(RequestRefused):
        checked = check_parameters(endpoint, body, limits=LIMITS)
        assert all(checked[name] is body[name] for name in checked if body.get(name) is not None)
    assert json.dumps(body) == before


LISTS = {
    "stop": (["x"], LIMITS.max_stops),
    "bad_words": (["x"], LIMITS.max_bad_words),
    "stop_token_ids": ([7], LIMITS.max_stop_token_ids),
    "allowed_token_ids": ([7], LIMITS.max_allowed_token_ids),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_a_named_limit(name):
    item, limit = LISTS[name]
    assert check(**{name: item * limit})[name] == item * limit
    assert refused(RequestRefused, **{name: item * (limit + 1)}) == name
    assert refused(RequestRefused, **{name: [[]]}) == name
    assert refused(RequestRefused, **{name: {"x": 1}}) == name


def test_a_logit_bias_has_a_limit_and_holds_numbers():
    def biases(count):
        return {str(token): -1.5 for token in range(count)}

    assert len(check(logit_bias=biases(LIMITS.max_logit_biases))["logit_bias"]) == LIMITS.max_logit_biases
    for bad in (biases(LIMITS.max_logit_biases + 1), {"1": "x"}, {"1": True}, [1]):
        assert refused(RequestRefused, logit_bias=bad) == "logit_bias"


@pytest.mark.parametrize("name", ["stop", "bad_words"])
def test_a_word_has_a_limit_too(name):
    longest = "x" * LIMITS.max_word_characters
    assert check(**{name: [longest]})[name] == [longest]
    assert refused(RequestRefused, **{name: [longest + "x"]}) == name


def test_one_stop_text_needs_no_list():
    assert check(stop="x")["stop"] == "x"
    assert refused(RequestRefused, stop="x" * (LIMITS.max_word_characters + 1)) == "stop"


@pytest.mark.parametrize(
    ("endpoint", "tool"),
    [
        (Endpoint.CHAT, {"type": "function", "function": {"name": "f"}}),
        (Endpoint.RESPONSES, {"type": "function", "name": "f"}),
    ],
)
def test_tools_have_a_limit(endpoint, tool):
    assert len(check(endpoint, tools=[tool] * LIMITS.max_tools)["tools"]) == LIMITS.max_tools
    assert refused(RequestRefused, endpoint=endpoint, tools=[tool] * (LIMITS.max_tools + 1)) == "tools"


def test_template_arguments_have_a_limit():
    def arguments(count):
        return {f"a{number}": 1 for number in range(count)}

    assert check(chat_template_kwargs=arguments(LIMITS.max_template_arguments))["chat_template_kwargs"]
    too_many = arguments(LIMITS.max_template_arguments + 1)
    assert refused(RequestRefused, chat_template_kwargs=too_many) == "chat_template_kwargs"
