"""Segments: plain JSONL that any tool reads, and a digest that tells the index sets from the first bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas.envelope import Address
from backburner_schemas.errors import Cancelled, EngineError, Expired
from backburner_schemas.result import ResponseBody, ResultFacts, ResultRecord, encode_record, error_record, record_id
from backburner_schemas.segment import DIGEST_BYTES, Line, SegmentDigest, digest_of, encode_segment, read_digest

OUTCOMES = st.sampled_from([None, EngineError, Expired, Cancelled])


def made(index, error=None):
    """A record with that index and outcome, and its line."""
    address = Address("t", "j", index, f"id-{index}")
    if error is not None:
        record = error_record(address, error())
    else:
        response = ResponseBody(status_code=200, request_id="r", body={"text": 'a}b"\n{é'})
        record = ResultRecord(
            id=record_id(address), custom_id=address.custom_id, response=response, backburner=ResultFacts(index=index)
        )
    return record, Line(index, encode_record(record), record.error.code if record.error else None)


@given(st.lists(st.tuples(st.integers(0, 50) | st.sampled_from(["s-1", "7"]), OUTCOMES), min_size=1, max_size=20))
def test_every_record_comes_back_as_a_line_of_its_own(wanted):
    records, lines = zip(*(made(index, error) for index, error in wanted), strict=True)
    data = encode_segment(lines)
    assert data.endswith(b"\n")
    found = data.splitlines()
    assert [ResultRecord.model_validate_json(line) for line in found] == list(records)
    assert all(json.loads(line)["id"] for line in found)


@given(st.lists(st.tuples(st.integers(0, 50), OUTCOMES), min_size=1, max_size=20))
def test_the_digest_tells_what_became_of_each_index(wanted):
    data = encode_segment([made(index, error)[1] for index, error in wanted])
    digest = read_digest(data[:DIGEST_BYTES])
    assert set(digest.ok) == {index for index, error in wanted if error is None}
    assert set(digest.failed) == {index for index, error in wanted if error is not None}
    assert set(digest.expired) == {index for index, error in wanted if error is Expired}
    assert set(digest.cancelled) == {index for index, error in wanted if error is Cancelled}


def test_a_streams_segment_tells_the_indexes_that_have_a_response():
    lines = [made(index)[1] for index in ("3-17", "3-18", "b2c7")] + [made("3-19", EngineError)[1]]
    assert read_digest(encode_segment(lines)) == SegmentDigest(named=("b2c7", "3-:17-18"))


def test_of_more_names_than_there_is_room_for_some_are_told():
    lines = [made(f"{number:032x}x")[1] for number in range(4096)]
    digest = digest_of(lines)
    assert 1000 < len(digest.named) < 4096
    assert len(digest.model_dump_json()) < 70_000


@given(st.integers(0, 200))
def test_a_digest_that_is_cut_off_is_not_read(length):
    data = encode_segment([made(index)[1] for index in range(0, 40, 2)])
    whole = read_digest(data)
    assert read_digest(data[:length]) in (None, whole)


def test_digests_of_later_versions_are_read_as_far_as_known():
    assert read_digest(b'{"segment":{"v":2,"ok":"0-1","new":[1]},"id":"x"}\n') == SegmentDigest(v=2, ok="0-1")


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n",
        b'{"id":"x"}\n',
        b'{"segment":',
        b'{"segment":{"ok":"0-1"',
        b'{"segment":{"ok":5}}',
        b'{"segment":{"ok":"9-1"}}',
        b'{"segment":{"ok":null}}',
        b'{"segment":[}]}',
        b'{"segment":{"ok":"\xff"}}',
    ],
)
def test_what_holds_no_digest_gives_none(head):
    assert read_digest(head) is None


@given(st.binary(max_size=60))
def test_reading_a_digest_never_raises(rest):
    read_digest(b'{"segment":' + rest)
    read_digest(rest)
