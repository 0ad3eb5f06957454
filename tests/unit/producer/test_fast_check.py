"""The fast check of many lines: it says the same as the full check, or nothing."""

import json
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import from_json, to_json

from backburner.inputs.fast_check import fast_check
from backburner.inputs.findings import Findings
from backburner.inputs.validation import Checker, canonical
from backburner_schemas.errors import RequestRefused
from backburner_schemas.request import MAX_CONTAINERS, Endpoint, check_size, parse_request

LIMIT = 600

TEXTS = st.one_of(
    st.text(max_size=8), st.sampled_from(["a:b", "Infinity", "\\u003a", ':"', "NaN", "\u2028", "é", "x" * 500])
)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([1e15, 10**400]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
BODIES = st.one_of(
    VALUES,
    st.fixed_dictionaries(
        {"model": st.one_of(st.just("fake"), VALUES), "messages": VALUES},
        optional={"stream": VALUES, "input": VALUES, "x": VALUES, "method": VALUES, "a:b": VALUES},
    ),
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "custom_id": st.one_of(
            st.text(min_size=1, max_size=5), st.sampled_from(["", "x" * 512, "x" * 513, "a:b"]), VALUES
        ),
        "method": st.one_of(st.just("POST"), VALUES),
        "url": st.one_of(st.sampled_from([str(one) for one in Endpoint]), VALUES),
        "body": BODIES,
        "extra": VALUES,
    },
)
USUAL = st.fixed_dictionaries(
    {
        "custom_id": st.text(min_size=1, max_size=5),
        "url": st.sampled_from([str(one) for one in Endpoint]),
        "body": st.fixed_dictionaries(
            {"model": st.just("fake"), "messages": VALUES}, optional={"input": VALUES, "x": VALUES}
        ),
    },
    optional={"method": st.just("POST")},
)
WRITTEN = st.builds(
    lambda value, separators, ascii_: json.dumps(value, separators=separators, ensure_ascii=ascii_),
    st.one_of(USUAL, USUAL, REQUESTS, VALUES),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", ":\t")]),
    st.booleans(),
)


@st.composite
def lines(draw):
    """A line as it is written, or with something in it replaced, so that it may be no JSON or say something twice."""
    text = draw(WRITTEN).encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        return text
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 3)))
    other = draw(
        st.one_of(
            st.binary(max_size=3),
            st.sampled_from(
                [b"1e999", b'"body":{},', b',"model":"fake"', b"\\u003a", b"\\ud800", b" ", b"}", b"NaN", b"-0"]
            ),
        )
    )
    return text[:start] + other + text[end:]


def full(line):
    """What the full check says of one line, or None if it refuses it."""
    try:
        request = parse_request(line, max_bytes=LIMIT)
        data = canonical(request)
        check_size(data, LIMIT)
    except RequestRefused:
        return None
    return request, data


BODY = '"url":"/v1/chat/completions","body":{"model":"m","messages":[]'


@example([b'{"custom_id":"a",%b,"n":1e999}}' % BODY.encode()])
@example([b'{"custom_id":"a",%b,"n":1,"n":2}}' % BODY.encode()])
@example([b'{"custom_id":"a",%b,"n":1,"n":"\\u003a"}}' % BODY.encode()])
@example([b'{"custom_id":"a","custom_id":"b",%b}}' % BODY.encode()])
@example([b'{"custom_id":"a",%b},"tenant":"other"}' % BODY.encode()])
@example([b'{"custom_id":"a",%b}} ' % BODY.encode()])
@example([b'{"custom_id":"\\ud800",%b}}' % BODY.encode()])
@example([b'{"custom_id":"a",%b,"stream":true}}' % BODY.encode()])
@example([b'{"custom_id":"a",%b,"x":"%b"}}' % (BODY.encode(), b"x" * LIMIT)])
@example([b'{"custom_id":"a",%b,"x":%b1}}' % (BODY.encode(), b" " * LIMIT)])
@example([b'{"custom_id":"a",%b,"x":[%b1]}}' % (BODY.encode(), b"1e15," * 80)])
@given(st.lists(lines(), min_size=1, max_size=3))
def test_it_says_what_the_full_check_says_or_nothing(texts):
    found = fast_check(texts, LIMIT)
    if found is None:
        return
    judged = [full(text) for text in texts]
    assert None not in judged
    assert found.custom_ids == [request.custom_id for request, _ in judged]
    assert found.models == {request.model for request, _ in judged}
    assert found.data == b"".join(data + b"\n" for _, data in judged)
    for text, (_, data) in zip(texts, judged, strict=True):
        # As it travels, among the fields of an envelope.
        value = b'{"index":1,%b,"answer":"segment"}' % text[1:-1]
        travelled = from_json(value)
        assert set(travelled) <= {"index", "custom_id", "method", "url", "body", "answer"}
        assert to_json((travelled["custom_id"], travelled["url"], travelled["body"])) == data
        assert json.loads(value, object_pairs_hook=once) is not None


def once(pairs):
    """An object in which no name is repeated."""
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@given(st.lists(USUAL, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_well_formed_lines_are_judged_fast(requests, spaced, escaped):
    separators = (", ", ": ") if spaced else (",", ":")
    texts = [
        json.dumps(one, separators=separators, ensure_ascii=escaped).encode("utf-8", "replace") for one in requests
    ]
    judged = [full(text) for text in texts]
    certain = not any(b"Infinity" in text or b"\\" in text for text in texts)
    if None not in judged and certain:
        assert fast_check(texts, LIMIT) is not None


@pytest.mark.parametrize("count", [10, MAX_CONTAINERS])
def test_a_line_of_too_many_objects_is_left_to_the_full_check(count):
    line = b'{"custom_id":"a","url":"/v1/completions","body":{"model":"m","prompt":"{[","x":[%b]}}' % (
        b",".join([b"{}"] * count)
    )
    assert (fast_check([line], 8 << 20) is not None) == (count == 10)


@pytest.mark.parametrize(
    "line",
    [
        {"custom_id": "a", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}},
        {"custom_id": "é", "method": "POST", "url": "/v1/embeddings", "body": {"input": "x", "model": "m"}},
        {"body": {"model": "m", "queries": "1:2"}, "url": "/v1/score", "custom_id": "a:b"},
    ],
)
async def test_both_checks_give_the_same_bytes(line):
    text = json.dumps(line).encode()
    with closing(Checker(max_bytes=LIMIT, pool="p")) as checker:
        alike = await checker.check_alike(1, [text])
    with closing(Checker(max_bytes=LIMIT, pool="p")) as checker:
        (accepted,) = (await checker.check([(1, text)], Findings())).accepted
    assert alike.data() == accepted.data + b"\n"
    told = json.loads(b"{%b}" % accepted.members)
    assert told == {name: line[name] for name in ("custom_id", "url", "body")}


async def test_a_model_that_only_a_refused_line_names_is_not_noted():
    texts = [
        json.dumps({"custom_id": "a", "url": "/v1/embeddings", "body": {"model": model, "input": "x"}}).encode()
        for model in ("served", "typo")
    ]
    with closing(Checker(max_bytes=LIMIT, pool="p")) as checker:
        await checker.accept(1, texts[:1], Findings())
        await checker.accept(2, texts[1:], found := Findings())
        assert (found.total, checker.models) == (1, {"served"})
