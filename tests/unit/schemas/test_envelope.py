"""The envelope's fields: which names, indexes and times it takes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backburner_schemas.envelope import VERSION, Address, AnswerMode, Envelope
from backburner_schemas.names import MAX_INDEX, is_index, is_name

FIELDS = {
    "tenant": "acme",
    "job": "batch_1",
    "index": 0,
    "custom_id": "a",
    "url": "/v1/chat/completions",
    "body": {"model": "m", "messages": []},
}


def test_defaults_are_those_of_the_contract():
    envelope = Envelope.model_validate(FIELDS)
    assert (envelope.v, envelope.answer, envelope.deadline) == (VERSION, AnswerMode.SEGMENT, None)
    assert envelope.address == Address("acme", "batch_1", 0, "a")


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", fullmatch=True))
def test_a_name_of_the_documented_form_is_taken_unless_it_climbs(name):
    assert is_name(name) == (".." not in name)


@given(st.text(max_size=300))
def test_a_name_is_always_one_safe_part_of_a_key(name):
    if is_name(name):
        assert name.isascii()
        assert 0 < len(name) <= 255
        assert not set(name) & set("/\\ %\n\0")
        assert name not in {".", ".."}


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".a", "-a", "_a", "a..b", "a/b", "a b", "a\n", "é", "a" * 256, None, 7]
)
def test_what_is_no_name_is_refused(name):
    assert not is_name(name)
    for field in ("tenant", "job"):
        with pytest.raises(ValidationError):
            Envelope.model_validate(FIELDS | {field: name})


@pytest.mark.parametrize("index", [0, 1, MAX_INDEX, "0", "3-17", "a" * 64])
def test_indexes_count_or_are_short_names(index):
    envelope = Envelope.model_validate(FIELDS | {"index": index})
    assert envelope.index == index
    assert type(envelope.index) is type(index)


@pytest.mark.parametrize("index", [-1, MAX_INDEX + 1, True, False, 1.0, None, "", "a" * 65, "a..b", "a/b", "-1", [0]])
def test_what_is_no_index_is_refused(index):
    assert not is_index(index)
    with pytest.raises(ValidationError):
        Envelope.model_validate(FIELDS | {"index": index})


def test_exactly_one_of_body_and_body_ref_is_needed():
    with pytest.raises(ValidationError, match="either body or body_ref"):
        Envelope.model_validate(FIELDS | {"body": None})
    with pytest.raises(ValidationError, match="either body or body_ref"):
        Envelope.model_validate(FIELDS | {"body_ref": "x"})


@pytest.mark.parametrize("field", ["deadline", "enqueued_at"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1, 1e300, 10**400, "12", "nan", True])
def test_a_time_that_no_calendar_holds_is_refused(field, value):
    with pytest.raises(ValidationError):
        Envelope.model_validate(FIELDS | {field: value})


def test_a_time_may_be_an_integer():
    assert Envelope.model_validate(FIELDS | {"deadline": 1_700_000_000}).deadline == 1_700_000_000.0


def test_an_envelope_cannot_be_changed():
    envelope = Envelope.model_validate(FIELDS)
    with pytest.raises(ValidationError):
        envelope.tenant = "other"
