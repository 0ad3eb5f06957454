"""`jobs` by pages and by status; what -q leaves out."""

import json
import os
import sys

import pytest
from terminal import records, request_line

from backburner.cli.app import app
from backburner.cli.exit_codes import ExitCode


@pytest.fixture
def names(terminal):
    """Ids of five jobs, the newest first."""
    return [terminal.submitted(f"r{number}") for number in range(5)][::-1]


def listed(terminal, *args):
    return [one["id"] for one in records(terminal("jobs", "--json", *args).stdout)]


def test_pages_follow_one_another(terminal, names):
    first = terminal("jobs", "--json", "--limit", "2")
    assert [one["id"] for one in records(first.stdout)] == names[:2]
    assert f"--after {names[1]} shows the next" in first.stderr
    assert listed(terminal, "--limit", "2", "--after", names[1]) == names[2:4]
    assert listed(terminal, "--after", names[3]) == names[4:]


def test_all_are_all(terminal, names):
    result = terminal("jobs", "--json", "--limit", "1", "--all")
    assert [one["id"] for one in records(result.stdout)] == names
    assert result.stderr == ""


def test_a_status_is_looked_for_beyond_the_first_page(terminal):
    old = terminal.submitted("r0")
    terminal.system.hold()
    new = [terminal.submitted(f"r{number}") for number in (1, 2)]
    assert listed(terminal, "--limit", "1", "--status", "completed") == [old]
    assert listed(terminal, "--status", "in_progress") == new[::-1]
    assert listed(terminal, "--status", "completed", "--status", "in_progress") == [*new[::-1], old]
    assert terminal("jobs", "--status", "failed").stderr == "there are none\n"


def test_a_status_that_is_none_is_refused_with_those_that_are(terminal):
    told = terminal("jobs", "--status", "running", code=2).stderr
    assert "in_progress" in told


def test_quiet_leaves_data_warnings_and_errors(terminal):
    path = terminal.file(request_line("r1"), "{")
    result = terminal("submit", path, "--skip-invalid", "--wait", "-q")
    assert result.stdout.startswith("batch_")
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["line 2", "warning"]
    assert terminal("-q", "jobs", "--status", "failed").stderr == ""
    assert terminal("status", "nope", "-q", code=4).stderr.startswith("error: ")
    assert json.loads(terminal("-q", "status", result.stdout.strip(), "--json").stdout)["status"] == "completed"


@pytest.mark.parametrize("unknown", ["nope", "batch_1", "stream-nope"])
def test_a_page_behind_what_is_not_there_is_an_error_that_names_it(terminal, names, unknown):
    result = terminal("jobs", "--after", unknown, code=ExitCode.NOT_FOUND)
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: there is no {unknown} behind which the list could go on; check the id")


def test_a_last_page_is_none_and_no_error(terminal, names):
    assert terminal("jobs", "--after", names[-1]).stderr == "there are none\n"


def test_a_reader_that_has_enough_ends_the_list_quietly(terminal, names, monkeypatch, capfd):
    """As `backburner jobs | head -1` does."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as ended:
            app(["jobs"], obj=terminal.session())
    assert ended.value.code == ExitCode.OK
    assert capfd.readouterr().err == ""
