"""`dlq` and `retry`, against the fake system."""

import base64
import json

import pytest
from terminal import records, request_line

from backburner.cli.exit_codes import ExitCode
from backburner_schemas import keys
from backburner_schemas.letter import StoredDeadLetter


def letter(**changes):
    fields = {"code": "unaddressable", "message": "odd", "attempts": 1, "worker": "w", "queue": "q", "position": "0-1"}
    made = StoredDeadLetter.model_validate({**fields, "failed_at": 1_777_896_000.0, **changes})
    return made.model_dump_json(exclude_none=True).encode()


@pytest.fixture
def job(terminal):
    """A job of three with two letters; the engine is mended by now."""
    terminal.system.fail({"b", "c"})
    found = terminal.submitted("a", "b", "c")
    terminal.system.mend()
    return found


def test_an_empty_list_says_so_and_prints_no_data(terminal):
    result = terminal("dlq", "list")
    assert (result.stdout, result.stderr) == ("", "there are no dead letters\n")
    assert terminal("dlq", "list", "--json").stdout == ""
    assert "of job nobody" in terminal("dlq", "list", "--job", "nobody").stderr


def test_the_list_is_a_table_for_people_and_lines_for_machines(terminal, job):
    header, *rows = terminal("dlq", "list").stdout.splitlines()
    assert header.split() == ["ID", "CUSTOM_ID", "CODE", "ATTEMPTS", "FAILED", "MESSAGE"]
    assert [row.split()[:4] for row in rows] == [
        [f"{job}/1", "b", "engine_error", "1"],
        [f"{job}/2", "c", "engine_error", "1"],
    ]
    found = records(terminal("dlq", "list", "--json").stdout)
    assert [one["id"] for one in found] == [f"{job}/1", f"{job}/2"]
    assert found[0]["envelope"]["body"]["messages"][0]["content"] == "question of b"
    assert (found[0]["problem"], found[0]["stale"], found[0]["raw"]) == (None, False, None)


def test_a_list_that_was_cut_says_so(terminal, job):
    result = terminal("dlq", "list", "--limit", "1")
    assert len(result.stdout.splitlines()) == 2
    assert "there are more than 1" in result.stderr
    assert len(records(terminal("dlq", "list", "--limit", "1", "--json").stdout)) == 1


def test_long_and_hostile_texts_stay_on_their_line(terminal, job):
    hostile = "\x1b[31m" + "line\nfeed\r" * 50
    request = json.loads(request_line("x")) | {"custom_id": hostile[:500]}
    envelope = {"tenant": "default", "job": "j", "index": 1, **request}
    terminal.put(keys.dead_letter("default", "j", 1), letter(message=hostile * 100, envelope=envelope))
    result = terminal("dlq", "list", "--job", "j")
    assert len(result.stdout.splitlines()) == 2
    assert "\x1b" not in result.stdout
    assert all(len(row) < 250 for row in result.stdout.splitlines())
    shown = terminal("dlq", "show", "j/1").stdout
    assert "\x1b" not in shown
    assert shown.count("feed") >= 5_000
    assert records(terminal("dlq", "show", "j/1", "--json").stdout)[0]["message"] == hostile * 100


def test_show_tells_all_of_a_letter_and_its_request(terminal, job):
    shown = terminal("dlq", "show", f"{job}/1").stdout
    for text in (f"{job}/1", "default", "engine_error", "told to fail", "/v1/chat/completions", '"question of b"'):
        assert text in shown
    (found,) = records(terminal("dlq", "show", f"{job}/1", "--json").stdout)
    assert found["custom_id"] == "b"


def test_show_of_what_is_not_there_is_not_found(terminal, job):
    assert "dlq list" in terminal("dlq", "show", f"{job}/0", code=ExitCode.NOT_FOUND).stderr
    for hostile in ("../../x", "a\nb", "dead/../x", "x" * 5_000):
        stderr = terminal("dlq", "show", hostile, code=ExitCode.USAGE).stderr
        assert "JOB/INDEX" in stderr
        assert len(stderr) < 1_000


def test_junk_is_listed_apart_and_shown_with_its_bytes(terminal):
    key = keys.unaddressed_letter("backburner.fake.normal", "0-7")
    terminal.put(key, letter(raw=base64.b64encode(b"\xff{junk\x1b").decode()))
    listed = terminal("dlq", "list")
    assert listed.stdout == ""
    assert "belong to no request left letters; `backburner dlq list --unaddressed` shows them" in listed.stderr
    assert terminal("dlq", "list", "--unaddressed").stdout.splitlines()[1].startswith(key)
    shown = terminal("dlq", "show", key).stdout
    assert "\\xff{junk" in shown
    assert "\x1b" not in shown
    assert "it belongs to no request" in shown
    (found,) = records(terminal("dlq", "list", "--unaddressed", "--json").stdout)
    assert base64.b64decode(found["raw"]) == b"\xff{junk\x1b"
    assert "omit --job" in terminal("dlq", "list", "--unaddressed", "--job", "j", code=ExitCode.USAGE).stderr


def test_a_broken_letter_costs_one_warning(terminal, job):
    for index in range(5, 9):
        terminal.put(keys.dead_letter("default", job, index), b"{broken")
    result = terminal("dlq", "list")
    assert len(result.stdout.splitlines()) == 7
    assert result.stderr.count("warning") == 1
    assert "4 of them cannot be redriven" in result.stderr


def test_redrive_prints_the_new_jobs_id(terminal, job):
    result = terminal("dlq", "redrive", "--job", job)
    made = result.stdout.strip()
    assert {one["custom_id"] for one in records(terminal("results", made).stdout)} == {"b", "c"}
    assert f"2 dead letters of {job} went into the new job {made}" in result.stderr
    again = terminal("dlq", "redrive", "--all")
    assert (again.stdout, again.stderr) == ("", "there are no dead letters to redrive\n")


def test_redrive_gives_one_json_object(terminal, job):
    terminal.put(keys.dead_letter("default", job, 9), b"{broken")
    result = terminal("dlq", "redrive", "--all", "--deadline", "2h", "--json", code=ExitCode.ENDED_BADLY)
    found = json.loads(result.stdout)
    assert [(one["parent"], one["requests"]) for one in found["jobs"]] == [(job, 2)]
    assert (found["republished"], found["stale"], found["kept_total"]) == (0, 0, 1)
    assert found["kept"][0]["id"] == f"{job}/9"
    assert f"{job}/9 stays: it cannot be read" in result.stderr
    status = json.loads(terminal("status", found["jobs"][0]["id"], "--json").stdout)
    assert status["expires_at"] - status["created_at"] == pytest.approx(7200, abs=2)


def test_redrive_of_a_stale_letter_passes_it_over(terminal, job):
    envelope = {"tenant": "default", "job": job, "index": 0, **json.loads(request_line("a"))}
    terminal.put(keys.dead_letter("default", job, 0), letter(envelope=envelope))
    assert len(terminal("dlq", "list").stdout.splitlines()) == 3
    assert "(stale)" in terminal("dlq", "list", "--stale").stdout
    result = terminal("dlq", "redrive", "--id", f"{job}/0")
    assert result.stdout == ""
    assert "1 dead letter skipped" in result.stderr


@pytest.mark.parametrize("name", ["redrive", "purge"])
def test_exactly_one_choice_is_needed(terminal, name):
    for options in ([], ["--all", "--job", "j"]):
        assert "exactly one of --job, --id, --all" in terminal("dlq", name, *options, code=ExitCode.USAGE).stderr
    terminal("dlq", name, "--job", "../../x", code=ExitCode.USAGE)


def test_purge_needs_a_yes(terminal, job):
    result = terminal("dlq", "purge", "--all", code=ExitCode.USAGE)
    assert "--yes" in result.stderr
    assert len(terminal("dlq", "list").stdout.splitlines()) == 3


def test_purge_asks_on_a_terminal(terminal, job, monkeypatch):
    monkeypatch.setattr("backburner.cli.commands.dlq.asked", lambda: True)
    result = terminal("dlq", "purge", "--job", job, stdin="n\n", code=ExitCode.ENDED_BADLY)
    assert "nothing was removed" in result.stderr
    terminal("dlq", "purge", "--job", job, stdin="", code=ExitCode.INTERRUPTED)
    assert f"Remove the dead letters of job {job} for good?" in result.stderr
    assert "removed 2 dead letters" in terminal("dlq", "purge", "--job", job, stdin="y\n").stderr


def test_purge_removes_and_counts(terminal, job):
    assert "removed 1 dead letter\n" in terminal("dlq", "purge", "--id", f"{job}/1", "--yes").stderr
    terminal("dlq", "purge", "--id", f"{job}/1", "--yes", code=ExitCode.NOT_FOUND)
    assert json.loads(terminal("dlq", "purge", "--all", "-y", "--json").stdout) == {"removed": 1}
    terminal.put(keys.unaddressed_letter("q", "0-1"), letter(raw="AAAA"))
    assert "removed 1" in terminal("dlq", "purge", "--unaddressed", "--yes").stderr


def test_another_tenants_letters_are_another_tenants(terminal, job):
    assert terminal("dlq", "list", "--tenant", "acme").stdout == ""
    terminal("dlq", "show", f"{job}/1", "--tenant", "acme", code=ExitCode.NOT_FOUND)
    assert "no dead letters" in terminal("dlq", "redrive", "--job", job, "--tenant", "acme").stderr


# --- retry ------------------------------------------------------------------------------------------------


def test_retry_prints_the_new_jobs_id(terminal, job):
    result = terminal("retry", job, "--input", terminal.folder / "input.jsonl", "--priority", "low")
    made = result.stdout.strip()
    assert f"2 requests of {job} run again" in result.stderr
    assert {one["custom_id"] for one in records(terminal("results", made).stdout)} == {"b", "c"}
    stderr = terminal("retry", made, code=ExitCode.USAGE).stderr
    assert "nothing to retry" in stderr


def test_retry_gives_one_json_object(terminal, job):
    found = json.loads(terminal("retry", job, "--json").stdout)
    assert (found["parent"], found["requests"], found["tenant"]) == (job, 2, "default")


def test_retry_of_a_job_that_runs_says_what_to_do(terminal):
    terminal.system.hold()
    job = terminal.submitted("a")
    assert f"backburner cancel {job}" in terminal("retry", job, code=ExitCode.USAGE).stderr
    terminal("retry", "absent", code=ExitCode.NOT_FOUND)
    terminal("retry", job, "--input", "absent.jsonl", code=ExitCode.USAGE)
    terminal("retry", job, "--priority", "retry", code=ExitCode.USAGE)
