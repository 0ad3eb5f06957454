"""The set of custom_ids that lies on disk."""

from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from backburner.inputs.duplicate_ids import SeenIds


def test_a_repeat_tells_the_line_of_its_first_use():
    with closing(SeenIds()) as seen:
        assert seen.add([("a", 1), ("b", 2)]) == {}
        assert seen.add([("c", 3), ("a", 4), ("c", 5)]) == {4: 1, 5: 3}
        assert seen.add([("a", 6)]) == {6: 1}


def test_a_large_set_finds_its_repeats():
    with closing(SeenIds()) as seen:
        for start in range(0, 50_000, 1000):
            assert seen.add([(f"id-{line}", line) for line in range(start, start + 1000)]) == {}
        assert seen.add([("id-49999", 60_000), ("new", 60_001)]) == {60_000: 49_999}


@given(st.lists(st.text(max_size=3), max_size=60), st.integers(min_value=1, max_value=7))
def test_it_finds_what_a_dict_finds(ids, size):
    first: dict[str, int] = {}
    expected = {line: first[one] for line, one in enumerate(ids, 1) if first.setdefault(one, line) != line}
    uses = [(one, line) for line, one in enumerate(ids, 1)]
    found: dict[int, int] = {}
    with closing(SeenIds()) as seen:
        for start in range(0, len(uses), size):
            found.update(seen.add(uses[start : start + size]))
    assert found == expected


IDS = st.one_of(
    st.builds(
        lambda prefix, number, width: f"{prefix}{number:0{width}}",
        st.sampled_from(["", "r", "0", "r0", "\n"]),
        st.integers(0, 120),
        st.integers(1, 4),
    ),
    st.sampled_from(["", "r", "²", "r²", "٣", "9" * 30, "r" + "9" * 18, "r" + "9" * 17]),
)
COUNTED = st.builds(
    lambda prefix, first, width, count: [f"{prefix}{number:0{width}}" for number in range(first, first + count)],
    st.sampled_from(["", "r", "0", "r0"]),
    st.integers(0, 120),
    st.integers(1, 4),
    st.integers(1, 20),
)


@given(st.lists(st.one_of(COUNTED, st.lists(IDS, min_size=1, max_size=5)), max_size=12))
def test_ids_that_count_up_are_found_again_as_others_are(chunks):
    first: dict[str, int] = {}
    expected, found, line = {}, {}, 1
    with closing(SeenIds()) as seen:
        for chunk in chunks:
            for number, one in enumerate(chunk, line):
                if first.setdefault(one, number) != number:
                    expected[number] = first[one]
            found.update(seen.add_all(chunk, line))
            line += len(chunk)
    assert found == expected


def test_numbers_of_any_length_are_found_again():
    long = [f"r{number}" for number in range(10**18 - 3, 10**18 + 3)]
    with closing(SeenIds()) as seen:
        assert seen.add_all(long, 1) == {}
        assert seen.add_all(long, 7) == {7 + place: 1 + place for place in range(6)}


def test_a_chunk_may_be_taken_up_again():
    with closing(SeenIds()) as seen:
        assert seen.add_all(["r1", "r2", "r3"], 1) == {}
        assert seen.add_all(["r1", "r2", "r3"], 1) == {}
        assert seen.add_all(["r4", "x", "r2"], 4) == {6: 2}
        assert seen.add_all(["r4", "x", "r2"], 4) == {6: 2}
        assert seen.add_all(["r5", "r6", "r4"], 7) == {9: 4}
