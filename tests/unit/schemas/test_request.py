"""Batch lines at the edge: what is accepted, what is refused, and with which code."""

import json
import math
import sys
import tracemalloc
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.errors import BodyTooComplex, BodyTooLarge, InvalidJson, RequestRefused, UnknownEndpoint
from backburner_schemas.request import MAX_CONTAINERS, Endpoint, EndpointUrl, parse_request

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
BODIES = {
    Endpoint.CHAT: CHAT,
    Endpoint.COMPLETIONS: {"model": "m", "prompt": "hi"},
    Endpoint.EMBEDDINGS: {"model": "m", "input": "hi"},
    Endpoint.SCORE: {"model": "m", "text_1": "a", "text_2": "b"},
    Endpoint.RESPONSES: {"model": "m", "input": "hi"},
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


def line(**changes):
    return {"custom_id": "a", "method": "POST", "url": Endpoint.CHAT, "body": CHAT} | changes


def encoded(raw):
    return raw if isinstance(raw, bytes) else json.dumps(raw).encode()


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_every_endpoint_takes_its_own_input(endpoint):
    request = parse_request(encoded(line(url=endpoint, body=BODIES[endpoint])))
    assert (request.url, request.body, request.model) == (endpoint, BODIES[endpoint], "m")


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_an_endpoint_without_its_input_is_refused_by_the_field_that_is_missing(endpoint):
    with pytest.raises(RequestRefused, match="is missing") as caught:
        parse_request(encoded(line(url=endpoint, body={"model": "m"})))
    assert caught.value.param not in {None, "model"}


@given(JSON, st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=512))
def test_what_was_written_is_what_is_read(value, custom_id):
    body = CHAT | {"extra": value}
    for ascii_only in (True, False):
        request = parse_request(json.dumps(line(custom_id=custom_id, body=body), ensure_ascii=ascii_only))
        assert request.custom_id == custom_id
        assert request.body == body


def test_unknown_fields_are_passed_over_and_the_method_may_be_left_out():
    wanted = line(note=1)
    del wanted["method"]
    assert parse_request(encoded(wanted)).method == "POST"


@pytest.mark.parametrize(
    ("raw", "kind", "param"),
    [
        (b"", InvalidJson, None),
        (b"not json", InvalidJson, None),
        (b"[1]", InvalidJson, None),
        (b'"text"', InvalidJson, None),
        (b'{"custom_id": "a"', InvalidJson, None),
        (b'{"custom_id": "\xff"}', InvalidJson, None),
        (line(custom_id=""), RequestRefused, "custom_id"),
        (line(custom_id="x" * 513), RequestRefused, "custom_id"),
        (line(custom_id=7), RequestRefused, "custom_id"),
        (line(custom_id=None), RequestRefused, "custom_id"),
        (line(method="GET"), RequestRefused, "method"),
        (line(url="/v1/images"), UnknownEndpoint, "url"),
        (line(url=None), UnknownEndpoint, "url"),
        (line(body=[]), RequestRefused, "body"),
        (line(body="{}"), RequestRefused, "body"),
        (line(body={"messages": []}), RequestRefused, "model"),
        (line(body=CHAT | {"model": ""}), RequestRefused, "model"),
        (line(body=CHAT | {"model": ["m"]}), RequestRefused, "model"),
        (line(body=CHAT | {"stream": True}), RequestRefused, "stream"),
    ],
)
def test_a_bad_line_is_refused_with_the_field_at_fault(raw, kind, param):
    with pytest.raises(RequestRefused) as caught:
        parse_request(encoded(raw))
    assert type(caught.value) is kind
    assert caught.value.param == param
    assert not caught.value.retryable


@pytest.mark.parametrize("field", ["custom_id", "url", "body"])
def test_a_missing_field_is_named(field):
    wanted = line()
    del wanted[field]
    with pytest.raises(RequestRefused, match=f"{field} is missing"):
        parse_request(encoded(wanted))


def test_the_size_limit_counts_bytes_and_names_the_setting():
    raw = json.dumps(line(body=CHAT | {"x": "é" * 100}), ensure_ascii=False)
    size = len(raw.encode())
    assert parse_request(raw, max_bytes=size).custom_id == "a"
    with pytest.raises(BodyTooLarge, match=r"more than [0-9,]+ bytes.*BACKBURNER_MAX_BODY_BYTES"):
        parse_request(raw, max_bytes=size - 1)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1E+400", "1" * 400 + ".0", "1" * 5000])
def test_a_number_that_no_float_holds_is_refused_rather_than_turned_into_null(number):
    raw = json.dumps(line(body=CHAT | {"x": [{"y": "@"}]})).replace('"@"', number)
    with pytest.raises(InvalidJson):
        parse_request(raw)


@pytest.mark.parametrize("shape", ["[%s]", "[[%s]]", '{"y":[%s]}'])
def test_a_body_of_too_many_objects_is_refused_however_they_are_nested(shape):
    def raw(count):
        return json.dumps(line(body=CHAT | {"x": "@"})).replace('"@"', shape % ("{}," * count)[:-1])

    assert parse_request(raw(MAX_CONTAINERS - 10)).custom_id == "a"
    with pytest.raises(BodyTooComplex, match=f"{MAX_CONTAINERS:,}"):
        parse_request(raw(MAX_CONTAINERS))


@pytest.mark.parametrize("item", ["{},", '{"a":[1]},', "1,"])
def test_what_would_take_far_more_memory_than_its_bytes_is_refused_before_it_is_parsed(item):
    raw = json.dumps(line(body=CHAT | {"x": "@"})).replace('"@"', "[" + (item * (6_000_000 // len(item)))[:-1] + "]")
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooComplex):
            parse_request(raw)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 5 * len(raw)


@pytest.mark.parametrize("text", ["{},[]," * 1_000_000, '{\\"\\\\,' * 700_000])
def test_a_text_of_signs_is_no_list_of_objects(text):
    assert parse_request(json.dumps(line(body=CHAT | {"x": text}))).body["x"] == text


def test_a_list_of_token_ids_may_fill_a_request():
    tokens = [1234] * 1_300_000
    assert parse_request(json.dumps(line(body=CHAT | {"x": tokens}), separators=(",", ":"))).body["x"] == tokens


@pytest.mark.parametrize("raw", [b'"' + b'\\"' * 3_000_000, b'{"a":"' + b"{" * 6_000_000])
def test_a_text_without_an_end_is_looked_at_once(raw):
    with pytest.raises(InvalidJson):
        parse_request(raw)


@given(st.floats(min_value=1e90, max_value=sys.float_info.max) | st.integers(0, 10**300))
def test_a_large_number_that_fits_is_kept(number):
    found = parse_request(json.dumps(line(body=CHAT | {"x": number}))).body["x"]
    assert found == number
    assert math.isfinite(found)


@pytest.mark.parametrize("raw", ['{"custom_id": "\ud800"}', '{"custom_id": "\\ud800", "url": "", "body": {}}'])
def test_half_a_surrogate_pair_is_no_json(raw):
    with pytest.raises(InvalidJson):
        parse_request(raw)


def test_nesting_without_end_is_refused_and_not_a_crash():
    with pytest.raises(InvalidJson):
        parse_request(b'{"custom_id":"a","url":"/v1/chat/completions","body":' + b'{"a":' * 100_000)


def test_of_two_equal_keys_the_last_one_counts_everywhere():
    raw = b'{"custom_id":"a","custom_id":"b","url":"/v1/completions","body":{"model":"m","model":"n","prompt":"x"}}'
    request = parse_request(raw)
    assert (request.custom_id, request.model) == ("b", "n")


def test_type_checkers_know_the_endpoints_by_url():
    kind, urls = get_args(EndpointUrl)
    assert kind is Endpoint
    assert get_args(urls) == tuple(Endpoint)
