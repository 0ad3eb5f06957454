"""Messages: whatever arrives is judged and nothing raises; what was encoded comes back as it was."""

import json
import math
import time
import tracemalloc
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backburner_schemas import keys
from backburner_schemas.codec import (
    Origin,
    Refused,
    Rules,
    Unaddressed,
    decode,
    encode,
    parse_body,
)
from backburner_schemas.envelope import MAX_UNIX_SECONDS, VERSION, Address, AnswerMode, Envelope
from backburner_schemas.errors import (
    BodyTooComplex,
    BodyTooLarge,
    InvalidJson,
    RequestRefused,
    TenantNotAllowed,
    Undeliverable,
    UnknownEndpoint,
    UnsupportedVersion,
)
from backburner_schemas.names import MAX_INDEX, is_index, is_name
from backburner_schemas.request import ENVELOPE_BYTES, Endpoint

ORIGIN = Origin("backburner.m.normal", "3-17", 1_700_000_000.5)
RULES = Rules(tenant="house")
CHAT = {"model": "m", "messages": []}
FIELDS = {
    "v": VERSION,
    "tenant": "acme",
    "job": "batch_1",
    "index": 4,
    "custom_id": "a",
    "url": "/v1/chat/completions",
    "body": CHAT,
}

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,30}", fullmatch=True).filter(is_name)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
ENVELOPES = st.builds(
    Envelope,
    tenant=NAMES,
    job=NAMES,
    index=st.integers(0, MAX_INDEX) | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True),
    custom_id=TEXT.filter(bool),
    url=st.just(Endpoint.CHAT),
    body=st.dictionaries(TEXT, JSON, max_size=4).map(lambda extra: extra | {"stream": None} | CHAT),
    body_ref=st.none(),
    deadline=st.none() | st.floats(0, 1e11),
    answer=st.sampled_from(AnswerMode),
    enqueued_at=st.floats(0, 1e11),
)
ORIGINS = st.builds(Origin, queue=st.text(max_size=300), position=st.text(max_size=80), timestamp=st.floats())


def message(**changes):
    return json.dumps(FIELDS | changes).encode()


@given(ENVELOPES)
def test_decode_gives_back_what_encode_was_given(envelope):
    assert decode(encode(envelope), ORIGIN, RULES) == envelope


@given(ENVELOPES)
def test_an_encoded_envelope_is_one_line_of_plain_json_without_nulls_of_its_own(envelope):
    data = encode(envelope)
    assert b"\n" not in data
    found = json.loads(data, parse_constant=pytest.fail)
    assert None not in found.values()
    assert found["body"] == envelope.body


@pytest.mark.parametrize(
    "before", [b"\x00\x00\x00\x01\x2a", b"\xef\xbb\xbf", b"\x00{{{{\xef\xbb\xbf", b"\x00\x00\x00\x00\x00 \n", b" \t"]
)
@pytest.mark.parametrize("plain", [False, True])
def test_what_serializers_and_editors_put_before_an_object_is_passed_over(before, plain):
    data = line() if plain else message()
    assert decode(before + data, ORIGIN, RULES) == decode(data, ORIGIN, RULES)
    assert isinstance(decode(data, ORIGIN, RULES), Envelope)


@pytest.mark.parametrize(
    "value", [b"\x00\x00\x00\x01\x2a[1]", b"\xef\xbb\xbf", b"\x00{}", b"\x00" * 64, b"\x01\x00\x00\x00\x01{}"]
)
def test_it_is_passed_over_before_an_object_alone(value):
    found = decode(value, ORIGIN, RULES)
    assert isinstance(found, Unaddressed)
    assert found.error.code == "unaddressable"
    assert "the message is not JSON (" in found.error.message


@given(st.none() | st.binary(max_size=200), ORIGINS)
@example(b"1" * 5000, ORIGIN)
@example(b"[" * 100_000, ORIGIN)
@example(b'{"v":' * 100_000, ORIGIN)
@example(b'{"v":1e999}', ORIGIN)
@example(b'{"v":NaN}', ORIGIN)
@example(b'{"v":1,"tenant":"\\ud800"}', ORIGIN)
def test_decode_never_raises_on_any_bytes(value, origin):
    assert isinstance(decode(value, origin, RULES), (Envelope, Refused, Unaddressed))


@given(st.dictionaries(st.sampled_from([*FIELDS, "method", "body_ref", "deadline", "answer", "x"]), JSON), ORIGINS)
def test_decode_never_raises_on_any_object_and_what_it_addresses_can_be_a_key(fields, origin):
    for base in ({}, FIELDS, {name: value for name, value in FIELDS.items() if name in {"custom_id", "url", "body"}}):
        found = decode(json.dumps(base | fields).encode(), origin, RULES)
        if isinstance(found, Unaddressed):
            assert isinstance(found.error, Undeliverable)
            continue
        address = found.address
        assert is_name(address.tenant)
        assert is_name(address.job)
        assert is_index(address.index)
        if isinstance(found, Refused):
            assert isinstance(found.error, RequestRefused)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, Undeliverable),
        (b"", Undeliverable),
        (b"nonsense", Undeliverable),
        (b"[]", Undeliverable),
        (b"null", Undeliverable),
        (b'{"v": NaN}', Undeliverable),
        (message(v=VERSION + 1), UnsupportedVersion),
        (message(v=10**30), UnsupportedVersion),
        (message(v=VERSION - 2), Undeliverable),
        (message(v="1"), Undeliverable),
        (message(v=True), Undeliverable),
        (message(v=1.0), Undeliverable),
        (message(v=None), Undeliverable),
        (message(tenant="../x"), Undeliverable),
        (message(tenant=None), Undeliverable),
        (message(job="a/b"), Undeliverable),
        (message(job=["a"]), Undeliverable),
        (message(index=-1), Undeliverable),
        (message(index=True), Undeliverable),
        (message(index=1.5), Undeliverable),
        (message(index=10**40), Undeliverable),
        (message(index="../../x"), Undeliverable),
    ],
)
def test_a_message_that_belongs_to_no_request_is_unaddressed(value, kind):
    found = decode(value, ORIGIN, RULES)
    assert isinstance(found, Unaddressed)
    assert type(found.error) is kind


@pytest.mark.parametrize(
    ("value", "kind", "param"),
    [
        (message(custom_id=None), RequestRefused, "custom_id"),
        (message(custom_id="x" * 513), RequestRefused, "custom_id"),
        (message(url="/v1/images"), UnknownEndpoint, "url"),
        (message(body=None), InvalidJson, None),
        (message(body="text"), RequestRefused, "body"),
        (message(body={}), RequestRefused, "model"),
        (message(body=CHAT | {"stream": True}), RequestRefused, "stream"),
        (message(deadline="soon"), RequestRefused, "deadline"),
        (message().replace(b'"m"', b'"m","x":1e999'), InvalidJson, None),
        (message(answer="fax"), RequestRefused, "answer"),
    ],
)
def test_a_message_with_an_address_that_cannot_run_is_refused_at_its_address(value, kind, param):
    found = decode(value, ORIGIN, RULES)
    assert isinstance(found, Refused)
    assert (found.address.tenant, found.address.job, found.address.index) == ("acme", "batch_1", 4)
    assert type(found.error) is kind
    assert found.error.param == param


def test_the_version_before_is_still_read():
    assert isinstance(decode(message(v=VERSION - 1), ORIGIN, RULES), Envelope)


def test_unknown_fields_are_passed_over():
    assert decode(message(colour="red"), ORIGIN, RULES) == decode(message(), ORIGIN, RULES)


def test_a_queue_that_carries_other_tenants_refuses_this_one():
    rules = Rules(allowed_tenants=frozenset({"zeta"}))
    found = decode(message(), ORIGIN, rules)
    assert isinstance(found, Unaddressed)
    assert isinstance(found.error, TenantNotAllowed)
    assert isinstance(decode(message(tenant="zeta"), ORIGIN, rules), Envelope)


def test_a_message_over_the_limit_is_refused_at_its_address():
    # An envelope may be longer than the line that was accepted, by what its address takes.
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 9000}]}
    found = decode(message(body=body), ORIGIN, Rules(max_body_bytes=10))
    assert isinstance(found, Refused)
    assert isinstance(found.error, BodyTooLarge)


# --- plain batch lines ------------------------------------------------------------------------------------


def line(**changes):
    return json.dumps(
        {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": CHAT} | changes
    ).encode()


def test_a_plain_line_gets_its_address_from_where_it_lies():
    found = decode(line(), ORIGIN, RULES)
    assert isinstance(found, Envelope)
    assert found.address == Address("house", "stream-backburner.m.normal-2023-11-14", "3-17", "a")
    assert found.enqueued_at == ORIGIN.timestamp
    assert decode(encode(found), Origin("elsewhere", "0-0", 0.0), RULES) == found


@given(ORIGINS)
def test_a_plain_line_is_addressed_wherever_it_lies(origin):
    found = decode(line(), origin, RULES)
    assert isinstance(found, Envelope)
    assert found.address == decode(line(), origin, RULES).address


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_queues_never_share_a_stream(one, other):
    jobs = {decode(line(), Origin(queue, "0-0", 1.7e9), RULES).job for queue in (one, other)}
    assert len(jobs) == len({one, other})


@pytest.mark.parametrize("timestamp", [-1.0, 1.7e12, 1.7e15, math.inf, math.nan])
def test_a_senseless_timestamp_still_gives_a_day(timestamp):
    assert isinstance(decode(line(), Origin("q", "0-0", timestamp), RULES), Envelope)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (line(custom_id=""), RequestRefused),
        (line(method="GET"), RequestRefused),
        (line(url="/v1/x"), UnknownEndpoint),
        (line(body={"model": "m"}), RequestRefused),
        (b"{}", RequestRefused),
        (line().replace(b'"m"', b'"m","x":-1e999'), InvalidJson),
    ],
)
def test_a_bad_plain_line_is_refused_at_its_place(raw, kind):
    found = decode(raw, ORIGIN, RULES)
    assert isinstance(found, Refused)
    assert type(found.error) is kind
    assert (found.address.job, found.address.index) == ("stream-backburner.m.normal-2023-11-14", "3-17")


# --- stored bodies ----------------------------------------------------------------------------------------


def with_ref(ref):
    fields = {name: value for name, value in FIELDS.items() if name != "body"}
    return decode(json.dumps(fields | {"body_ref": ref}).encode(), ORIGIN, RULES)


def test_a_body_under_the_own_job_is_accepted():
    key = keys.body("acme", "batch_1", 4)
    found = with_ref(key)
    assert isinstance(found, Envelope)
    assert found.body_ref == key


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "x",
        "tenants/acme/jobs/batch_1/bodies/",
        "tenants/acme/jobs/batch_1/bodies/../job.json",
        "tenants/acme/jobs/batch_1/bodies/..",
        "tenants/acme/jobs/batch_1/bodies/a/b",
        "tenants/acme/jobs/batch_1/bodies/%2e%2e",
        "tenants/acme/jobs/batch_1/job.json",
        "tenants/acme/jobs/batch_10/bodies/4.json",
        "tenants/other/jobs/batch_1/bodies/4.json",
        "/tenants/acme/jobs/batch_1/bodies/4.json",
        "tenants/acme/../acme/jobs/batch_1/bodies/4.json",
        "tenants/acme/jobs/batch_1/bodies/4.json\n",
        7,
        {},
    ],
)
def test_a_body_anywhere_else_is_refused(ref):
    found = with_ref(ref)
    assert isinstance(found, Refused)
    assert found.error.param == "body_ref"


# --- what no JSON holds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_encode_never_writes_what_is_no_json(number):
    envelope = Envelope.model_validate(FIELDS | {"body": CHAT | {"x": number}})
    assert json.loads(encode(envelope), parse_constant=pytest.fail)["body"]["x"] is None


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, object()])
def test_encode_refuses_a_body_that_cannot_be_written(value):
    envelope = Envelope.model_validate(FIELDS | {"body": CHAT | {"x": value}})
    with pytest.raises(RequestRefused, match=r"^the body cannot be written as JSON: ") as caught:
        encode(envelope)
    assert caught.value.param == "body"
    assert len(caught.value.message) > len("the body cannot be written as JSON: None")


# --- what is said, and where the bounds are ---------------------------------------------------------------

MANY = "a number is out of range; write one that a 64-bit float can hold"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "the message is empty; send a JSON object"),
        (b"x", "the message is not JSON (expected value at line 1 column 1); send a JSON object in UTF-8"),
        (b"[]", "the message is not a JSON object; send an envelope or a batch line"),
        (message(v=-1), "the envelope's version v is unknown; write 1"),
        (message(v=2), "envelope version 2 is newer than this worker's 1; upgrade the workers first"),
        (message(job=".."), "the envelope's tenant, job or index is missing or not a valid name"),
    ],
)
def test_a_message_that_belongs_to_no_request_is_told_what_to_send(value, message):
    found = decode(value, ORIGIN, RULES)
    assert isinstance(found, Unaddressed)
    assert found.error.message == message


def test_a_body_under_another_job_is_told_so():
    found = with_ref("x")
    assert isinstance(found, Refused)
    assert found.error.message == "body_ref must be under the envelope's own tenant and job"


@pytest.mark.parametrize(("answer", "mode"), [("object", AnswerMode.OBJECT), ("segment", AnswerMode.SEGMENT)])
@pytest.mark.parametrize("wrong", [{"url": "/v1/images"}, {"deadline": "soon"}, {"body": None, "body_ref": "x"}])
def test_a_refusal_is_stored_where_its_sender_looks(answer, mode, wrong):
    found = decode(message(answer=answer, **wrong), ORIGIN, RULES)
    assert isinstance(found, Refused)
    assert found.answer is mode


@pytest.mark.parametrize(
    ("custom_id", "kept"), [("a", "a"), ("x" * 512, "x" * 512), ("x" * 513, None), ("", None), (7, None)]
)
def test_a_refusal_names_its_custom_id_where_that_can_be_one(custom_id, kept):
    for found in (
        decode(message(custom_id=custom_id, url="/v1/images"), ORIGIN, RULES),
        decode(line(custom_id=custom_id, url="/v1/images"), ORIGIN, RULES),
    ):
        assert isinstance(found, Refused)
        assert found.address.custom_id == kept


@pytest.mark.parametrize("plain", [False, True])
def test_the_bound_on_a_message_holds_to_the_byte(plain):
    data = line() if plain else message()
    room = 0 if plain else ENVELOPE_BYTES
    padded = data[:-1] + b" " * room + b"}"
    assert isinstance(decode(padded, ORIGIN, Rules(max_body_bytes=len(padded) - room)), Envelope)
    found = decode(padded, ORIGIN, Rules(max_body_bytes=len(padded) - room - 1))
    assert isinstance(found, Refused)
    assert isinstance(found.error, BodyTooLarge)


def test_an_envelope_without_a_name_that_is_text_is_unaddressed():
    for name in ("tenant", "job", "index"):
        fields = {field: value for field, value in FIELDS.items() if field != name}
        assert isinstance(decode(json.dumps(fields).encode(), ORIGIN, RULES), Unaddressed)


def test_a_queues_name_that_cannot_be_part_of_a_jobs_is_replaced_and_told_by_its_hash():
    queue = "a b/ü" + "x" * 300
    found = decode(line(), Origin(queue, "x y", 1_700_000_000.5), RULES)
    digest, position = (sha256(text.encode()).hexdigest()[:16] for text in (queue, "x y"))
    assert found.job == f"stream-a-b--{'x' * 195}-{digest}-2023-11-14"
    assert found.index == position


def test_half_a_surrogate_pair_in_a_queues_name_has_a_hash_too():
    found = decode(line(), Origin("\ud800", "\ud800", 0.0), RULES)
    digest = sha256(b"?").hexdigest()[:16]
    assert (found.job, found.index) == (f"stream---{digest}-1970-01-01", digest)


@pytest.mark.parametrize(
    ("timestamp", "second"),
    [(-1.0, 0.0), (0.5, 0.5), (math.nan, 0.0), (math.inf, 0.0), (1e300, MAX_UNIX_SECONDS), (5e9, 5e9)],
)
def test_a_plain_lines_time_is_cut_to_what_a_calendar_holds(timestamp, second):
    assert decode(line(), Origin("q", "0-0", timestamp), RULES).enqueued_at == second


@pytest.mark.parametrize(
    ("data", "kind", "message", "param"),
    [
        (b"x" * 11, BodyTooLarge, None, "body"),
        (b"{", InvalidJson, "the stored body is not JSON (", "body_ref"),
        (b'{"a":NaN}', InvalidJson, "the stored body is not JSON (", "body_ref"),
        (b"[]", InvalidJson, "the stored body is not a JSON object", "body_ref"),
        (b'{"a":1e999}', InvalidJson, MANY, None),
    ],
)
def test_a_stored_body_is_held_to_what_one_on_the_queue_is(data, kind, message, param):
    with pytest.raises(kind) as caught:
        parse_body(data, 11 if message else 10)
    assert caught.value.param == param
    if message:
        assert caught.value.message.startswith(message)
        assert message[-1] != "(" or len(caught.value.message) > len(message) + len("None)")


def test_a_stored_body_within_its_bound_is_read():
    assert parse_body(b'{"a":1.5}', 9) == {"a": 1.5}


@pytest.mark.parametrize(("item", "count"), [("{},", 2_000_000), ("{},", 5_000_000), ("1,", 3_000_000)])
def test_a_value_that_would_take_far_more_memory_than_its_bytes_is_refused_unparsed(item, count):
    rest = CHAT | {"x": "@"}
    many = "[" + item * count + "1]"
    for fields in (FIELDS | {"body": rest}, {"custom_id": "a", "method": "POST", "url": FIELDS["url"], "body": rest}):
        value = json.dumps(fields).replace('"@"', many).encode()
        tracemalloc.start()
        try:
            found = decode(value, ORIGIN, RULES)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert isinstance(found, Refused)
        assert isinstance(found.error, (BodyTooComplex, BodyTooLarge))
        assert (found.address.tenant, found.address.custom_id) == ("acme" if "v" in fields else "house", "a")
        assert peak_bytes < 4 * len(value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_has_not_makes_a_message_no_json(number):
    found = decode(message(body=CHAT | {"x": "@"}).replace(b'"@"', number.encode()), ORIGIN, RULES)
    assert isinstance(found, Unaddressed)
    assert "the message is not JSON (" in found.error.message


@pytest.mark.parametrize("version", [VERSION - 1, VERSION])
def test_of_the_version_before_too_what_is_wrong_is_told_at_its_address(version):
    found = decode(message(v=version, url="/v1/images"), ORIGIN, RULES)
    assert isinstance(found, Refused)
    assert found.address.job == "batch_1"


def test_the_day_of_a_stream_is_that_of_utc(monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        found = decode(line(), Origin("q", "0-1", 1_700_000_000.0 + 3600 * 12), RULES)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert isinstance(found, Envelope)
    assert found.job.endswith("2023-11-15")


MANY = b"[" + b"{}," * 2_000_000 + b"{}]"


@pytest.mark.parametrize("before", [b'{"x":NaN,"y":', b"["])
def test_a_value_too_complex_to_parse_whose_beginning_is_no_object_is_a_letter_that_says_so(before):
    found = decode(before + MANY, ORIGIN, RULES)
    assert isinstance(found, Unaddressed)
    assert isinstance(found.error, BodyTooComplex)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_value_too_complex_to_parse_may_be_cut_within_a_character(shift):
    fields = {name: value for name, value in FIELDS.items() if name != "body"} | {"answer": "object"}
    fields |= {"x": "y" * shift + "\u00e9" * 4_000, "body": CHAT | {"x": "@"}}
    value = json.dumps(fields, ensure_ascii=False).encode().replace(b'"@"', MANY)
    found = decode(value, ORIGIN, RULES)
    assert isinstance(found, Refused)
    assert (found.address.tenant, found.answer) == ("acme", AnswerMode.OBJECT)


def test_a_value_too_complex_to_parse_that_says_no_address_in_front_is_a_letter():
    value = b'{"body":{"x":[' + b"{}," * 2_000_000 + b'{}]},"v":1,"tenant":"acme","job":"b","index":1}'
    assert isinstance(decode(b"[" + b"{}," * 2_000_000 + b"{}]", ORIGIN, RULES), Unaddressed)
    found = decode(value, ORIGIN, RULES)
    assert isinstance(found, Refused)  # as a line of a raw producer's
    assert found.address.tenant == "house"


def test_a_stored_body_is_not_parsed_into_far_more_than_its_bytes():
    with pytest.raises(BodyTooComplex):
        parse_body(b'{"x":[' + b"{}," * 2_000_000 + b"{}]}", 8 * 1024 * 1024)
