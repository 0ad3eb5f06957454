"""What is written beside an offset: it comes back as it was, always fits, and never claims more than is true."""

import base64
import zlib
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from backburner_schemas.indexset import IndexSet
from backburner_worker.sources.kafka.marks import (
    EVERYWHERE_OFFSET,
    MAX_CHARACTERS,
    UNMARKED,
    Log,
    Marks,
    decode,
    encode,
)

OFFSETS = st.integers(0, 1 << 48)
LOGS = st.one_of(
    st.just((b"", -1, False)),
    st.tuples(st.just(b""), st.integers(0, 2**31 - 1), st.just(False)),
    st.tuples(st.binary(min_size=16, max_size=16).filter(any), st.integers(-1, 2**31 - 1), st.booleans()),
)


def above(offset: int, ranges: list[tuple[int, int]]) -> IndexSet:
    """A set from gaps and lengths."""
    found, at = [], offset
    for gap, length in ranges:
        found.append((at + gap, at + gap + length))
        at += gap + length
    return IndexSet(found)


def sets(longest: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(st.integers(1, 2000), st.integers(1, 2000)), max_size=longest)


@st.composite
def marked(draw, longest: int = 30):
    offset = draw(OFFSETS)
    completed, started, earlier, suspects = (above(offset, draw(sets(longest))) for _ in range(4))
    careful = draw(st.sampled_from([0, offset + 1, offset + 70_000, EVERYWHERE_OFFSET]))
    topic, epoch, renewed = draw(LOGS)
    log = Log(topic, epoch, draw(OFFSETS) if topic or epoch >= 0 else 0, renewed=renewed)
    return offset, Marks(
        draw(st.booleans()), draw(st.integers(0, 2**32 - 1)), completed, started, earlier, suspects, careful, log
    )


@given(marked())
def test_marks_come_back_as_they_were(found):
    offset, marks = found
    text, held = encode(marks, offset)
    assert held == marks
    assert decode(text, offset) == marks


@given(marked(longest=600))
def test_what_does_not_fit_is_left_out_and_nothing_is_made_up(found):
    offset, marks = found
    text, held = encode(marks, offset)
    assert len(text) <= MAX_CHARACTERS
    assert decode(text, offset) == held
    for kept, true in (
        (held.completed, marks.completed),
        (held.started, marks.started),
        (held.earlier, marks.earlier),
        (held.suspects, marks.suspects),
    ):
        assert not kept - true
    assert (held.clean, held.incarnation, held.write_ahead_until, held.log) == (
        marks.clean,
        marks.incarnation,
        marks.write_ahead_until,
        marks.log,
    )


def test_what_is_done_far_away_is_left_out_first():
    scattered = IndexSet.of(range(1, 200_000, 7))
    marks = Marks(completed=scattered, started=IndexSet.of([5, 90_000]), suspects=IndexSet.of([4]))
    text, held = encode(marks, 0)
    assert (held.started, held.suspects) == (marks.started, marks.suspects)
    assert held.completed.ranges == scattered.ranges[: len(held.completed)]
    assert len(held.completed) > 2_000
    assert MAX_CHARACTERS - 8 < len(text) <= MAX_CHARACTERS


def test_every_second_offset_of_twenty_thousand_fits():
    marks = Marks(completed=IndexSet.of(range(1, 20_000, 2)))
    text, held = encode(marks, 0)
    assert held == decode(text, 0) == marks


def test_scattered_offsets_come_back_from_a_bitmap_in_their_order():
    marks = Marks(completed=of(1, 2, *range(4, 400, 2)))
    text, held = encode(marks, 0)
    assert len(text) < 100  # A bit an offset; as ranges it would be two bytes for every second one.
    assert held == decode(text, 0) == marks


@pytest.mark.parametrize("step", [127, 128, 129])
def test_gaps_and_lengths_of_one_byte_and_of_two_come_back(step):
    marks = Marks(started=above(10, [(step, 1), (1, step)]), completed=above(10, [(step, step)]))
    assert decode(encode(marks, 10)[0], 10) == marks


def test_where_ranges_hold_more_than_a_bitmap_would_they_are_written_as_far_as_there_is_room():
    wanted = above(10, [(1, 1_000_000), *[(200, 1)] * 3_000])
    text, held = encode(Marks(completed=wanted), 10)
    assert decode(text, 10) == held
    assert held.completed.ranges == wanted.ranges[: len(held.completed.ranges)]
    assert 1_000_000 < len(held.completed) < len(wanted)


FULL_LOG = Log(bytes(range(1, 17)), 1 << 30, 1 << 48)


@pytest.mark.parametrize("name", ["suspects", "earlier", "started", "completed"])
@pytest.mark.parametrize(
    ("offset", "ranges", "bare", "with_all"),
    [
        (1 << 40, [(100, 1)] * 2_000, 1_525, 1_507),  # ranges of two bytes, and a byte is left or is not
        (1 << 40, [(1, 1)] * 13_000, 12_196, 12_056),  # a bitmap, in which nearly all would have room
        (0, [(1, 1)] * 40_000, 12_196, 12_056),
    ],
)
def test_all_the_room_there_is_is_used_and_no_more(name, offset, ranges, bare, with_all):
    wanted = above(offset, ranges)
    counts = []
    for others in ({}, {"log": FULL_LOG, "write_ahead_until": offset + (1 << 50)}):
        marks = replace(Marks(**{name: wanted}), **others)
        text, held = encode(marks, offset)
        kept = getattr(held, name)
        assert len(text) <= MAX_CHARACTERS
        assert decode(text, offset) == held == replace(marks, **{name: kept})
        counts.append(len(kept))
    assert counts == [bare, with_all]


@pytest.mark.parametrize("count", range(1_500, 1_540))
def test_a_second_set_fits_into_whatever_room_the_first_has_left(count):
    marks = Marks(suspects=above(0, [(100, 1)] * count), completed=above(0, [(50, 1)] * 9))
    text, held = encode(marks, 0)
    assert len(text) <= MAX_CHARACTERS
    assert decode(text, 0) == held


def test_a_million_done_behind_one_slow_request_are_a_few_characters():
    assert len(encode(Marks(completed=IndexSet([(1, 1_000_000)])), 0)[0]) < 50


@given(marked(), st.data())
def test_damaged_text_counts_as_none(found, data):
    offset, marks = found
    text, _ = encode(marks, offset)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda new: new != text[at]))
    damaged = data.draw(st.sampled_from([text[:at], text[:at] + other + text[at + 1 :], text[:at] + text[at + 1 :]]))
    found = decode(damaged, offset)
    newer = Marks(clean=False, write_ahead_until=EVERYWHERE_OFFSET)
    # A base64 text of another length may stand for the same bytes; a damaged version may be a newer one.
    assert found in (UNMARKED, newer, marks)


@given(st.text() | st.text(alphabet="b1.AQgw=").map(lambda text: "bb1." + text), OFFSETS)
def test_foreign_text_counts_as_none(text, offset):
    assert decode(text, offset) in (UNMARKED, Marks(clean=False, write_ahead_until=EVERYWHERE_OFFSET))


def test_text_with_something_else_in_between_counts_as_none():
    assert decode(PLAIN_TEXT[:8] + "\n" + PLAIN_TEXT[8:], 10) == UNMARKED


def test_a_number_that_no_offset_can_be_counts_as_damage():
    payload = bytes(5) + b"\x80" * 9 + b"\x01" + bytes(4)
    checksum = zlib.crc32(b"10", zlib.crc32(payload)).to_bytes(4)
    assert decode("bb1." + base64.b64encode(payload + checksum).decode(), 10) == UNMARKED


@given(marked())
def test_marks_of_another_offset_count_as_none(found):
    offset, marks = found
    assert decode(encode(marks, offset)[0], offset + 1) == UNMARKED


@pytest.mark.parametrize("text", ["bb2.", "bb2.xyz", "bb10.AAAA"])
def test_a_newer_version_counts_as_an_unclean_end_that_tells_nothing(text):
    assert decode(text, 7) == Marks(clean=False, write_ahead_until=EVERYWHERE_OFFSET)


def test_no_text_counts_as_none():
    assert decode("", 0) == UNMARKED


PLAIN = Marks(False, 7, IndexSet.of([12]), IndexSet.of([11]), write_ahead_until=30)
PLAIN_TEXT = "bb1.AAAAAAcUAAADAAEBAwACATpZ/uQ="
"""As releases before the log was in it wrote it."""
KNOWN = replace(PLAIN, log=Log(bytes(range(16)), 3, 12, renewed=True))
KNOWN_TEXT = "bb1.BgAAAAcUAAADAAEBAwACAQABAgMEBQYHCAkKCwwNDg8EDISdObE="


SCATTERED = Marks(completed=IndexSet.of([1011, 1019, 1042]))
"""A bitmap, which is one byte shorter than ranges."""
SCATTERED_TEXT = "bb1.AQAAAAAAAAAABgEBAQEAgC394wc="


@pytest.mark.parametrize(
    ("marks", "offset", "text"),
    [(PLAIN, 10, PLAIN_TEXT), (KNOWN, 10, KNOWN_TEXT), (SCATTERED, 1010, SCATTERED_TEXT)],
)
def test_the_text_is_what_all_releases_read(marks, offset, text):
    assert encode(marks, offset)[0] == text
    assert decode(text, offset) == marks


def test_marks_below_an_offset_are_those_that_a_shorter_log_has():
    marks = Marks(False, 7, of(3, 8), of(4, 9), of(5, 7), of(6, 8))
    assert marks.below(7) == Marks(False, 7, of(3), of(4), of(5), of(6))


def of(*offsets: int) -> IndexSet:
    return IndexSet.of(offsets)


def test_a_log_that_lost_its_end_is_known_for_another_from_there_on():
    assert Log(b"t" * 16, 3, 12).cut(5) == Log(b"t" * 16, 3, 5, renewed=True)
