"""What a held request weighs: its bytes, and no less than about what its objects take."""

import json
import tracemalloc

import pytest
from works import new_feeder, work

from backburner_schemas.codec import Origin, Rules, decode
from backburner_schemas.envelope import AnswerMode, DeliveryFacts, Envelope
from backburner_schemas.names import Lane
from backburner_worker.policy import Run
from backburner_worker.scheduling.weight import weight
from backburner_worker.scheduling.work import Work
from backburner_worker.sources.base import Delivery

HEAD = b'{"v":1,"tenant":"t","job":"j","index":1,"custom_id":"c","url":"/v1/chat/completions","body":'
ORIGIN = Origin("q", "0-1", 0.0)
COUNT = 20_000


def message(body: bytes) -> bytes:
    return HEAD + body + b"}"


def of(inner: bytes) -> bytes:
    return message(b'{"model":"m","messages":[%b]}' % inner)


def parsed(raw: bytes) -> Envelope:
    found = decode(raw, ORIGIN, Rules())
    assert isinstance(found, Envelope)
    return found


@pytest.mark.parametrize(
    "inner",
    [
        b",".join([b"{}"] * COUNT),
        b",".join([b"[]"] * COUNT),
        b",".join([b"[0]"] * COUNT),
        b",".join([b'{"a":0}'] * COUNT),
        b",".join([b'{"a":{}}'] * COUNT),
        b",".join([b"%d" % number for number in range(COUNT)]),
        b",".join([b"1.5"] * COUNT),
        b"{%b}" % b",".join([b'"%d":0' % number for number in range(COUNT)]),
        b",".join([b"[" * 150 + b"]" * 150] * (COUNT // 150)),
    ],
    ids=lambda inner: inner[:12].decode(),
)
def test_what_takes_far_more_memory_than_its_bytes_weighs_that_much(inner):
    raw = of(inner)
    tracemalloc.start()
    try:
        envelope = parsed(raw)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    found = weight(raw, envelope.body)
    assert found >= 0.6 * taken
    assert found <= 8 * taken


@pytest.mark.parametrize(
    "content",
    [
        "hi",
        "What is the capital of France, and why? " * 100,
        "if (a[i] == b[j]) { return x; } " * 1_000,
        "{[,]}" * 5_000,
    ],
    ids=["short", "prose", "code", "signs"],
)
def test_what_is_ordinary_weighs_its_bytes_whatever_signs_its_texts_hold(content):
    raw = message(json.dumps({"model": "m", "messages": [{"role": "user", "content": content}] * 2}).encode())
    assert len(raw) <= weight(raw, parsed(raw).body) <= len(raw) + 2_000


def test_a_lane_is_full_by_what_its_requests_take_and_not_by_their_bytes():
    feeder = new_feeder(window_bytes=1_000_000)
    raw = of(b",".join([b"{}"] * 5_000))
    envelope = parsed(raw)
    delivery = Delivery(envelope, raw, ORIGIN, Lane.NORMAL, DeliveryFacts(), token=None)
    feeder.add(work(size=len(raw)))
    assert Lane.NORMAL in feeder.budget()
    feeder.add(Work(delivery, Run(envelope, AnswerMode.SEGMENT), 1))
    assert Lane.NORMAL not in feeder.budget()
    while feeder.take() is not None:
        pass
    assert Lane.NORMAL in feeder.budget()
