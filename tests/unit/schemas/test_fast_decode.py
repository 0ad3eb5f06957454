"""The fast decoding of envelopes agrees with the full validator, whatever comes."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backburner_schemas import codec
from backburner_schemas.codec import Decoded, Origin, Refused, Rules, Unaddressed, decode, encode
from backburner_schemas.envelope import MAX_UNIX_SECONDS, VERSION, Address, AnswerMode, Envelope
from backburner_schemas.fast_decode import fast_decode
from backburner_schemas.names import MAX_INDEX
from backburner_schemas.request import MAX_CONTAINERS, MAX_CUSTOM_ID_CHARACTERS, Endpoint

ORIGIN = Origin("backburner.m.normal", "3-17", 1_700_000_000.5)
RULES = [Rules(), Rules(allowed_tenants=frozenset({"acme"})), Rules(max_body_bytes=300)]

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "é \u2028 {}"}], "max_tokens": 8}
WELL_FORMED: dict[str, Any] = {
    "v": VERSION,
    "tenant": "acme",
    "job": "batch_1",
    "index": 4,
    "custom_id": "a",
    "url": "/v1/chat/completions",
    "body": CHAT,
    "deadline": 1.9e9,
    "answer": "segment",
    "enqueued_at": 1.7e9,
}

WORDS = st.sampled_from(
    ["", "a", "..", "a..b", "../x", "x" * 255, "x" * 256, "x" * 512, "x" * 513, "é", "\x00", "segment", "object", "m"]
)
NUMBERS = st.sampled_from(
    [
        *(0, 1, -1, 2, True, False, 1.0, 0.0, -0.0, 1.5, 4.0, MAX_INDEX, MAX_INDEX + 1, 10**400, -(10**400)),
        *(MAX_UNIX_SECONDS, MAX_UNIX_SECONDS + 1, 1e308, 5e-324, int(MAX_UNIX_SECONDS)),
    ]
)
VALUES = st.recursive(
    st.none() | NUMBERS | WORDS | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
SENSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "v": st.sampled_from([VERSION, VERSION - 1, VERSION + 1]),
    "tenant": st.sampled_from(["acme", "zeta", "a.b", "x" * 255]),
    "job": st.sampled_from(["batch_1", "single-1", "stream-x"]),
    "index": st.integers(0, MAX_INDEX) | st.sampled_from(["0-7", "a", "x" * 64, "x" * 65, "a..b"]),
    "custom_id": st.text(min_size=1, max_size=5)
    | st.sampled_from(["x" * MAX_CUSTOM_ID_CHARACTERS, "x" * (MAX_CUSTOM_ID_CHARACTERS + 1)]),
    "url": st.sampled_from([*Endpoint]).map(str),
    "body": st.dictionaries(
        st.sampled_from(
            [*CHAT, "prompt", "input", "text_1", "queries", "data_1", "stream", "temperature"],
        ),
        VALUES,
        max_size=5,
    ).flatmap(lambda found: st.sampled_from([found, CHAT | found])),
    "body_ref": st.sampled_from([None, "tenants/acme/jobs/batch_1/bodies/4.json", "elsewhere"]),
    "deadline": st.none() | st.floats(0, 1e12) | st.integers(0, 10**12),
    "answer": st.sampled_from([*AnswerMode]).map(str),
    "enqueued_at": st.floats(0, 1e12) | st.integers(0, 10**12),
    "x": VALUES,
}
FIELDS = st.fixed_dictionaries({}, optional={name: values | VALUES for name, values in SENSIBLE.items()})
GONE = st.sets(st.sampled_from([*WELL_FORMED]), max_size=2)


def told(found: Decoded) -> object:
    """All that anybody can see of it."""
    if isinstance(found, Unaddressed):
        return type(found.error), found.error.message, found.error.param
    if isinstance(found, Refused):
        return found.address, found.answer, type(found.error), found.error.message, found.error.param
    fields = {name: (type(value), repr(value)) for name, value in found.model_dump().items()}
    return found, fields, repr(found), found.address, found.model_dump_json()


def full(value: bytes, rules: Rules) -> Decoded:
    """What the full validator alone says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "fast_decode", lambda _: None)
        return decode(value, ORIGIN, rules)


def check(value: bytes) -> None:
    for rules in RULES:
        assert told(decode(value, ORIGIN, rules)) == told(full(value, rules))


@given(FIELDS, GONE)
@example({}, set())
@example({"v": True}, set())
@example({"index": True}, set())
@example({"deadline": True}, set())
@example({"deadline": 0}, set())
@example({"enqueued_at": 0}, set())
@example({"enqueued_at": None}, set())
@example({"answer": None}, set())
@example({"custom_id": ""}, set())
@example({"custom_id": "x" * MAX_CUSTOM_ID_CHARACTERS}, set())
@example({"custom_id": "x" * (MAX_CUSTOM_ID_CHARACTERS + 1)}, set())
@example({"tenant": "x" * 255, "job": "x" * 255}, set())
@example({"tenant": "x" * 256}, set())
@example({"index": MAX_INDEX}, set())
@example({"index": MAX_INDEX + 1}, set())
@example({"index": -1}, set())
@example({"deadline": MAX_UNIX_SECONDS}, set())
@example({"deadline": -5e-324, "enqueued_at": MAX_UNIX_SECONDS * 2}, set())
@example({"body": CHAT | {"x": [{"y": [float("inf")]}]}}, set())
@example({"body": CHAT | {"x": float("nan")}}, set())
@example({"x": float("nan")}, set())
@example({"body_ref": "elsewhere"}, set())
@example({"body_ref": "tenants/acme/jobs/batch_1/bodies/4.json"}, {"body"})
def test_both_say_the_same_of_any_object(fields, gone):
    found = {name: value for name, value in WELL_FORMED.items() if name not in gone} | fields
    value = json.dumps(found).encode()
    check(value)
    check(value.replace(b"Infinity", b"1e999"))


@given(st.sampled_from([*WELL_FORMED, "body_ref", "x"]), VALUES, st.booleans())
def test_both_say_the_same_of_a_key_that_stands_twice(name, value, first):
    whole, twice = json.dumps(WELL_FORMED), json.dumps({name: value})
    check((f"{twice[:-1]}, {whole[1:]}" if first else f"{whole[:-1]}, {twice[1:]}").encode())


@given(st.data())
def test_both_say_the_same_of_a_message_that_is_damaged(data):
    value = bytearray(json.dumps(WELL_FORMED | data.draw(FIELDS)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(value)))
        junk = st.binary(max_size=3) | st.sampled_from(
            [b"1e999", b"NaN", b"\\ud800", b"\xed\xa0\x80", b'"', b"{", b"]", b"null", b"-", b"0", b"9" * 400, b"E309"]
        )
        value[at : at + data.draw(st.integers(0, 4))] = data.draw(junk)
    check(bytes(value))


@pytest.mark.parametrize("inner", ["[" * 250 + "]" * 250, '{"a":' * 190 + "1" + "}" * 190, "[" * 20_000])
def test_both_say_the_same_of_a_body_that_is_nested_deeply(inner):
    check(json.dumps(WELL_FORMED).replace('"m"', f'"m", "x": {inner}', 1).encode())


@pytest.mark.parametrize("shape", ["[%s]", "[[%s]]", "[1e999,%s]"])
@pytest.mark.parametrize("count", [1, MAX_CONTAINERS - 10, MAX_CONTAINERS])
def test_both_say_the_same_of_a_body_of_many_objects(shape, count):
    inner = shape % ("{}," * count)[:-1]
    value = json.dumps(WELL_FORMED).replace('"m"', f'"m", "x": {inner}', 1).encode()
    assert told(decode(value, ORIGIN, Rules())) == told(full(value, Rules()))


@pytest.mark.parametrize("number", ["1e999", "-1e400", "9" * 400 + ".0", "1" * 310 + "e0", "1e0000309", "1.8E+308"])
def test_a_number_beyond_a_float_is_found_however_it_is_written(number):
    value = json.dumps(WELL_FORMED).replace('"m"', f'"m", "x": [{{"y": {number}}}]', 1).encode()
    found = decode(value, ORIGIN, Rules())
    assert isinstance(found, Refused)
    assert found.error.code == "invalid_json"


@pytest.mark.parametrize("fields", [{}, {"index": "0-7"}, {"answer": "object"}, {"v": VERSION - 1}, {"x": 1}])
def test_a_well_formed_message_needs_no_full_validator(fields, monkeypatch):
    monkeypatch.setattr(codec, "_decode_envelope", pytest.fail)
    found = decode(json.dumps(WELL_FORMED | fields).encode(), ORIGIN, Rules())
    assert isinstance(found, Envelope)
    assert found.address == Address("acme", "batch_1", fields.get("index", 4), "a")


def test_what_a_producer_encodes_is_decoded_fast():
    envelope = Envelope.model_validate(WELL_FORMED)
    assert fast_decode(json.loads(encode(envelope))) == envelope


def test_a_copy_of_an_envelope_decoded_fast_leaves_the_original_alone():
    found = fast_decode(dict(WELL_FORMED))
    assert found is not None
    copy = found.model_copy(update={"deadline": 7.0})
    assert (found.deadline, copy.deadline) == (1.9e9, 7.0)
    assert Envelope.model_validate(copy.model_dump()) == copy
