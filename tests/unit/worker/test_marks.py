"""What is written beside an offset: it comes back as it was, always fits, and never claims more than is true."""

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


@pytest.mark.parametrize(("marks", "text"), [(PLAIN, PLAIN_TEXT), (KNOWN, KNOWN_TEXT)])
def test_the_text_is_what_all_releases_read(marks, text):
    assert encode(marks, 10)[0] == text
    assert decode(text, 10) == marks


def test_marks_below_an_offset_are_those_that_a_shorter_log_has():
    marks = Marks(False, 7, of(3, 8), of(4, 9), of(5, 7), of(6, 8))
    assert marks.below(7) == Marks(False, 7, of(3), of(4), of(5), of(6))


def of(*offsets: int) -> IndexSet:
    return IndexSet.of(offsets)
