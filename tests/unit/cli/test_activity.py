"""What is shown of a command that takes a while."""

import io
import threading

import pytest
from rich.console import Console

from backburner.cli.terminal import activity as shown
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity, Pace
from backburner.cli.terminal.sending import sending_line


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(shown, "_FIRST_SECONDS", 0.0)
    monkeypatch.setattr(shown, "_LOOK_SECONDS", 0.01)


def test_lines_come_after_a_second_at_news_and_now_and_then():
    pace = Pace(100.0)
    said = [
        (now, line)
        for now in range(100, 190)
        if (line := pace.due("reading" if now < 103 else "sending", float(now))) is not None
    ]
    assert said == [(101, "reading"), (106, "sending"), (136, "sending (36s)"), (166, "sending (1m06s)")]


@pytest.mark.parametrize(
    ("sent", "total", "line"),
    [
        (50, None, "sending: 50"),
        (50, 100, "sending: 50 of 100"),
        (2050, 10_050, "sending: 2,050 of 10,050, 40s left"),
        (10_050, 10_050, "sending: 10,050 of 10,050"),
    ],
)
def test_the_time_left_is_told_where_the_total_is_known(sent, total, line):
    assert sending_line(sent, total, begun_at=10.0, begun_with=50, now=20.0) == line


def test_a_store_that_does_not_answer_is_told_though_nothing_moves(at_once, monkeypatch, terminal):
    """No terminal: lines."""
    said = threading.Event()
    monkeypatch.setattr(show, "say", lambda text: said.set() if text == "reading the job's status" else None)

    async def hang_until_it_was_said(*_, **__):
        import asyncio

        assert await asyncio.to_thread(said.wait, 30)

    job = terminal.submitted("r1")
    monkeypatch.setattr(terminal.system.storage, "measure_clock", hang_until_it_was_said)
    scan = terminal.system.storage.get

    async def slow(*args, **options):
        await hang_until_it_was_said()
        return await scan(*args, **options)

    monkeypatch.setattr(type(terminal.system.storage), "get", lambda _self, *args, **options: slow(*args, **options))
    assert "completed" in terminal("status", job).stdout
    assert said.is_set()


@pytest.mark.parametrize(("no_color", "width"), [(False, 80), (True, 80), (True, 12)])
def test_a_terminal_has_one_line_which_goes_away(at_once, monkeypatch, no_color, width):
    drawn = threading.Event()

    class Screen(io.StringIO):
        def write(self, text):
            if "reading" in text:
                drawn.set()
            return super().write(text)

    screen = Screen()
    console = Console(file=screen, force_terminal=True, width=width, no_color=no_color)
    monkeypatch.setattr(show, "console", lambda: console)
    with Activity("reading the many, many jobs of this tenant"):
        assert drawn.wait(30)
    text = screen.getvalue()
    assert text.endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # The cursor is back, and the line is empty.
    assert ("\x1b[32m" in text) is not no_color
    # It never takes a second line.
    assert text.count("\n") == text.count("\x1b[1A")


@pytest.mark.parametrize("name", ["prompts[/v2].jsonl", "[link=https://elsewhere.example]click[/link]"])
def test_a_name_in_brackets_is_shown_as_it_is(at_once, monkeypatch, name):
    drawn = threading.Event()

    class Screen(io.StringIO):
        def write(self, text):
            if name in text:
                drawn.set()
            return super().write(text)

    console = Console(file=Screen(), force_terminal=True, width=80)
    monkeypatch.setattr(show, "console", lambda: console)
    with Activity(f"reading {name}") as activity:
        assert drawn.wait(5)
        drawn.clear()
        activity.update(f"still reading {name}")
        assert drawn.wait(5)


@pytest.mark.parametrize("quiet", [True])
def test_nothing_is_shown_where_nothing_shall_be(at_once, capsys, quiet):
    with show.quietly(quiet), Activity("reading") as activity:
        activity.update("sending")
        activity.rest()
    assert capsys.readouterr().err == ""


def test_what_came_begins_a_new_wait(at_once, monkeypatch):
    said, again = [], threading.Semaphore(0)
    monkeypatch.setattr(show, "say", lambda text: (said.append(text), again.release()))
    with Activity("waiting for records") as activity:
        assert again.acquire(timeout=30)
        activity.rest()
        assert again.acquire(timeout=30)
    assert said == ["waiting for records"] * 2
