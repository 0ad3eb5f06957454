"""Sorting more than fits into memory: the same order, whatever was written to disk and in how many runs."""

import random

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.ordering import runs
from backburner.ordering.runs import MAX_RECORD_BYTES, SortedRuns

PROCESS = psutil.Process()


@given(st.lists(st.binary(max_size=40), max_size=200), st.integers(1, 2000))
def test_records_come_in_the_order_of_their_bytes(records, memory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_MAX_RUNS", 3)
        patch.setattr(runs, "_READ_BYTES", 50)
        found = SortedRuns(memory)
        for record in records:
            found.add(record)
        assert [*found] == sorted(records)
        found.close()


def test_a_record_may_be_as_long_as_its_length_can_say():
    found = SortedRuns(1)
    records = [bytes([byte]) * MAX_RECORD_BYTES for byte in (3, 1, 2)]
    for record in records:
        found.add(record)
    assert [*found] == sorted(records)
    found.close()


def test_few_files_are_open_and_none_is_left_in_the_folder(tmp_path):
    chance, before = random.Random(1), PROCESS.num_fds()
    found = SortedRuns(300, tmp_path)
    for _ in range(3000):
        found.add(chance.randbytes(50))
        assert PROCESS.num_fds() <= before + 2 * runs._MAX_RUNS
        assert not [*tmp_path.iterdir()]
    found.close()
    assert PROCESS.num_fds() <= before
