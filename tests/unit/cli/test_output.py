"""Where records go."""

from pathlib import Path

import pytest

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
