"""Windows by the clocks on the wall: over midnight, across zones, and where clocks are changed."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.dispatcher.off_peak import is_open, opens_at
from backburner_schemas.job import OffPeak

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTS = OffPeak(start="22:00", end="06:00", timezone="Europe/Berlin")


def at(text, zone=BERLIN, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-07-01T21:59:59", False),
        ("2026-07-01T22:00:00", True),
        ("2026-07-02T00:00:00", True),
        ("2026-07-02T05:59:59", True),
        ("2026-07-02T06:00:00", False),
        ("2026-07-02T12:00:00", False),
    ],
)
def test_a_window_over_midnight_ends_in_the_morning(time, expected):
    assert is_open(NIGHTS, at(time)) is expected


def test_a_window_of_the_day_and_one_that_never_closes():
    lunch = OffPeak(start="12:00", end="13:30")
    assert [is_open(lunch, at(f"2026-01-01T{clock}", UTC)) for clock in ("11:59", "12:00", "13:29", "13:30")] == [
        False,
        True,
        True,
        False,
    ]
    always = OffPeak(start="08:00", end="08:00")
    assert is_open(always, 0.0)
    assert is_open(always, at("2026-01-01T08:00", UTC))


def test_the_window_follows_clocks_that_are_set_forward_and_back():
    # 2026-03-29: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00, so that hour comes twice.
    assert opens_at(NIGHTS, at("2026-03-28T12:00")) == at("2026-03-28T22:00")
    assert at("2026-03-29T06:00") - at("2026-03-28T22:00") == 7 * 3600
    assert is_open(NIGHTS, at("2026-03-29T05:59"))
    twice = OffPeak(start="02:30", end="03:00", timezone="Europe/Berlin")
    assert is_open(twice, at("2026-10-25T02:30"))
    assert is_open(twice, at("2026-10-25T02:30", fold=1))
    left_out = OffPeak(start="02:15", end="02:45", timezone="Europe/Berlin")
    assert opens_at(left_out, at("2026-03-28T12:00")) > at("2026-03-28T12:00")


@given(
    st.integers(0, 2_000_000_000),
    st.times(),
    st.times(),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns"]),
)
def test_it_opens_within_a_day_or_two_and_not_before_now(now, start, end, zone):
    window = OffPeak(start=f"{start:%H:%M}", end=f"{end:%H:%M}", timezone=zone)
    opening = opens_at(window, now)
    assert now <= opening <= now + 49 * 3600
    assert (opening == now) == is_open(window, now)
