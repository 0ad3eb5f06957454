"""Inputs that are no plain file: stdin, pipes, and what is packed."""

import asyncio
import gzip
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from terminal import records, request_line

from backburner.cli import input_file
from backburner.cli.commands import dlq
from backburner.cli.input_file import read_prompt, readable_twice
from backburner.cli.terminal import show
from backburner.cli.terminal.activity import Activity
from backburner_schemas.errors import RequestRefused, SettingsError

LINES = "".join(request_line(f"r{number}") + "\n" for number in range(50)).encode()


class Stdin:
    """A stdin of these bytes."""

    def __init__(self, data, *, tty=False):
        self.buffer = io.BytesIO(data)
        self.buffer.isatty = lambda: tty


def gzipped(terminal, data, name="input.jsonl.gz"):
    path = terminal.folder / name
    path.write_bytes(data)
    return path


def test_a_gzipped_file_is_submitted_and_nothing_of_it_is_left(terminal, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(input_file.tempfile, "tempdir", str(temporary))
    # Two members, as `cat a.gz b.gz` makes them.
    path = gzipped(terminal, gzip.compress(LINES[:6000]) + gzip.compress(LINES[6000:]))
    job = terminal("submit", path).stdout.strip()
    assert len(records(terminal("results", job).stdout)) == 50
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("command", [["plan", "--json"], ["submit"]])
def test_stdin_may_be_gzipped(terminal, command):
    assert terminal(*command[:1], "-", *command[1:], stdin=gzip.compress(LINES)).stdout
    assert terminal.system.published == (50 if command == ["submit"] else 0)


def test_join_and_retry_take_gzipped_inputs(terminal):
    path = gzipped(terminal, gzip.compress(LINES))
    terminal.system.fail(["r7"], RequestRefused())
    job = terminal("submit", path, "--wait").stdout.strip()
    joined = records(terminal("results", job, "--join", path).stdout)
    assert all(record["request"]["custom_id"] == record["custom_id"] for record in joined)
    assert "1 request of" in terminal("retry", job, "--input", path).stderr


def test_a_damaged_archive_is_named_and_nothing_is_sent(terminal):
    path = gzipped(terminal, gzip.compress(LINES)[:-20])
    result = terminal("submit", path, code=2)
    assert result.stderr.startswith(f"error: {path} cannot be unpacked")
    assert terminal.system.published == 0


def test_a_bomb_is_not_unpacked_beyond_a_bound(terminal, monkeypatch):
    monkeypatch.setattr(input_file, "_MAX_COPY_BYTES", 3 << 20)
    path = gzipped(terminal, gzip.compress(b" " * (20 << 20)))
    assert "holds over 3,145,728 bytes" in terminal("submit", path, code=2).stderr


def test_a_pipe_is_read(terminal):
    pipe = terminal.folder / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(LINES,))
    writer.start()
    assert records(terminal("plan", pipe, "--json").stdout)[0]["requests"] == 50
    writer.join()


def test_a_full_disk_is_told_with_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(input_file.tempfile, "tempdir", str(tmp_path))
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(SettingsError, match=f"{tmp_path}.*TMPDIR"):
        input_file._copy(io.BytesIO(LINES), full, "stdin", Activity("reading"))


def test_a_folder_for_temporary_files_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(input_file.tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setattr(input_file.sys, "stdin", Stdin(LINES))
    with pytest.raises(SettingsError, match=r"gone.*TMPDIR"), readable_twice("-"):
        pass


@pytest.mark.parametrize("read", [read_prompt, lambda: readable_twice("-").__enter__()])
def test_a_closed_stdin_is_an_error_with_its_remedy(monkeypatch, read):
    monkeypatch.setattr(input_file.sys, "stdin", None)
    with pytest.raises(SettingsError, match="stdin is closed"):
        read()


def test_a_prompt_is_read_up_to_a_bound_and_has_to_be_a_text(monkeypatch):
    monkeypatch.setattr(input_file, "_MAX_PROMPT_BYTES", 10)
    monkeypatch.setattr(input_file.sys, "stdin", Stdin(b"x" * 100))
    with pytest.raises(SettingsError, match="over 10 bytes"):
        read_prompt()
    monkeypatch.setattr(input_file.sys, "stdin", Stdin(b"\xff\xfe"))
    with pytest.raises(SettingsError, match="UTF-8"):
        read_prompt()


def test_a_terminal_is_told_what_is_waited_for(monkeypatch, capsys):
    monkeypatch.setattr(input_file.sys, "stdin", Stdin(b"a prompt", tty=True))
    assert read_prompt() == "a prompt"
    assert "reading the prompt from this terminal; Ctrl-D" in capsys.readouterr().err
    monkeypatch.setattr(input_file.sys, "stdin", Stdin(LINES, tty=True))
    with readable_twice("-"):
        assert "reading requests from this terminal" in capsys.readouterr().err


def test_a_signal_ends_a_command_that_waits_for_its_input(tmp_path):
    """The first one, at once, and no copy of what was read stays."""
    cases = [
        (["submit", "-"], signal.SIGINT, 130),
        (["enqueue", "-"], signal.SIGINT, 130),
        (["submit", "-"], signal.SIGTERM, 143),
    ]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "BACKBURNER_STORE_URL": f"file://{tmp_path}/store"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "backburner", *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        for args, _, _ in cases
    ]
    try:
        for process, (args, number, code) in zip(started, cases, strict=True):
            assert b"waiting for" in process.stderr.readline()  # It says so once it has waited for a second.
            process.send_signal(number)
            assert process.wait(30) == code, args
    finally:
        for process in started:
            process.kill()
            process.communicate()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("backburner-")] == []


def test_no_event_loop_runs_while_the_user_is_asked(terminal, monkeypatch):
    """Ctrl-C would have to wait for the answer."""
    asked = []

    def confirm(_question, **_):
        asked.append(asyncio._get_running_loop())
        return False

    monkeypatch.setattr(dlq, "asked", lambda: True)
    monkeypatch.setattr(dlq.typer, "confirm", confirm)
    assert terminal("dlq", "purge", "--all", code=1).stderr == "nothing was removed\n"
    assert asked == [None]


def test_show_is_quiet_only_within_its_block(capsys):
    with show.quietly(True):
        show.say("hidden")
        show.warn("shown")
    show.say("again")
    assert capsys.readouterr().err == "warning: shown\nagain\n"
