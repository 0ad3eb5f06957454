"""Delivery facts in headers: what was written comes back, and what was made up is cut to its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.codec import MAX_RETRY_DELAY_SECONDS, decode_facts, encode_facts, wait_seconds
from backburner_schemas.envelope import MAX_AMONG_COUNT, MAX_ATTEMPTS, MAX_FAILURES, DeliveryFacts, is_place
from backburner_schemas.names import Lane

FACTS = st.builds(
    DeliveryFacts,
    attempt=st.integers(1, MAX_ATTEMPTS),
    suspect=st.booleans(),
    not_before=st.none() | st.floats(0, 1e11),
    traceparent=st.none() | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", fullmatch=True),
    failed_at=st.lists(st.sampled_from(["gpu-a/", "gpu%20b/3f9a1c20be", "c/r"]), max_size=MAX_FAILURES).map(tuple),
)


@pytest.mark.parametrize(
    ("claimed", "among"), [(b"1", 1), (b"64", 64), (b"0", 0), (b"-1", 0), (b"9" * 12, MAX_AMONG_COUNT), (b"x", 0)]
)
def test_how_many_a_suspect_is_among_is_cut_to_its_bounds_and_said_of_suspects_alone(claimed, among):
    of_suspect = DeliveryFacts(suspect=True, among=among)
    assert decode_facts([("suspect", b"1"), ("among", claimed)], Lane.RETRY) == of_suspect
    assert decode_facts([("suspect", b"0"), ("among", claimed)], Lane.RETRY) == DeliveryFacts()
    assert dict(encode_facts(of_suspect)).get("among") == (str(among).encode() if among else None)


@given(FACTS)
def test_facts_come_back_as_they_were(facts):
    assert decode_facts(encode_facts(facts), Lane.RETRY) == facts


def test_a_first_delivery_needs_no_headers():
    assert encode_facts(DeliveryFacts()) == []
    assert decode_facts([], Lane.RETRY) == DeliveryFacts()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["attempt", "suspect", "not_before", "traceparent", "failed_at", "other"]),
            st.none() | st.binary(max_size=300) | st.floats().map(lambda number: repr(number).encode()),
        )
    ),
    st.floats(-1.0, 1e15),
    st.floats(0, 1e11),
)
def test_facts_are_cut_to_their_bounds_whatever_the_headers_say(headers, timestamp, now):
    facts = decode_facts(headers, Lane.RETRY)
    assert 1 <= facts.attempt <= MAX_ATTEMPTS
    assert 0.0 <= wait_seconds(facts, timestamp, now) <= MAX_RETRY_DELAY_SECONDS
    assert len(facts.failed_at) <= MAX_FAILURES
    assert all(map(is_place, facts.failed_at))
    assert decode_facts(encode_facts(facts), Lane.RETRY) == facts


@pytest.mark.parametrize(
    ("not_before", "timestamp", "now", "seconds"),
    [
        (None, 1_000.0, 1_000.0, 0.0),
        (1_010.0, 1_000.0, 1_000.0, 10.0),
        (1_010.0, 1_000.0, 1_011.0, 0.0),
        (9_999.0, 1_000.0, 1_000.0, 60.0),
        (9_999.0, 1_000.0, 1_020.0, 40.0),
        (9_999.0, 9_999.0, 1_000.0, 60.0),
        (1_010.0, 1_000.0, -9_000.0, 60.0),
    ],
)
def test_a_message_waits_from_when_it_is_first_seen_for_a_minute_at_most(not_before, timestamp, now, seconds):
    assert wait_seconds(DeliveryFacts(not_before=not_before), timestamp, now) == seconds


@given(FACTS)
def test_facts_are_believed_only_on_the_lane_that_workers_alone_may_write(facts):
    claimed = encode_facts(facts)
    for lane in {*Lane} - {Lane.RETRY}:
        assert decode_facts(claimed, lane) == DeliveryFacts(traceparent=facts.traceparent)


def test_of_places_that_a_header_claims_those_of_the_right_form_are_kept_the_latest_of_them():
    claimed = b"a/1,bad,c d/,e/f/g," + b"x" * 200 + b"/,b/"
    assert decode_facts([("failed_at", claimed)], Lane.RETRY).failed_at == ("a/1", "b/")
    assert decode_facts([("failed_at", b",".join([b"a/1"] * 1_000))], Lane.RETRY).failed_at == ()
    assert decode_facts([("failed_at", "ä/1".encode())], Lane.RETRY).failed_at == ()


def test_a_failure_is_added_behind_those_of_before_and_the_oldest_is_dropped():
    facts = DeliveryFacts()
    for number in range(MAX_FAILURES + 1):
        facts = facts.failed("gpu a,b", f"r{number}")
    assert facts.failed_at[0] == "gpu%20a%2Cb/r1"
    assert facts.failed_at[-1] == f"gpu%20a%2Cb/r{MAX_FAILURES}"
    assert facts.failed("g" * 200, None) == facts


def test_facts_are_written_as_other_clients_read_them():
    facts = DeliveryFacts(3, True, 1.5, "00-a-b-01", ("a/1", "b/"))
    assert encode_facts(facts) == [
        ("attempt", b"3"),
        ("suspect", b"1"),
        ("not_before", b"1.5"),
        ("traceparent", b"00-a-b-01"),
        ("failed_at", b"a/1,b/"),
    ]


@pytest.mark.parametrize(
    ("claimed", "attempt"),
    [
        (b"2", 2),
        (b"2.9", 2),
        (b"0", 1),
        (b"-5", 1),
        (b"0.5", 1),
        (b"100", 100),
        (b"101", 100),
        (b"inf", 1),
        (b"nan", 1),
        (b"x", 1),
        (None, 1),
    ],
)
def test_the_attempt_that_a_header_claims_is_cut_to_its_bounds(claimed, attempt):
    assert decode_facts([("attempt", claimed), ("suspect", b"0")], Lane.RETRY) == DeliveryFacts(attempt)


@pytest.mark.parametrize("lane", [Lane.RETRY, Lane.NORMAL])
@pytest.mark.parametrize(
    ("claimed", "kept"),
    [
        *[(b"x", "x"), (b"x" * 256, "x" * 256), (b"x" * 257, None), (b"", None), ("é".encode(), None)],
        # SQS would take no retry with these.
        *[(b"00-\x00-01", None), (b"\x1b[2J", None), (b"x\n", None)],
    ],
)
def test_a_trace_that_a_header_claims_is_plain_text_of_a_bounded_length(lane, claimed, kept):
    assert decode_facts([("traceparent", claimed)], lane) == DeliveryFacts(traceparent=kept)


@pytest.mark.parametrize(
    ("claimed", "kept"), [(b"1.5", 1.5), (b"inf", None), (b"nan", None), (b"x", None), (None, None)]
)
def test_a_time_that_is_no_number_counts_as_none(claimed, kept):
    assert decode_facts([("not_before", claimed)], Lane.RETRY) == DeliveryFacts(not_before=kept)


def test_of_places_as_long_as_a_header_may_be_the_latest_eight_are_kept():
    claimed = b",".join(b"%d/1" % number for number in range(9))
    assert decode_facts([("failed_at", claimed)], Lane.RETRY).failed_at == tuple(f"{n}/1" for n in range(1, 9))
    padded = b"," * (2048 - 3) + b"a/1"
    assert decode_facts([("failed_at", padded)], Lane.RETRY).failed_at == ("a/1",)
    assert decode_facts([("failed_at", b"," + padded)], Lane.RETRY).failed_at == ()
