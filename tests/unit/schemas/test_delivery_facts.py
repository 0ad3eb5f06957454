"""Delivery facts in headers: what was written comes back, and what was made up is cut to its bounds."""

from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.codec import MAX_RETRY_DELAY_SECONDS, decode_facts, encode_facts
from backburner_schemas.envelope import MAX_ATTEMPTS, DeliveryFacts

FACTS = st.builds(
    DeliveryFacts,
    attempt=st.integers(1, MAX_ATTEMPTS),
    suspect=st.booleans(),
    not_before=st.none() | st.floats(0, 1e11),
    traceparent=st.none() | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", fullmatch=True),
)


@given(FACTS)
def test_facts_come_back_as_they_were_but_a_suspect_is_never_delayed(facts):
    found = decode_facts(encode_facts(facts), timestamp=1e11)
    assert (found.attempt, found.suspect, found.traceparent) == (facts.attempt, facts.suspect, facts.traceparent)
    assert found.not_before == (None if facts.suspect else facts.not_before)


def test_a_first_delivery_needs_no_headers():
    assert encode_facts(DeliveryFacts()) == []
    assert decode_facts([], 0.0) == DeliveryFacts()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["attempt", "suspect", "not_before", "traceparent", "other"]),
            st.none() | st.binary(max_size=300) | st.floats().map(lambda number: repr(number).encode()),
        )
    ),
    st.floats(0, 1e11),
)
def test_facts_are_cut_to_their_bounds_whatever_the_headers_say(headers, timestamp):
    facts = decode_facts(headers, timestamp)
    assert 1 <= facts.attempt <= MAX_ATTEMPTS
    assert facts.not_before is None or facts.not_before <= timestamp + MAX_RETRY_DELAY_SECONDS
    assert facts.not_before is None or not facts.suspect
    assert decode_facts(encode_facts(facts), timestamp) == facts
