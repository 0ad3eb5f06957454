"""Deadlines as people type them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from backburner.cli.deadline import parse_deadline, parse_duration

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("24h", 86_400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (" 1d 2h ", 93_600),
        ("15M", 900),
    ],
)
def test_a_duration_is_read(text, seconds):
    assert parse_duration(text) == timedelta(seconds=seconds)
    assert parse_deadline(text, now=NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "30", "3 hours", "-5m", "0s", "1e3s", "99999d", "30m!", "tomorrow", "٣m"])
def test_what_is_no_duration_is_refused_with_the_right_form(text):
    with pytest.raises(ValueError, match=r"write one such as|at most"):
        parse_duration(text)
    with pytest.raises(ValueError, match=r"write a duration such as|at most"):
        parse_deadline(text, now=NOW)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-31T18:00:00Z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31t18:00:00z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31T18:00:00.250+02:00", datetime(2027, 1, 31, 18, 0, 0, 250_000, timezone(timedelta(hours=2)))),
    ],
)
def test_a_time_is_read_as_utc(text, moment):
    found = parse_deadline(text, now=NOW)
    assert found == moment
    assert found.tzinfo is UTC


def test_a_time_without_its_zone_is_refused():
    with pytest.raises(ValueError, match="add Z or an offset"):
        parse_deadline("2027-01-31T18:00:00", now=NOW)


def test_a_time_that_has_passed_is_refused():
    with pytest.raises(ValueError, match="has passed"):
        parse_deadline("2026-05-04T11:59:59Z", now=NOW)
