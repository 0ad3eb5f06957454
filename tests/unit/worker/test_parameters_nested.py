"""The whitelist inside fields: messages, media, template arguments, and what constrains an answer."""

import pytest

from backburner_schemas.errors import RequestRefused, UnsupportedParameter
from backburner_schemas.request import Endpoint
from backburner_worker.requests.limits import DATA_URLS, BodyLimits
from backburner_worker.requests.parameters import check_parameters

HELLO = [{"role": "user", "content": "hello"}]


def check(limits=None, **fields):
    body = {"model": "m", "messages": HELLO, **fields}
    return check_parameters(Endpoint.CHAT, body, limits=limits or BodyLimits())


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


@pytest.mark.parametrize("role", ["wizard", "function", None, 5, ["user"]])
def test_an_unknown_role_is_refused(role):
    messages = [*HELLO, {"role": role, "content": "x"}]
    assert refused(RequestRefused, messages=messages) == "messages[1].role"


def test_an_answer_that_is_given_back_as_its_sdk_wrote_it_is_taken():
    empty = {"refusal": None, "function_call": None, "tool_calls": None, "audio": None, "annotations": []}
    messages = [*HELLO, {"role": "assistant", "content": "hi", **empty}, *HELLO]
    kept = [dict(message) for message in messages]
    assert check(messages=messages)["messages"] == [*HELLO, {"role": "assistant", "content": "hi"}, *HELLO]
    assert messages == kept
    said = {"role": "assistant", "content": None, "audio": None, "name": "a"}
    assert check(messages=[*HELLO, said])["messages"][1] == {"role": "assistant", "content": None, "name": "a"}
    assert refused(UnsupportedParameter, messages=[{**HELLO[0], "audio": {"id": "x"}}]) == "messages[0].audio"


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
    refused(RequestRefused, limits=limits, **image("http://data/a.png"))


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
