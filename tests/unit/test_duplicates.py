"""The set of custom_ids that lies on disk."""

from hypothesis import given
from hypothesis import strategies as st

from backburner.duplicates import SeenIds


def test_a_repeat_tells_the_line_of_its_first_use():
    with SeenIds() as seen:
        assert seen.add([("a", 1), ("b", 2)]) == {}
        assert seen.add([("c", 3), ("a", 4), ("c", 5)]) == {4: 1, 5: 3}
        assert seen.add([("a", 6)]) == {6: 1}


def test_a_large_set_finds_its_repeats():
    with SeenIds() as seen:
        for start in range(0, 50_000, 1000):
            assert seen.add([(f"id-{line}", line) for line in range(start, start + 1000)]) == {}
        assert seen.add([("id-49999", 60_000), ("new", 60_001)]) == {60_000: 49_999}


@given(st.lists(st.text(max_size=3), max_size=60), st.integers(min_value=1, max_value=7))
def test_it_finds_what_a_dict_finds(ids, size):
    first: dict[str, int] = {}
    expected = {line: first[one] for line, one in enumerate(ids, 1) if first.setdefault(one, line) != line}
    uses = [(one, line) for line, one in enumerate(ids, 1)]
    found: dict[int, int] = {}
    with SeenIds() as seen:
        for start in range(0, len(uses), size):
            found.update(seen.add(uses[start : start + size]))
    assert found == expected
