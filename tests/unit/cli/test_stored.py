"""The commands about stored jobs, against the fake system, which has no dispatcher."""

import asyncio
import json

from terminal import request_line

from backburner.cli.exit_codes import ExitCode
from backburner_schemas import keys
from backburner_schemas.job import Counts, Cursor, Estimate, InputError, JobState, Summary, Waiting, WaitReason


def stored(terminal, *options):
    path = terminal.file(request_line("r1"), request_line("r2"))
    return terminal("submit", path, "--stored", *options).stdout.strip()


def shown(terminal, job):
    return json.loads(terminal("status", job, "--json").stdout)


def get(terminal, key):
    return asyncio.run(terminal.system.storage.get(key))


def test_a_stored_submit_sends_nothing_and_says_what_it_waits_for(terminal):
    terminal.system.hold()
    job = stored(terminal, "--window", "22:00-06:00", "--timezone", "Europe/Berlin", "--deadline", "90d")
    assert not terminal.system._waiting
    assert get(terminal, keys.pending("default", job)) is not None
    manifest = json.loads(get(terminal, keys.manifest("default", job)).data)
    assert manifest["window"] == {"start": "22:00", "end": "06:00", "timezone": "Europe/Berlin"}
    found = shown(terminal, job)
    assert (found["status"], found["waiting"]["reason"]) == ("validating", "dispatcher")
    assert "waiting   dispatcher: no dispatcher" in terminal("status", job).stdout


def test_a_window_that_cannot_be_is_refused(terminal):
    path = terminal.file(request_line("r1"))
    for options, said in (
        (["--stored", "--window", "22-6"], "start"),
        (["--stored", "--window", "22:00"], "22:00-06:00"),
        (["--stored", "--window", "22:00-06:00", "--timezone", "Berlin"], "IANA"),
        (["--window", "22:00-06:00"], "--stored"),
        (["--stored", "--timezone", "UTC"], "window"),
    ):
        assert said in terminal("submit", path, *options, code=ExitCode.USAGE).stderr, options


def test_the_same_input_under_the_same_id_is_the_same_job_and_another_is_refused(terminal):
    job = stored(terminal, "--job-id", "mine")
    assert stored(terminal, "--job-id", "mine") == job == "mine"
    before = get(terminal, keys.stored_input("default", "mine")).data
    other = terminal.file(request_line("r3"))
    result = terminal("submit", other, "--stored", "--job-id", "mine", code=ExitCode.USAGE)
    assert "another input" in result.stderr
    assert get(terminal, keys.stored_input("default", "mine")).data == before


def test_skipped_lines_are_left_out_of_what_is_stored(terminal):
    path = terminal.file(request_line("r1"), "{", request_line("r2"))
    job = terminal("submit", path, "--stored", "--skip-invalid").stdout.strip()
    assert len(get(terminal, keys.stored_input("default", job)).data.splitlines()) == 2
    assert json.loads(get(terminal, keys.manifest("default", job)).data)["stored"]["skipped"] == 1


def test_bad_lines_are_told_before_anything_is_stored(terminal):
    path = terminal.file(request_line("r1"), "{")
    result = terminal("submit", path, "--stored", "--job-id", "bad", code=ExitCode.USAGE)
    assert result.stderr.startswith("line 2:")
    assert get(terminal, keys.stored_input("default", "bad")) is None
    assert get(terminal, keys.open_job("default", "bad")) is None


def test_pause_and_resume_set_and_take_away_the_marker(terminal):
    job = stored(terminal)
    assert f"{job} is paused" in terminal("pause", job).stderr
    assert get(terminal, keys.paused("default", job)) is not None
    terminal("pause", job)
    assert f"{job} goes on" in terminal("resume", job).stderr
    assert get(terminal, keys.paused("default", job)) is None
    terminal("resume", job)


def test_a_job_that_is_not_stored_cannot_be_paused(terminal):
    terminal.system.hold()
    job = terminal.submitted("r1")
    assert "cannot be paused" in terminal("pause", job, code=ExitCode.USAGE).stderr


def test_status_shows_why_it_waits_what_it_is_expected_to_take_and_what_was_wrong(terminal):
    job = stored(terminal)
    estimate = Estimate(prefix_hit_ratio=0.953, prompt_tokens=12_000, completion_tokens=512, seconds=95)
    waiting = Waiting(reason=WaitReason.BACKLOG, detail="enough to do")
    cursor = Cursor(count=1, total=2, waiting=waiting, estimate=estimate)
    terminal.put(keys.cursor("default", job), cursor.model_dump_json().encode())
    lines = terminal("status", job).stdout
    assert "backlog: enough to do" in lines
    assert "12,000 tokens in, 512 out at most, 1m35s; 95% of the requests" in lines
    errors = (InputError(code="invalid_json", message="not a JSON object", line=7),)
    summary = Summary(state=JobState.FAILED, counts=Counts(), finalized_at=2.0, errors=errors)
    terminal.put(keys.summary("default", job), summary.model_dump_json().encode())
    assert "line 7: not a JSON object" in terminal("status", job).stdout
    assert terminal("watch", job, code=ExitCode.ENDED_BADLY)
