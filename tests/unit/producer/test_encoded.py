"""Messages as columns of bytes are the same messages."""

from hypothesis import given
from hypothesis import strategies as st

from backburner.publishers.encoded import EncodedMessages
from backburner.publishers.kafka.batches import destinations, lanes_of
from backburner.publishers.kafka.partitioner import Partitioner
from backburner.submission.envelopes import Envelopes
from backburner_schemas.job import JobManifest
from backburner_schemas.routing import NEIGHBOUR_REQUESTS, partition_key

MANIFEST = JobManifest(id="j", tenant="t", created_at=1.0, deadline=2.0)


def members(index: int, size: int) -> bytes:
    text = b"x" * size
    return b'"custom_id":"c%d","url":"/v1/completions","body":{"model":"m","prompt":"%b"}' % (index, text)


def made(sizes: list[int], first: int, pools: list[str]) -> EncodedMessages:
    return Envelopes(MANIFEST).messages([members(*one) for one in enumerate(sizes, first)], pools, first, 1.5)


@given(st.lists(st.sampled_from([1, 2000]), min_size=1, max_size=200), st.integers(0, 200), st.integers(1, 4))
def test_every_message_is_its_request_with_its_key_and_has_one_home(sizes, first, count):
    messages = made(sizes, first, ["p"] * len(sizes))
    assert isinstance(messages, EncodedMessages)
    assert [one.envelope.index for one in messages] == list(range(first, first + len(sizes)))
    assert [one.key for one in messages] == [partition_key(one.envelope) for one in messages]
    assert [one.value for one in messages[1:]] == [one.value for one in messages][1:]
    assert all(end - start <= NEIGHBOUR_REQUESTS for start, end, _ in messages.runs)
    (lane,) = lanes_of(messages)
    found = list(destinations(messages, {lane: ("topic", Partitioner(count))}))
    assert [position for positions, *_ in found for position in positions] == list(range(len(sizes)))
    assert sum(length for *_, length in found) == sum(len(one.value) for one in messages)


def test_requests_for_several_pools_are_messages_to_each():
    messages = made([1, 1, 1], 0, ["p", "q", "p"])
    assert [(one.pool, one.envelope.custom_id) for one in messages] == [("p", "c0"), ("q", "c1"), ("p", "c2")]
    assert lanes_of(messages) == {("p", MANIFEST.priority), ("q", MANIFEST.priority)}
