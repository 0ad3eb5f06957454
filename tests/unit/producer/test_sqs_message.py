"""Messages as SQS takes them: escaped, with a size that SQS would count, in batches that it takes."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from backburner.publishers.base import Message
from backburner.publishers.sqs.message import (
    MAX_BATCH_MESSAGES,
    MAX_BYTES,
    Entry,
    batches,
    entry_of,
    escaped,
    message_group,
)
from backburner.settings import QueueKind, Settings
from backburner.storage import Storage
from backburner.submission.envelopes import claim_check
from backburner_schemas import codec
from backburner_schemas.envelope import DeliveryFacts, Envelope
from backburner_schemas.names import Lane

TEXT = st.text(st.characters(exclude_categories=("Cs",)))


def message(text="hello", facts=None, tenant="t"):
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    envelope = Envelope(tenant=tenant, job="j", index=0, custom_id="c", url="/v1/chat/completions", body=body)
    return Message("m", Lane.NORMAL, envelope, facts or DeliveryFacts())


@given(TEXT)
def test_what_is_escaped_is_ascii_and_means_the_same(text):
    envelope = message(text).envelope
    written = escaped(codec.encode(envelope))
    assert written.isascii()
    assert json.loads(written) == json.loads(codec.encode(envelope))


@pytest.mark.parametrize("text", ["é", "日本", "😀", "\x00\x7f", "\uffff\ufffe", '"\\'])
def test_a_message_comes_back_as_it_was(text):
    sent = message(text, DeliveryFacts(attempt=3, suspect=True, traceparent="00-a"))
    entry = entry_of(0, sent, 0.0)
    assert codec.decode(entry.body.encode(), codec.Origin("q", "1", 0.0), codec.Rules()) == sent.envelope
    headers = [(name, value.encode()) for name, value in entry.attributes.items()]
    assert codec.decode_facts(headers, Lane.RETRY) == sent.facts


@pytest.mark.parametrize(
    ("not_before", "delay"), [(None, 0), (90.0, 0), (100.0, 0), (100.2, 1), (130.0, 30), (5000.0, 900)]
)
def test_the_delay_is_what_is_left_in_whole_seconds_up_to_what_sqs_can(not_before, delay):
    entry = entry_of(0, message(facts=DeliveryFacts(not_before=not_before)), 100.0)
    assert entry.delay == delay
    assert entry.form().get("DelaySeconds", 0) == delay


def test_the_size_counts_the_attributes_too():
    plain = entry_of(0, message(), 0.0)
    told = entry_of(0, message(facts=DeliveryFacts(attempt=12)), 0.0)
    assert plain.size == len(plain.body)
    assert told.size - plain.size == len("attempt" + "String" + "12")


def test_the_message_group_is_the_tenant_also_of_a_long_name():
    assert message_group("acme") == "acme"
    one, two = "a" * 200 + "1", "a" * 200 + "2"
    assert message_group(one) != message_group(two)
    assert len(message_group(one)) == 128


@given(st.lists(st.integers(0, MAX_BYTES + 5), max_size=40))
def test_batches_keep_the_order_and_what_sqs_allows(sizes):
    entries = [Entry(position, "", {}, "t", 0, size) for position, size in enumerate(sizes)]
    found = list(batches(entries))
    assert [entry for batch in found for entry in batch] == entries
    for batch in found:
        assert 0 < len(batch) <= MAX_BATCH_MESSAGES
        assert len(batch) == 1 or sum(entry.size for entry in batch) <= MAX_BYTES
    for one, two in itertools.pairwise(found):
        assert len(one) == MAX_BATCH_MESSAGES or sum(entry.size for entry in [*one, two[0]]) > MAX_BYTES


@pytest.mark.parametrize(
    ("text", "kafka", "sqs"),
    [
        ("a" * 800_000, True, True),
        ("a" * 950_000, False, False),
        # Twice as long in JSON that is escaped.
        ("日" * 200_000, True, False),
        ("日" * 100_000, True, True),
        ("\x01" * 140_000, True, True),
    ],
)
async def test_the_claim_check_counts_what_the_queue_counts(text, kafka, sqs):
    storage = Storage.open(Settings.load(store_url="memory:///"))
    one = message(text)
    for kind, inline in ((QueueKind.KAFKA, kafka), (QueueKind.SQS, sqs)):
        ready = await claim_check(storage, one, kind)
        assert (ready.envelope.body_ref is None) is inline
        if kind is QueueKind.SQS:
            assert entry_of(0, ready, 0.0).size < MAX_BYTES


@pytest.mark.parametrize("kind", QueueKind)
async def test_the_claim_check_counts_what_will_be_sent_and_not_what_came(kind):
    storage = Storage.open(Settings.load(store_url="memory:///"))
    body = from_json(b'{"model":"m","prompt":"p","x":[%b]}' % b",".join([b"9e15"] * 60_000))
    one = Message("fake", Lane.RETRY, message("").envelope.model_copy(update={"body": body}))
    assert len(one.value) > 1_000_000
    ready = await claim_check(storage, one, kind)
    assert ready.envelope.body is None
    stored = await storage.get(ready.envelope.body_ref, max_bytes=2_000_000)
    assert from_json(stored.data) == body
