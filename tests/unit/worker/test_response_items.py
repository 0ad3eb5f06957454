"""The whitelist inside the fields of responses: what an engine would leave out is refused by its name."""

import pytest

from backburner_schemas.errors import RequestRefused, UnsupportedParameter
from backburner_schemas.request import Endpoint
from backburner_worker.requests.limits import BodyLimits
from backburner_worker.requests.parameters import check_parameters

FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object", "default": None}}
MESSAGE = {"role": "user", "content": "hi"}


def check(limits=None, **fields):
    body = {"model": "m", "input": "hi", **fields}
    return check_parameters(Endpoint.RESPONSES, body, limits=limits or BodyLimits())


def part(kind="input_text", **fields):
    return {"input": [{**MESSAGE, "content": [{"type": kind, **fields}]}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"instructions": "Be brief.", "max_output_tokens": 16, "temperature": 0, "seed": 1},
        {"input": [{"type": "message", **MESSAGE}, {"role": "assistant", "content": "hello"}, MESSAGE]},
        part(text="hi"),
        {
            "input": [
                MESSAGE,
                {
                    "type": "reasoning",
                    "id": "rs_1",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "hm"}],
                },
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "nothing"},
            ]
        },
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "look"}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"enum": [None]}, "strict": True}}},
        {"text": {"format": {"type": "text"}, "verbosity": "medium"}, "truncation": "auto", "include": []},
        {"reasoning": {"effort": "low"}, "include": ["message.output_text.logprobs"], "top_logprobs": 2},
    ],
)
def test_what_an_engine_heeds_passes_as_it_is(fields):
    assert check(**fields) == {"model": "m", "input": "hi", **fields}


def test_nulls_that_sdks_write_are_left_out_and_those_of_a_schema_stay():
    text = {"format": {"type": "json_schema", "name": "n", "strict": None, "schema": {"default": None}}}
    given = {
        "input": [{**MESSAGE, "id": None, "content": [{"type": "input_text", "text": "hi", "logprobs": None}]}],
        "reasoning": {"effort": "low", "summary": None},
        "text": text,
        "tools": [{**FUNCTION, "strict": None}],
        "previous_response_id": None,
        "background": False,
        "store": True,
        "max_tool_calls": 3,
    }
    assert check(**given) == {
        "model": "m",
        "input": [{**MESSAGE, "content": [{"type": "input_text", "text": "hi"}]}],
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"default": None}}},
        "tools": [FUNCTION],
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"stream_options": {"x": 1}}, "stream_options"),
        ({"messages": [MESSAGE]}, "messages"),
        ({"max_tokens": 3}, "max_tokens"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{**FUNCTION, "function": {}}]}, "tools[0].function"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "reasoning", "summary": [], "encrypted_content": "x"}]}, "input[0].encrypted_content"),
        ({"input": [{**MESSAGE, "name": "bob"}]}, "input[0].name"),
        (part("input_file", file_id="f"), "input[0].content[0].type"),
        (part(text="x", file_id="f"), "input[0].content[0].file_id"),
        # The engine reads the first part of these, and drops the others.
        (
            {"input": [{"role": "assistant", "content": [{"type": "output_text", "text": "a"}] * 2}]},
            "input[0].content",
        ),
        ({"input": [{"type": "reasoning", "summary": [{"text": "a"}, {"text": "b"}]}]}, "input[0].summary"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_its_name(fields, param):
    with pytest.raises(UnsupportedParameter) as caught:
        check(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [3]}, "input[0]"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": [1]}]}, "input[0].output"),
        (part(), "input[0].content[0].text"),
        (part("input_image", image_url="http://inside/x.png"), "input[0].content[0].image_url"),
        ({"instructions": ["x"]}, "instructions"),
        ({"truncation": "middle"}, "truncation"),
        ({"tools": "look"}, "tools"),
        ({"tools": [{**FUNCTION, "parameters": {"x": "y" * 70_000}}]}, "tools"),
        ({"text": {"format": {"type": "json_schema", "schema": {"x": "y" * 70_000}}}}, "text.format.schema"),
    ],
)
def test_what_cannot_be_read_or_is_over_its_limit_is_refused(fields, param):
    with pytest.raises(RequestRefused) as caught:
        check(**fields)
    assert caught.value.param == param
