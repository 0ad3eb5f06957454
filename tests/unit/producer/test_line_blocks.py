"""Reading a file in blocks: its lines are the same whatever the size of a block."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.inputs import line_blocks
from backburner.inputs.line_blocks import BlockReader

PIECES = st.sampled_from([b"a", b"bb", b"\n", b"\r\n", b"\r", b" ", b"\xef\xbb\xbf", b"x" * 9, b"y" * 30])


def read(data, size, limit):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_blocks, "BLOCK_BYTES", size)
        reader = BlockReader(BytesIO(data), limit)
        found = []
        while (block := reader.read()) is not None:
            found.append(block)
        return found


@given(st.lists(PIECES, max_size=30).map(b"".join), st.integers(1, 40), st.integers(3, 20))
def test_the_lines_are_those_of_the_file_cut_where_they_are_over_the_limit(data, size, limit):
    found = read(data, size, limit)
    whole = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    whole = whole[:-1] if whole[-1] == b"" else whole
    lines = [text for block in found for text in block.texts]
    assert len(lines) == len(whole)
    for text, line in zip(lines, whole, strict=True):
        if len(line) <= limit:
            assert text == line.rstrip(b"\r")
        else:
            assert text == line[: limit + 2].rstrip(b"\r")
    assert [block.first for block in found] == [
        1 + sum(len(one.texts) for one in found[:at]) for at in range(len(found))
    ]


@given(st.lists(PIECES, max_size=30).map(b"".join), st.integers(1, 40), st.integers(0, 60))
def test_the_same_digests_are_of_the_same_lines(data, size, place):
    other = data[:place] + b"?" + data[place:]
    assert read(data, size, 99) == read(data, size, 99)
    assert [one.digest for one in read(data, size, 99)] != [one.digest for one in read(other, size, 99)]


def test_blank_lines_have_their_numbers_and_are_left_out():
    (block,) = read(b"a\n\n \r\nb\n", 100, 99)
    assert block.lines == [(1, b"a"), (4, b"b")]


def test_memory_holds_no_more_of_a_line_than_the_limit():
    reader = BlockReader(BytesIO(b"x" * 10_000_000 + b"\nb\n"), 10)
    assert [len(text) for text in reader.read().texts] == [12, 1]
