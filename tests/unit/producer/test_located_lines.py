"""Reading lines from a stream: they are those of the file, each with its place, however the stream comes in pieces."""

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st

from backburner.inputs.line_blocks import BlockReader
from backburner.inputs.located_lines import locate_lines

PARTS = st.sampled_from([b"a", b"bb", b"\n", b"\r\n", b"\r", b" ", b"\xef\xbb\xbf", b"x" * 9, b"y" * 30])


async def pieces_of(data, size):
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def located(data, size, limit):
    found = [block async for block in locate_lines(pieces_of(data, size), max_bytes=limit)]
    assert [block.first for block in found] == [
        1 + sum(len(one.texts) for one in found[:at]) for at in range(len(found))
    ]
    return [pair for block in found for pair in zip(block.texts, block.offsets, strict=True)]


def read_as_a_file(data, limit):
    reader, found = BlockReader(BytesIO(data), limit), []
    while (block := reader.read()) is not None:
        found += block.texts
    return found


@given(st.lists(PARTS, max_size=30).map(b"".join), st.integers(1, 40), st.integers(3, 20))
async def test_a_stream_has_the_lines_of_the_file_and_each_is_where_it_says(data, size, limit):
    found = await located(data, size, limit)
    assert [text for text, _ in found] == read_as_a_file(data, limit)
    for text, offset in found:
        assert data[offset : offset + len(text)] == text
        assert offset in {0, 3} or data[offset - 1 : offset] == b"\n"
    assert len({offset for _, offset in found}) == len(found)


async def test_a_part_has_the_numbers_and_places_of_its_lines():
    [block] = [block async for block in locate_lines(pieces_of(b"a\nbb\n\nccc\n", 100), max_bytes=99)]
    assert [(part.first, part.texts, part.offsets) for part in block.parts(3)] == [
        (1, [b"a", b"bb", b""], [0, 2, 5]),
        (4, [b"ccc"], [6]),
    ]


async def test_memory_holds_no_more_of_a_line_than_the_limit_and_a_piece():
    async def endless():
        for _ in range(100):
            yield b"x" * 1000
        yield b"\nb\n"

    [block] = [block async for block in locate_lines(endless(), max_bytes=10)]
    assert [*zip(block.texts, block.offsets, strict=True)] == [(b"x" * 12, 0), (b"b", 100_001)]
