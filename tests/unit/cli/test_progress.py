"""What is shown of a job that someone watches."""

import io
import itertools

import pytest
from rich.console import Console

from backburner.cli.terminal import progress as shown
from backburner.cli.terminal.bar import Bar
from backburner.cli.terminal.meter import Meter, Reading, describe, duration
from backburner.cli.terminal.progress import Lines
from backburner_schemas.job import Counts, JobState
from backburner_schemas.status import BatchStatus, Usage


def status(done, *, failed=0, total=100, tokens=0, sealed=True, state=JobState.IN_PROGRESS):
    return BatchStatus(
        id="batch_1",
        tenant="default",
        status=state,
        request_counts=Counts(total=total, completed=done, failed=failed),
        usage=Usage(output_tokens=tokens),
        created_at=0,
        expires_at=1,
        sealed=sealed,
    )


def test_rates_and_the_time_left_come_from_what_happened_since():
    meter = Meter()
    meter.read(status(0), 100.0)
    reading = meter.read(status(18, failed=2, tokens=500), 110.0)
    assert (reading.done, reading.failed, reading.tokens_per_second, reading.eta_seconds) == (20, 2, 50.0, 40.0)


def test_rates_are_those_of_the_last_minute():
    meter = Meter()
    for second in range(0, 600, 10):
        meter.read(status(0), float(second))
    reading = meter.read(status(10, tokens=600), 600.0)
    assert reading.tokens_per_second == 10.0


def test_nothing_is_guessed_from_one_look():
    reading = Meter().read(status(50, tokens=900), 5.0)
    assert reading.tokens_per_second is None
    assert reading.eta_seconds is None


def test_no_time_is_given_while_the_total_still_grows():
    meter = Meter()
    meter.read(status(0, sealed=False), 0.0)
    assert meter.read(status(10, sealed=False), 1.0).eta_seconds is None


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (44.6, "45s"), (200, "3m20s"), (7500, "2h05m")])
def test_a_duration_is_short(seconds, text):
    assert duration(seconds) == text


def test_lines_come_at_news_and_not_more_often_than_every_few_seconds(capsys, monkeypatch):
    clock = itertools.count(0, 2)
    monkeypatch.setattr(shown.time, "monotonic", lambda: float(next(clock)))
    lines, meter = Lines(), Meter()
    for done in (0, 1, 2, 3, 3, 3, 3):  # at 0, 2, 4, 6, … seconds
        lines.show(meter.read(status(done), 0.0))
    lines.show(meter.read(status(100, state=JobState.COMPLETED), 0.0))
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "in_progress: 0/100 requests, 0 failed",
        "in_progress: 3/100 requests, 0 failed",
        "completed: 100/100 requests, 0 failed",
    ]


def test_a_line_says_all_that_is_known():
    reading = Reading(JobState.IN_PROGRESS, 1200, 5000, 3, sealed=False, tokens_per_second=1234.5, eta_seconds=61)
    assert describe(reading) == "in_progress: 1,200/5,000+ requests, 3 failed, 1,234 tokens/s, 1m01s left"


def test_the_bar_shows_counts_rate_and_time_left():
    screen = io.StringIO()
    with Bar(Console(file=screen, force_terminal=True, width=120, no_color=True)) as bar:
        bar.show(Reading(JobState.IN_PROGRESS, 20, 64, 2, sealed=True, tokens_per_second=50.0, eta_seconds=40.0))
    for text in ("in_progress", "20/64", "2 failed", "50 tokens/s", "40s left"):
        assert text in screen.getvalue()


@pytest.mark.parametrize("width", [12, 20, 33, 50, 70, 80, 100, 200])
def test_the_bar_takes_one_line_on_any_terminal(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    with Bar(console) as bar:
        bar.show(Reading(JobState.IN_PROGRESS, 2_000, 64_000, 2, sealed=True, tokens_per_second=50.0, eta_seconds=4e4))
        (line,) = console.render_lines(bar._progress.get_renderable(), pad=False)
    text = "".join(segment.text for segment in line)
    assert ("2,000/64,000" in text) is (width >= 33)
    assert ("left" in text) is (width >= 50)


def test_quiet_and_dumb_terminals_get_no_bar(monkeypatch, capsys):
    screen = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(shown.show, "console", lambda: screen)
    with shown.show.quietly(True), shown.display() as display:
        display.show(Reading(JobState.IN_PROGRESS, 1, 2, 0, sealed=True, tokens_per_second=None, eta_seconds=None))
    monkeypatch.setenv("TERM", "dumb")
    with shown.display() as display:
        assert isinstance(display, Lines)
    assert (screen.file.getvalue(), capsys.readouterr().err) == ("", "")
