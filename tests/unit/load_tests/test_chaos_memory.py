"""The soak's arithmetic: a line through samples of memory, and what it is judged by."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.memory import Growth, Memory, fitted_line, resident_bytes

FLAT, STEEP = "flat", "steep"


@given(st.floats(-100, 100), st.floats(0, 1e4), st.integers(2, 50))
def test_the_line_through_points_of_a_line_is_that_line(slope, start, count):
    found = fitted_line([(float(at), start + slope * at) for at in range(count)])
    assert found == pytest.approx((slope, start), abs=1e-6)


def test_what_is_sampled_before_the_warm_up_is_over_does_not_count():
    hours = [0.0, 900.0, 1800.0, 2700.0, 3600.0]
    memory = Memory(
        samples={
            FLAT: [(at, 50_000_000 if at < 900 else 90_000_000) for at in hours],
            STEEP: [(at, 90_000_000 + int(at / 3600 * 20e6)) for at in hours],
        }
    )
    flat, steep = memory.growths(after=900.0, bound=lambda part: 12.0 if part == STEEP else None)
    assert (flat.samples, flat.mb_per_hour, flat.first_mb, flat.last_mb, flat.kept) == (4, 0.0, 90.0, 90.0, True)
    assert (steep.mb_per_hour, steep.first_mb, steep.most_mb, steep.kept) == (
        pytest.approx(20.0),
        pytest.approx(95.0),
        pytest.approx(110.0),
        False,
    )


def test_what_is_not_the_products_is_shown_and_not_judged():
    assert Growth("its store", 9, 100.0, 900.0, 900.0, 800.0, None).kept


def test_a_process_that_has_ended_is_passed_over():
    memory = Memory()
    memory.sample({"here": os.getpid(), "never started": None})
    assert memory.samples.keys() == {"here"}
    assert resident_bytes(os.getpid()) > 1_000_000
