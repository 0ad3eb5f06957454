"""Segments whose lines are passed on as they lie, some at a time; and what is no such segment."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.jobs import record_lines
from backburner.jobs.record_lines import WholeSegment
from backburner_schemas.envelope import Address
from backburner_schemas.errors import Expired
from backburner_schemas.result import encode_record, encode_response, error_record
from backburner_schemas.segment import Line, encode_segment


def line(index, text="", error=None):
    address = Address("default", "j", index, f"c{index}")
    if error is not None:
        return Line(index, encode_record(error_record(address, error)), error.code)
    return Line(index, encode_response(f"batch_req_{index}", f"c{index}", 200, {"text": text}, {"index": index}))


def whole(lines):
    return WholeSegment.of(memoryview(encode_segment(lines)))


@given(lengths=st.lists(st.integers(0, 300), min_size=1, max_size=30), block=st.integers(1, 400))
def test_the_lines_are_those_of_the_segment_however_it_is_cut(lengths, block):
    lines = [line(index, "x" * length) for index, length in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_lines, "_BLOCK_BYTES", block)
        found = whole(lines)
    assert b"".join(part.data for part in found.lines) == b"".join(one.data + b"\n" for one in lines)
    assert sum(part.count for part in found.lines) == len(lines)
    assert all(part.count == part.data.count(b"\n") for part in found.lines)
    assert len(found.indexes) == len(lines)


def test_errors_are_counted(monkeypatch):
    monkeypatch.setattr(record_lines, "_BLOCK_BYTES", 100)
    [part] = whole([line(0, "x" * 200), line(1, error=Expired()), line(2)]).lines
    assert (part.count, part.failed) == (3, 1)


@pytest.mark.parametrize("block", [1, 64, 150, 1 << 18])
@pytest.mark.parametrize("junk", [b'{"x":1}\n', b"\n", b"half", b'{"id":"z"}\n', b'"}\n{"i'])
def test_what_more_lies_between_or_behind_is_left_to_be_parsed(junk, block, monkeypatch):
    monkeypatch.setattr(record_lines, "_BLOCK_BYTES", block)
    data = encode_segment([line(index, "x" * 50) for index in range(4)])
    ends = [place + 1 for place in range(len(data)) if data[place : place + 1] == b"\n"]
    for end in ends:
        assert WholeSegment.of(memoryview(data[:end] + junk + data[end:])) is None


def test_a_segment_that_is_cut_off_is_left_to_be_parsed(monkeypatch):
    monkeypatch.setattr(record_lines, "_BLOCK_BYTES", 90)
    data = encode_segment([line(index, "x" * 50) for index in range(3)])
    for end in range(len(data)):
        assert WholeSegment.of(memoryview(data[:end])) is None
