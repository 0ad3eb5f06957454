"""Result records: one outcome each, always a line of valid JSON, in OpenAI's form."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backburner_schemas.envelope import Address
from backburner_schemas.errors import ContextLengthExceeded, Expired
from backburner_schemas.result import (
    ResponseBody,
    ResultError,
    ResultFacts,
    ResultRecord,
    encode_record,
    encode_response,
    error_record,
    record_id,
)

ADDRESS = Address("acme", "batch_1", 4, "a")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),  # text with lone surrogates among it
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
CLEAN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aé\n\0😀"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abé"), inner, max_size=4),
    max_leaves=20,
)


def answered(body, **facts):
    return ResultRecord(
        id=record_id(ADDRESS),
        custom_id="a",
        response=ResponseBody(status_code=200, request_id=record_id(ADDRESS), body=body),
        backburner=ResultFacts(index=4, **facts),
    )


@given(st.dictionaries(st.text("abé"), CLEAN, max_size=4))
def test_a_record_comes_back_as_it_was(body):
    record = answered(body, attempt=2, pool="p", worker="w", group="g", version="fake-1", queue_s=0.5, engine_s=1.25)
    assert ResultRecord.model_validate_json(encode_record(record)) == record


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_response_is_written_without_a_model_as_with_one(body):
    record = answered(body, attempt=2, pool="p", worker="w", group="g", version="fake-1", queue_s=0.5, engine_s=1.25)
    facts = record.backburner.model_dump()
    assert [*facts] == [*ResultFacts.model_fields]
    assert encode_response(record.id, "a", 200, body, facts) == encode_record(record)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_record_is_always_one_line_of_valid_json(body):
    data = encode_record(answered(body))
    assert b"\n" not in data
    json.loads(data.decode("utf-8"), parse_constant=pytest.fail)
    assert ResultRecord.model_validate_json(data).ok


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_become_null(number):
    found = json.loads(encode_record(answered({"data": [{"embedding": [number, 1.0]}]})), parse_constant=pytest.fail)
    assert found["response"]["body"]["data"][0]["embedding"] == [None, 1.0]


def test_the_form_is_openais_with_nulls_written_out():
    found = json.loads(encode_record(error_record(ADDRESS, ContextLengthExceeded("too long", param="messages"))))
    assert found["response"] is None
    assert found["error"] == {"code": "context_length_exceeded", "message": "too long", "param": "messages"}
    assert (found["custom_id"], found["backburner"]["index"]) == ("a", 4)


def test_a_record_has_exactly_one_outcome():
    error = ResultError.of(Expired())
    response = ResponseBody(status_code=200, request_id="r", body={})
    facts = ResultFacts(index=0)
    for both in ({}, {"error": error, "response": response}):
        with pytest.raises(ValidationError, match="either a response or an error"):
            ResultRecord(id="x", custom_id=None, backburner=facts, **both)


def test_an_error_without_a_message_of_its_own_says_what_its_class_says():
    record = error_record(ADDRESS, Expired())
    assert not record.ok
    assert record.error == ResultError(code="expired", message=Expired.default_message())


def test_the_id_is_the_same_at_each_delivery_and_differs_between_requests():
    ids = {
        record_id(Address(tenant, job, index, custom_id))
        for tenant, job, index, custom_id in [
            ("acme", "batch_1", 4, "a"),
            ("acme", "batch_1", 4, None),
            ("acme", "batch_1", 5, "a"),
            ("acme", "batch_2", 4, "a"),
            ("other", "batch_1", 4, "a"),
        ]
    }
    assert len(ids) == 4
    assert record_id(ADDRESS) in ids


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"choices": [{"message": {"content": "Paris"}}]}, "Paris"),
        ({"choices": [{"text": "Paris"}]}, "Paris"),
        ({"choices": [{"message": {"content": None, "tool_calls": []}}]}, ""),
        ({"choices": []}, ""),
        ({"choices": None}, ""),
        ({"choices": ["odd"]}, ""),
        ({"choices": {"0": 1}}, ""),
        ({"data": [{"embedding": [1.0]}]}, ""),
        (
            {
                "output": [
                    {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
                    {"type": "message", "content": [{"type": "output_text", "text": "Par"}, {"type": "refusal"}]},
                    {"type": "message", "content": [{"type": "output_text", "text": "is"}]},
                ]
            },
            "Paris",
        ),
        ({"output": [None, {"type": "message", "content": [3, {"type": "output_text", "text": 1}]}]}, ""),
    ],
)
def test_text_is_the_answer_or_empty_and_never_raises(body, text):
    assert answered(body).text == text


def test_an_error_has_no_text():
    assert error_record(ADDRESS, Expired()).text == ""
