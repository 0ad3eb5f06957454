"""The whitelist: nothing is passed on that is not on it, nothing is dropped without a word."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.errors import RequestRefused, SettingsError, UnsupportedParameter
from backburner_schemas.request import Endpoint
from backburner_worker.engine.limits import DATA_URLS
from backburner_worker.engine.parameters import BodyLimits, check_allowed_extra, check_parameters

LIMITS = BodyLimits()
HELLO = [{"role": "user", "content": "hello"}]
BODIES = {
    Endpoint.CHAT: {"model": "m", "messages": HELLO},
    Endpoint.COMPLETIONS: {"model": "m", "prompt": "hello"},
    Endpoint.EMBEDDINGS: {"model": "m", "input": "hello"},
    Endpoint.SCORE: {"model": "m", "text_1": "a", "text_2": "b"},
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


def content(part, **arguments):
    return {"messages": [{"role": "user", "content": [part]}], **arguments}


def image(url):
    return content({"type": "image_url", "image_url": {"url": url}})


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_the_smallest_body_passes_unchanged(endpoint):
    checked = check(endpoint)
    assert {name: checked[name] for name in BODIES[endpoint]} == BODIES[endpoint]


@pytest.mark.parametrize("endpoint", list(Endpoint))
@pytest.mark.parametrize("name", ["frobnicate", "documents_", "functions", "suffix", "verbosity", ""])
def test_an_unknown_field_is_refused_by_its_name(endpoint, name):
    with pytest.raises(UnsupportedParameter) as caught:
        check(endpoint, **{name: 1})
    assert caught.value.param == name
    assert caught.value.code == "unsupported_parameter"


@pytest.mark.parametrize("endpoint", list(Endpoint))
@pytest.mark.parametrize("name", NEVER)
def test_a_forbidden_field_is_refused_even_if_the_operator_names_it(endpoint, name):
    with pytest.raises(UnsupportedParameter) as caught:
        check(endpoint, allowed_extra=frozenset({name}), **{name: None})
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


def test_labels_for_openais_service_are_taken_and_left_out():
    labels = {"user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"}
    assert check(**labels) == BODIES[Endpoint.CHAT]


def test_a_null_means_not_given():
    assert check(temperature=None, max_tokens=None) == BODIES[Endpoint.CHAT]


def test_sampling_fields_pass_as_they_are():
    fields = {"temperature": 0.2, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "seed": 3}
    assert check(**fields) == {**BODIES[Endpoint.CHAT], **fields}


def test_a_completion_without_a_limit_gets_openais_default():
    assert check(Endpoint.COMPLETIONS)["max_tokens"] == 16
    assert check(Endpoint.COMPLETIONS, max_tokens=5)["max_tokens"] == 5


def test_a_chat_without_a_limit_gets_the_operators_default_if_there_is_one():
    limits = BodyLimits(default_max_tokens=99)
    assert "max_tokens" not in check()
    assert check(limits=limits)["max_tokens"] == 99
    assert check(limits=limits, max_tokens=None)["max_tokens"] == 99
    assert check(limits=limits, max_tokens=5)["max_tokens"] == 5
    assert "max_tokens" not in check(limits=limits, max_completion_tokens=5)


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


@pytest.mark.parametrize("role", ["wizard", "function", None, 5, ["user"]])
def test_an_unknown_role_is_refused(role):
    messages = [*HELLO, {"role": role, "content": "x"}]
    assert refused(RequestRefused, messages=messages) == "messages[1].role"


def test_every_known_role_passes():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": [{"type": "text", "text": "u"}], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "t", "tool_call_id": "c1"},
    ]
    assert check(messages=messages)["messages"] == messages


def test_an_unknown_field_inside_a_message_is_refused_by_its_path():
    messages = [{"role": "user", "content": "x", "cache_control": {}}]
    assert refused(UnsupportedParameter, messages=messages) == "messages[0].cache_control"


@pytest.mark.parametrize(
    ("call", "param"),
    [
        ({"id": "c", "index": 0, "function": {}}, "messages[0].tool_calls[0].index"),
        ({"id": "c", "function": {"name": "f", "code": "x"}}, "messages[0].tool_calls[0].function.code"),
    ],
)
def test_an_unknown_field_inside_a_tool_call_is_refused_by_its_path(call, param):
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    assert refused(UnsupportedParameter, messages=messages) == param


@pytest.mark.parametrize("messages", ["hi", [], {}, ["hi"], [{"role": "user"}], [{"role": "user", "content": 5}]])
def test_messages_of_another_form_are_refused(messages):
    refused(RequestRefused, messages=messages)


@pytest.mark.parametrize("kind", ["image_embeds", "prompt_embeds", "image_pil", "file", None])
def test_an_unknown_kind_of_content_is_refused(kind):
    param = refused(RequestRefused, **content({"type": kind, "data": "x"}))
    assert param == "messages[0].content[0].type"


def test_an_unknown_field_inside_a_content_part_is_refused_by_its_path():
    part = {"type": "text", "text": "x", "image_url": {"url": "http://10.0.0.1/"}}
    assert refused(UnsupportedParameter, **content(part)) == "messages[0].content[0].image_url"


@pytest.mark.parametrize(
    "url",
    ["http://example.com/a.png", "https://10.0.0.1/a", "file:///etc/passwd", "data:image/png;base64,AA", "x"],
)
def test_no_media_are_fetched_unless_a_domain_is_allowed(url):
    assert refused(RequestRefused, **image(url)) == "messages[0].content[0].image_url.url"


def test_media_from_an_allowed_domain_pass():
    limits = BodyLimits(media_domains=frozenset({"example.com"}))
    assert check(limits=limits, **image("https://EXAMPLE.com/a.png"))


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com.evil.org/a",
        "https://sub.example.com/a",
        "https://example.com@evil.org/a",
        "https://user:pw@example.com/a",
        "https://evil.org\\@example.com/a",
        "https://example.com\\@evil.org/a",
        "https://example.com\t.evil.org/a",
        "https:// example.com/a",
        "ftp://example.com/a",
        "file://example.com/etc/passwd",
        "//example.com/a",
        "https://[example.com/a",
        "data:image/png;base64,AA",
    ],
)
def test_urls_that_only_look_like_an_allowed_domain_are_refused(url):
    limits = BodyLimits(media_domains=frozenset({"example.com"}))
    refused(RequestRefused, limits=limits, **image(url))


def test_media_inside_the_body_pass_if_allowed():
    limits = BodyLimits(media_domains=frozenset({DATA_URLS}))
    audio = {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}
    assert check(limits=limits, **image("data:image/png;base64,AA"))
    assert check(limits=limits, **content(audio))
    refused(RequestRefused, **content(audio))
    refused(RequestRefused, limits=limits, **image("https://example.com/a.png"))


def test_template_arguments_are_flat():
    flat = {"enable_thinking": False, "effort": "low", "budget": 3}
    assert check(chat_template_kwargs=flat)["chat_template_kwargs"] == flat
    nested = {"enable_thinking": {"deep": 1}}
    param = refused(UnsupportedParameter, chat_template_kwargs=nested)
    assert param == "chat_template_kwargs.enable_thinking"


@pytest.mark.parametrize("key", ["chat_template", "tokenize", "documents", "tools"])
def test_template_arguments_cannot_replace_the_template_functions_own(key):
    assert refused(UnsupportedParameter, chat_template_kwargs={key: "x"}) == f"chat_template_kwargs.{key}"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"structured_outputs": {"regex": "a" * 3000}}, "structured_outputs.regex"),
        ({"structured_outputs": {"grammar": "a" * 70_000}}, "structured_outputs.grammar"),
        ({"structured_outputs": {"json": {"x": "a" * 70_000}}}, "structured_outputs.json"),
        ({"structured_outputs": {"choice": ["abc"] * 20_000}}, "structured_outputs.choice"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"x": "a" * 70_000}}}},
            "response_format.json_schema.schema",
        ),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"x": "a" * 70_000}}}]}, "tools"),
    ],
)
def test_what_must_be_compiled_is_capped_in_size(fields, param):
    assert refused(RequestRefused, **fields) == param


def test_what_must_be_compiled_is_capped_in_depth():
    schema = {}
    for _ in range(100):
        schema = {"items": schema}
    assert refused(RequestRefused, structured_outputs={"json": schema}) == "structured_outputs.json"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"_backend": "x"}}, "structured_outputs._backend"),
        ({"response_format": {"type": "structural_tag"}}, "response_format.type"),
        ({"response_format": {"type": "text", "x": 1}}, "response_format.x"),
        ({"tools": [{"type": "function", "function": {"name": "f", "code": "x"}}]}, "tools[0].function.code"),
    ],
)
def test_unknown_constraints_are_refused_by_their_path(fields, param):
    assert refused(UnsupportedParameter, **fields) == param


def test_a_schema_within_the_limits_passes():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    fields = {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}
    assert check(**fields)["response_format"] == fields["response_format"]


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
