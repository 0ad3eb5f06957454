"""Where records go."""

import io
import json
import sys
from pathlib import Path

import pytest
from terminal import records, request_line

from backburner.cli.terminal.output import records_to
from backburner_schemas.errors import SettingsError


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "out.jsonl"
    with records_to(path) as write:
        write(b'{"a":1}')
        assert not path.exists()
        write(b'{"a":2}')
    assert path.read_bytes() == b'{"a":1}\n{"a":2}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_there_before_stays_when_writing_breaks_off(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("before")

    def break_off():
        with records_to(path) as write:
            write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_two_that_write_one_file_at_once_leave_each_other_alone(tmp_path):
    path, mine = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    mine.write_text("a user's own")
    with records_to(path) as write:
        write(b"{}")
        with records_to(path) as write_later:
            write_later(b'{"later":1}')
        assert path.read_bytes() == b'{"later":1}\n'
    assert path.read_bytes() == b"{}\n"
    assert mine.read_text() == "a user's own"
    assert sorted(tmp_path.iterdir()) == [path, mine]


@pytest.mark.parametrize("place", ["missing/out.jsonl", "."])
def test_a_place_that_cannot_take_a_file_is_an_error_that_names_it(tmp_path, place):
    with pytest.raises(SettingsError, match="-o"), records_to(tmp_path / place):
        pass


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    with records_to(Path("/dev/null")) as write:
        write(b"gone")
    assert not Path("/dev/null").is_file()


def test_a_device_that_is_full_is_named():
    def fill():
        with records_to(Path("/dev/full")) as write:
            write(b"too much")

    with pytest.raises(SettingsError, match="/dev/full cannot be written to: No space left"):
        fill()


def test_an_error_of_whoever_makes_the_records_is_not_taken_for_one_of_the_file(tmp_path):
    def break_off():
        with records_to(tmp_path / "out.jsonl"):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        break_off()


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path, there):
    (tmp_path / "kept").mkdir()
    target, link = tmp_path / "kept" / "answers.jsonl", tmp_path / "out.jsonl"
    if there:
        target.write_text("before")
    link.symlink_to("second.jsonl")
    (tmp_path / "second.jsonl").symlink_to(target)
    with records_to(link) as write:
        write(b"{}")
    assert link.is_symlink()
    assert target.read_bytes() == b"{}\n"
    assert [path.name for path in target.parent.iterdir()] == ["answers.jsonl"]


def test_links_in_a_circle_are_an_error_that_names_them(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(SettingsError, match="leads in a circle"), records_to(tmp_path / "a"):
        pass


def test_an_open_file_is_written_through_its_number(tmp_path):
    with (tmp_path / "open").open("wb") as file:
        place = Path(f"/proc/self/fd/{file.fileno()}")
        with records_to(place) as write:
            write(b"{}")
        assert place.is_symlink()
    assert (tmp_path / "open").read_bytes() == b"{}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["open"]


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/proc/self/fd/1"])
def test_stdout_can_be_named(capfdbinary, name):
    with records_to(Path(name)) as write:
        write(b"{}")
    assert capfdbinary.readouterr().out == b"{}\n"


RECORD = json.dumps({"text": "\x1b[31m caf\u00e9 \x7f \u009b2J \u2713"}, ensure_ascii=False).encode()


@pytest.mark.parametrize("on_terminal", [True, False])
def test_what_a_terminal_would_obey_is_escaped_on_one_and_nowhere_else(monkeypatch, on_terminal):
    shown = io.BytesIO()
    stdout = io.TextIOWrapper(shown)
    monkeypatch.setattr(stdout, "isatty", lambda: on_terminal, raising=False)
    monkeypatch.setattr(sys, "stdout", stdout)
    with records_to(Path("-")) as write:
        write(RECORD)
    line = shown.getvalue()
    assert json.loads(line) == json.loads(RECORD)
    if on_terminal:
        assert line.decode() == '{"text": "\\u001b[31m café \\u007f \\u009b2J ✓"}\n'
    else:
        assert line == RECORD + b"\n"


def test_records_on_stdout_come_alone(terminal):
    path = terminal.file(request_line("r1"))
    result = terminal("submit", path, "--wait", "-o", "-")
    assert [record["custom_id"] for record in records(result.stdout)] == ["r1"]
    assert result.stderr.startswith("batch_")
