"""Deadlines as people type them."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from terminal import request_line

from backburner.cli.deadline import parse_deadline, parse_duration
from backburner.cli.exit_codes import ExitCode
from backburner.storage.parse import read_manifest


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
    # Not a time: when it is, the store's clock tells.
    assert parse_deadline(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "h", "30", "3 hours", "-5m", "0s", "1e3s", "99999d", "30m!", "tomorrow", "٣m"])
def test_what_is_no_duration_is_refused_with_the_right_form(text):
    with pytest.raises(ValueError, match=r"write one such as|at most"):
        parse_duration(text)
    with pytest.raises(ValueError, match=r"write a duration such as|at most"):
        parse_deadline(text)


def test_a_time_before_all_others_is_refused():
    with pytest.raises(ValueError, match="write a duration"):
        parse_deadline("0001-01-01T00:00:00+14:00")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-01-31T18:00:00Z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31t18:00:00z", datetime(2027, 1, 31, 18, tzinfo=UTC)),
        ("2027-01-31T18:00:00.250+02:00", datetime(2027, 1, 31, 18, 0, 0, 250_000, timezone(timedelta(hours=2)))),
    ],
)
def test_a_time_is_read_as_utc(text, moment):
    found = parse_deadline(text)
    assert found == moment
    assert found.tzinfo is UTC


def test_a_time_without_its_zone_is_refused():
    with pytest.raises(ValueError, match="add Z or an offset"):
        parse_deadline("2027-01-31T18:00:00")


def test_a_jobs_deadline_is_a_duration_from_its_creation_by_the_stores_clock(terminal):
    job = terminal("submit", terminal.file(request_line("a")), "--deadline", "30m").stdout.strip()
    manifest = asyncio.run(read_manifest(terminal.system.storage, "default", job))
    assert manifest.deadline - manifest.created_at == 1800


@pytest.mark.parametrize("command", [["submit", "FILE"], ["enqueue", "hello"]])
def test_a_time_that_has_passed_is_refused(terminal, command):
    path = terminal.file(request_line("a"))
    given = [path if word == "FILE" else word for word in command]
    found = terminal(*given, "--deadline", "2026-05-04T11:59:59Z", code=ExitCode.USAGE)
    assert "passed already" in found.stderr
