"""String indexes packed into few bytes, and read again with a bound."""

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner_schemas import indexset
from backburner_schemas.indexset import NamedIndexes, pack_names

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True) | st.builds(
    "{}-{}".format, st.integers(0, 3), st.integers(0, 30)
)


def unpacked(packed, max_count=1000):
    return NamedIndexes(packed, max_count)


@given(st.sets(NAMES), st.sets(NAMES))
def test_what_was_packed_is_in_there_and_nothing_else(names, others):
    found = unpacked(pack_names(names))
    assert all(name in found for name in names)
    assert not any(name in found for name in others - names)


@given(st.sets(NAMES), st.integers(0, 200))
def test_what_has_no_room_is_left_out(names, room):
    with patch.object(indexset, "MAX_NAMES_BYTES", room):
        packed = pack_names(names)
    assert sum(len(entry) + 3 for entry in packed) <= room
    found = unpacked(packed)
    assert not any(name in found for name in ("never", "9-9999") if name not in names)


def test_offsets_of_partitions_are_ranges():
    names = [f"{partition}-{offset}" for partition in (0, 7) for offset in range(4096) if offset != 9]
    assert pack_names(names) == ("0-:0-8,10-4095", "7-:0-8,10-4095")


@pytest.mark.parametrize("name", ["3-017", "3-", "3-12345678901234567890", "017", "x"])
def test_what_ends_in_no_number_stands_for_itself(name):
    assert pack_names([name]) == (name,)
    assert name in unpacked([name])


def test_entries_add_up_within_the_bound():
    found = unpacked(["0-:1-5", "0-:4-9", "a", "1-:1,3,5", "b"], max_count=4)
    assert "0-9" in found
    assert "a" in found
    assert "1-5" in found
    assert "b" not in found


def test_entries_beyond_the_bytes_of_any_digest_are_passed_over():
    found = unpacked([f"a{number}-:0" for number in range(20_000)], max_count=1 << 20)
    assert 1000 < found.count < 10_000


@pytest.mark.parametrize("entry", ["0-:x", "0-:9-1", ":", "0-:", "0-:0-99999999999999999999999"])
def test_what_is_no_entry_is_passed_over(entry):
    found = unpacked([entry, "a"])
    assert "a" in found
    assert "0-1" not in found


def test_a_name_longer_than_any_index_takes_no_room():
    assert unpacked(["x" * 65, "x" * 65 + ":1", "y" * 64]).count == 1


def test_a_range_of_any_length_costs_no_memory():
    assert unpacked(["0-:0-999999999999999"]).count == 1
