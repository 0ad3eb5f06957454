"""The commands that make and follow jobs, against the fake system."""

import asyncio
import json
import re

import pytest
from terminal import Terminal, records, request_line

from backburner.cli.commands import results as results_command
from backburner.cli.exit_codes import ExitCode
from backburner.testing import FakeSystem
from backburner_schemas import keys
from backburner_schemas.errors import RequestRefused, StoreError
from backburner_schemas.segment import Line, encode_segment


def line(number, **changes):
    return request_line(f"r{number}", **changes)


def ids(count):
    return [f"r{number}" for number in range(count)]


# --- submit -----------------------------------------------------------------------------------------------


def test_submit_prints_the_id_and_nothing_else_on_stdout(terminal):
    result = terminal("submit", terminal.file(line(1), line(2)))
    assert re.fullmatch(r"batch_[0-9a-z]{26}\n", result.stdout)


def test_submit_gives_one_json_object_with_the_id(terminal):
    found = json.loads(terminal("submit", terminal.file(line(1)), "--json").stdout)
    assert found["id"].startswith("batch_")
    assert (found["tenant"], found["skipped"], found["warnings"]) == ("default", 0, [])


def test_submit_reads_stdin(terminal):
    job = terminal("submit", "-", stdin=line(1) + "\n" + line(2) + "\n").stdout.strip()
    assert len(records(terminal("results", job).stdout)) == 2


def test_the_options_of_submit_reach_the_job(terminal):
    args = ["--priority", "low", "--metadata", "run=7", "--tenant", "acme", "--job-id", "mine"]
    terminal.system.hold()
    terminal("submit", terminal.file(line(1)), *args, "--deadline", "2h")
    assert terminal.system._waiting[0].lane == "low"
    found = json.loads(terminal("status", "mine", "--tenant", "acme", "--json").stdout)
    assert (found["id"], found["tenant"], found["metadata"]) == ("mine", "acme", {"run": "7"})
    assert found["expires_at"] - found["created_at"] == pytest.approx(7200, abs=5)


def test_every_bad_line_is_told_with_its_number_and_nothing_is_sent(terminal):
    path = terminal.file(line(1), "{", line(1), line(2, url="/v1/nowhere"))
    result = terminal("submit", path, code=ExitCode.USAGE)
    *findings, error = result.stderr.splitlines()
    assert [finding.split(":")[0] for finding in findings] == ["line 2", "line 3", "line 4"]
    assert error.startswith("error: 3 lines of ")
    assert "--skip-invalid" in error
    assert result.stdout == ""
    assert terminal.system.published == 0


def test_of_many_bad_lines_the_first_twenty_are_told_and_the_number_of_the_others(terminal):
    result = terminal("submit", terminal.file(*("{" + " " * number for number in range(150))), code=ExitCode.USAGE)
    lines = result.stderr.splitlines()
    assert [found.startswith("line ") for found in lines] == [True] * 20 + [False] * 2
    assert lines[20] == "and 130 more"


def test_skip_invalid_sends_the_rest_and_says_what_was_left_out(terminal):
    result = terminal("submit", terminal.file(line(1), "{", line(2)), "--skip-invalid")
    assert "line 2: " in result.stderr
    assert "warning: 1 line was left out" in result.stderr
    assert terminal.system.published == 2
    assert result.stdout.startswith("batch_")


def test_a_file_that_is_not_there_is_named(terminal):
    result = terminal("submit", "nowhere.jsonl", code=ExitCode.USAGE)
    assert "nowhere.jsonl" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_place_for_results_that_cannot_be_is_found_before_anything_is_sent(terminal):
    out = terminal.folder / "missing" / "out.jsonl"
    terminal("submit", terminal.file(line(1)), "--wait", "-o", out, code=ExitCode.USAGE)
    assert terminal.system.published == 0


def test_waiting_says_how_it_ended_and_writes_the_results(terminal):
    out = terminal.folder / "out.jsonl"
    result = terminal("submit", terminal.file(line(1), line(2)), "--wait", "-o", out)
    assert "completed: 2 of 2 answered, 0 failed" in result.stderr
    assert {found["custom_id"] for found in records(out.read_text())} == {"r1", "r2"}
    assert result.stdout.count("\n") == 1


def test_a_job_that_completed_with_some_failures_is_fine_and_one_without_an_answer_is_not(terminal):
    terminal.system.fail(["r1"], RequestRefused())
    assert "1 failed" in terminal("submit", terminal.file(line(1), line(2)), "--wait").stderr
    terminal("submit", terminal.file(line(1)), "--wait", code=ExitCode.ENDED_BADLY)


def test_a_pool_without_a_worker_is_a_warning(tmp_path):
    system = FakeSystem(workers=False)
    asyncio.run(system._register(system.client))
    result = Terminal(system, tmp_path)("submit", Terminal(system, tmp_path).file(line(1)))
    assert result.stderr.startswith("warning: ")
    assert result.stdout.startswith("batch_")


def test_a_pool_that_is_not_there_is_an_error_that_lists_those_that_are(terminal):
    result = terminal("submit", terminal.file(line(1)), "--pool", "other", code=ExitCode.NOT_FOUND)
    assert "fake" in result.stderr


def test_the_same_id_with_another_input_is_refused(terminal):
    terminal("submit", terminal.file(line(1)), "--job-id", "mine")
    terminal("submit", terminal.file(line(2)), "--job-id", "mine", code=ExitCode.USAGE)


# --- looking at jobs --------------------------------------------------------------------------------------


def test_status_is_openais_batch_object(terminal):
    job = terminal.submitted(*ids(3))
    found = json.loads(terminal("status", job, "--json").stdout)
    assert (found["id"], found["object"], found["status"]) == (job, "batch", "completed")
    assert found["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


def test_status_for_people_has_the_same_facts(terminal):
    job = terminal.submitted(*ids(3))
    text = terminal("status", job).stdout
    for fact in (job, "completed", "3: 3 completed, 0 failed"):
        assert fact in text


@pytest.mark.parametrize("command", ["status", "watch", "results", "cancel", "reconcile"])
def test_a_job_that_is_not_there_ends_with_4(terminal, command):
    result = terminal(command, "nothing-of-the-kind", code=ExitCode.NOT_FOUND)
    assert "`backburner jobs`" in result.stderr


@pytest.mark.parametrize("command", ["status", "watch", "cancel", "reconcile"])
def test_a_single_request_is_no_job_and_the_error_says_what_reads_it(terminal, command):
    result = terminal(command, "single-1", code=ExitCode.NOT_FOUND)
    assert "`backburner results single-1`" in result.stderr


@pytest.mark.parametrize("command", ["watch", "wait"])
def test_watch_tells_the_progress_in_plain_lines_where_there_is_no_terminal(terminal, command):
    job = terminal.submitted(*ids(2))
    result = terminal(command, job)
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "completed: 2/2 requests, 0 failed",
        f"{job} completed: 2 of 2 answered, 0 failed",
    ]


def test_watch_ends_with_1_for_a_cancelled_job(terminal):
    terminal.system.hold()
    job = terminal.submitted(*ids(2))
    assert "cancel" in terminal("cancel", job).stderr
    asyncio.run(terminal.system.release())
    assert "cancelled" in terminal("watch", job, code=ExitCode.ENDED_BADLY).stderr


def test_cancel_says_how_long_it_may_take(terminal):
    terminal.system.hold()
    terminal.system.settings = terminal.system.settings.model_copy(update={"freeze_grace_seconds": 180.0})
    result = terminal("cancel", terminal.submitted("r1", "r2"))
    assert "is being cancelled" in result.stderr
    assert "without them it ends after 180 s" in result.stderr


def test_ctrl_c_leaves_the_job_running_and_says_so(terminal):
    def interrupted():
        raise KeyboardInterrupt

    result = terminal("watch", "batch_1", code=ExitCode.INTERRUPTED, client=interrupted)
    assert result.stderr == "interrupted; the job goes on: `backburner watch batch_1` shows it again\n"


def test_jobs_are_listed_newest_first(terminal):
    first, second = terminal.submitted(*ids(1)), terminal.submitted(*ids(2))
    header, *rows = terminal("jobs").stdout.splitlines()
    assert header.split() == ["JOB", "STATUS", "TOTAL", "DONE", "FAILED", "CREATED"]
    assert [row.split()[:4] for row in rows] == [[second, "completed", "2", "2"], [first, "completed", "1", "1"]]
    assert [found["id"] for found in records(terminal("jobs", "--json", "--limit", 1).stdout)] == [second]


def test_no_jobs_is_no_data(terminal):
    result = terminal("jobs")
    assert result.stdout == ""
    assert "backburner submit" in result.stderr


def test_pools_tell_what_requests_can_name(terminal):
    async def announce():
        (pool,) = await terminal.system.client.pools()
        (worker,) = pool.workers
        tuned = worker.model_copy(update={"adapters": ("legal", "chat\x1b[2J")})
        await terminal.system.storage.put(keys.worker("fake", worker.worker), tuned.model_dump_json().encode())
        await terminal.system.client.register_pool("Idle")
        await terminal.system.client.add_aliases("Idle", ["gpt-4o-mini", "o3"])

    asyncio.run(announce())
    header, *rows = terminal("pools").stdout.splitlines()
    assert header.split() == ["POOL", "MODEL", "ALIASES", "WORKERS", "ADAPTERS"]
    assert [row.split() for row in rows] == [
        ["fake", "fake", "-", "1", "chat\\x1b[2J,", "legal"],
        ["idle", "Idle", "gpt-4o-mini,", "o3", "0", "-"],
    ]
    found = records(terminal("pools", "--json").stdout)
    assert found[0] == {
        "pool": "fake",
        "model": "fake",
        "aliases": [],
        "workers": ["fake"],
        "adapters": ["chat\x1b[2J", "legal"],
    }


def test_an_alias_is_given_to_a_pool_and_taken_away(terminal):
    result = terminal("pools", "alias", "fake", "gpt-4o-mini", "o3")
    assert (result.stdout, result.stderr) == ("", "fake of the pool fake answers to fake, gpt-4o-mini, o3\n")
    path = terminal.file(line(1).replace('"fake"', '"gpt-4o-mini"'))
    terminal("submit", path, "--wait")
    (changed,) = records(terminal("pools", "alias", "fake", "o3", "--remove", "--json").stdout)
    assert changed == {"pool": "fake", "model": "fake", "aliases": ["gpt-4o-mini"]}
    assert "no alias 'o3'" in terminal("pools", "alias", "fake", "o3", "--remove", code=ExitCode.USAGE).stderr
    terminal("pools", "alias", "nope", "o3", code=ExitCode.NOT_FOUND)


def test_a_model_that_the_named_pool_does_not_serve_is_wrong_use_and_another_can_take_its_place(terminal):
    path = terminal.file(line(1).replace('"fake"', '"gpt-4o-mini"'))
    refused = terminal("submit", path, "--pool", "fake", code=ExitCode.USAGE)
    assert (refused.stdout, "pass --model fake" in refused.stderr) == ("", True)
    job = terminal("submit", path, "--model", "fake").stdout.strip()
    (record,) = records(terminal("results", job).stdout)
    assert record["response"]["body"]["model"] == "fake"


def test_a_pool_that_nobody_works_for_is_removed_by_its_name_or_its_models(terminal):
    for model in ("Old/One", "old-two"):
        asyncio.run(terminal.system.new_client().register_pool(model))
    (first,) = [one["pool"] for one in records(terminal("pools", "--json").stdout) if one["model"] == "Old/One"]
    result = terminal("pools", "remove", first)
    assert (result.stdout, "its topics or queues stay" in result.stderr) == ("", True)
    assert "clients that run already go on sending to it: restart them" in result.stderr
    refused = terminal("pools", "--json", "remove", "old-two", code=ExitCode.USAGE)
    assert "options go behind the command" in refused.stderr
    assert records(terminal("pools", "remove", "old-two", "--json").stdout) == [{"pool": "old-two", "model": "old-two"}]
    assert [one["model"] for one in records(terminal("pools", "--json").stdout)] == ["fake"]
    terminal("pools", "remove", "old-two", code=ExitCode.NOT_FOUND)


def test_a_pool_whose_registration_is_broken_is_removed_by_its_name(terminal):
    asyncio.run(terminal.system.storage.put(keys.pool("broken"), b"{"))
    assert "removed the pool broken, whose registration was broken;" in terminal("pools", "remove", "broken").stderr
    terminal("pools", "remove", "broken", code=ExitCode.NOT_FOUND)


def test_a_pool_with_a_live_worker_is_not_removed(terminal):
    result = terminal("pools", "remove", "fake", code=ExitCode.USAGE)
    assert "stop them" in result.stderr
    assert [one["model"] for one in records(terminal("pools", "--json").stdout)] == ["fake"]


def test_a_model_that_has_to_be_named_is_wrong_use(tmp_path):
    with FakeSystem(models=("one", "two")) as system:
        result = Terminal(system, tmp_path)("enqueue", "hello", code=ExitCode.USAGE)
    assert "name a model" in result.stderr


def test_lines_that_are_wrong_alike_are_told_once(terminal):
    lines = [line(number, body={"model": "other", "messages": []}) for number in range(30)]
    lines[3] = "{"
    result = terminal("submit", terminal.file(*lines), code=ExitCode.USAGE)
    alike, other, error = result.stderr.splitlines()
    assert alike.startswith("line 1 and 28 more: no pool serves the model 'other'")
    assert other.startswith("line 4: ")
    assert error.startswith("error: 30 lines of ")


def test_no_pools_is_no_data(tmp_path):
    result = Terminal(FakeSystem(), tmp_path)("pools")
    assert result.stdout == ""
    assert "backburner topics ensure" in result.stderr


def test_a_store_that_is_away_ends_with_5(terminal):
    def away():
        raise StoreError

    assert terminal("jobs", code=ExitCode.AWAY, client=away).stderr.startswith("error: ")


# --- results ----------------------------------------------------------------------------------------------


def test_results_are_json_lines_each_request_once(terminal):
    job = terminal.submitted(*ids(5))
    found = records(terminal("results", job).stdout)
    assert sorted(record["custom_id"] for record in found) == [f"r{number}" for number in range(5)]
    assert all(record["response"]["status_code"] == 200 for record in found)


def test_results_without_follow_are_those_that_are_there(terminal):
    terminal.system.hold()
    job = terminal.submitted(*ids(3))
    assert terminal("results", job, "--no-follow").stdout == ""
    asyncio.run(terminal.system.release(2))
    assert len(records(terminal("results", job, "--no-follow").stdout)) == 2


def test_results_go_into_a_file(terminal):
    job = terminal.submitted(*ids(2))
    out = terminal.folder / "out.jsonl"
    result = terminal("results", job, "-o", out)
    assert result.stdout == ""
    assert "wrote 2 records to" in result.stderr
    assert len(records(out.read_text())) == 2


def test_results_joined_with_the_input_carry_their_requests(terminal):
    job = terminal.submitted(*ids(2))
    found = records(terminal("results", job, "--join", terminal.folder / "input.jsonl").stdout)
    for record in found:
        assert record["request"]["body"]["messages"][0]["content"] == f"question of {record['custom_id']}"


def test_results_joined_with_another_input_are_refused(terminal):
    job = terminal.submitted(*ids(2))
    terminal("results", job, "--join", terminal.file(line(7), name="other.jsonl"), code=ExitCode.USAGE)


def test_a_file_is_written_from_the_end_and_not_from_records_that_may_change(terminal, monkeypatch):
    job = terminal.submitted(*ids(1))
    seen = []

    async def note(found, *_args, **_options):
        seen.append((await found.status()).frozen)

    monkeypatch.setattr(results_command, "write_results", note)
    terminal("results", job, "-o", terminal.folder / "out.jsonl")
    assert seen == [True]


# --- one prompt -------------------------------------------------------------------------------------------


def test_enqueue_prints_the_id_that_results_takes(terminal):
    handle = terminal("enqueue", "What is the capital of France?").stdout.strip()
    (record,) = records(terminal("results", handle).stdout)
    assert record["response"]["body"]["choices"][0]["message"]["content"].startswith("fake answer")


def test_enqueue_waits_and_prints_the_text(terminal):
    result = terminal("enqueue", "hello", "--wait")
    assert result.stdout.startswith("fake answer")
    assert result.stderr.startswith("single-")


def test_parameters_reach_the_body_and_cannot_replace_the_prompt(terminal):
    terminal.system.hold()
    terminal("enqueue", "hello", "--param", "max_tokens=4", "--param", "user=me", "--param", "messages=[]")
    body = terminal.system._waiting[0].envelope.body
    assert (body["max_tokens"], body["user"], body["messages"][0]["content"]) == (4, "me", "hello")


def test_enqueue_takes_what_is_asked_for_most_by_options_of_their_own(terminal):
    terminal.system.hold()
    terminal(
        "enqueue", "hello", "--system", "Be brief.", "--max-tokens", "4", "--temperature", "0", "--param", "seed=1"
    )
    body = terminal.system._waiting[0].envelope.body
    assert {name: body[name] for name in ("max_tokens", "temperature", "seed")} == {
        "max_tokens": 4,
        "temperature": 0,
        "seed": 1,
    }
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    terminal("enqueue", "hello", "--max-tokens", "0", code=ExitCode.USAGE)


def test_the_version_is_an_option_and_a_command(terminal):
    shown = terminal("--version").stdout
    assert shown.strip()
    assert terminal("version").stdout == shown


def test_enqueue_reads_stdin(terminal):
    terminal.system.hold()
    terminal("enqueue", "-", stdin="from a pipe")
    assert terminal.system._waiting[0].envelope.body["messages"][0]["content"] == "from a pipe"


def test_a_request_that_failed_ends_with_1_and_its_reason(terminal):
    terminal.system.fail(lambda _: True, RequestRefused("too odd"))
    result = terminal("enqueue", "hello", "--wait", "--json", code=ExitCode.ENDED_BADLY)
    assert "too odd" in result.stderr
    assert json.loads(result.stdout)["error"]["code"] == "invalid_request"


def test_a_timeout_ends_with_6(terminal):
    terminal.system.hold()
    terminal("enqueue", "hello", "--wait", "--timeout", "0.01s", code=ExitCode.TIMED_OUT)


# --- reconcile --------------------------------------------------------------------------------------------


def test_reconcile_agrees_while_a_job_runs_and_after_it(terminal):
    terminal.system.hold()
    job = terminal.submitted(*ids(3))
    asyncio.run(terminal.system.release(1))
    assert terminal("reconcile", job).stdout.startswith("3 in = 1 ok + 0 failed + 2 pending")
    asyncio.run(terminal.system.release())
    found = json.loads(terminal("reconcile", job, "--json").stdout)
    assert (found["total"], found["ok"], found["failed"], found["pending"], found["agrees"]) == (3, 3, 0, 0, True)


def test_reconcile_ends_with_1_when_a_segment_is_gone(terminal):
    job = terminal.submitted(*ids(3))

    async def lose():
        prefix = f"tenants/default/jobs/{job}/segments/"
        await terminal.system.storage.delete([found.key async for found in terminal.system.storage.scan(prefix)])

    asyncio.run(lose())
    terminal("reconcile", job, code=ExitCode.ENDED_BADLY)


def test_reconcile_ends_with_3_for_a_stream(terminal):
    name = keys.SegmentName(keys.new_ulid(), 0, ok=1, failed=0, prompt_tokens=1, completion_tokens=1, engine_ms=1)
    key = keys.segment("default", "stream-t-2026-01-01", name)
    asyncio.run(terminal.system.storage.put(key, encode_segment([Line("0-0", b'{"id":"x"}')])))
    result = terminal("reconcile", "stream-t-2026-01-01", code=ExitCode.UNDECIDED)
    assert "1 ok" in result.stdout
    assert "stream" in result.stderr


# --- pools ------------------------------------------------------------------------------------------------


def test_topics_ensure_prints_the_pool_and_its_topics(terminal, monkeypatch):
    async def ensure(settings, pool):
        return [f"{settings.prefix}.{pool}.{lane}" for lane in ("high", "low")]

    monkeypatch.setattr("backburner.publishers.ensure_topics", ensure)
    result = terminal("topics", "ensure", "--pool", "Qwen/Qwen3-8B", "--alias", "gpt-4o-mini", "--alias", "o3")
    assert result.stdout.splitlines() == [
        "pool qwen-qwen3-8b-a82fd5",
        "topic backburner.qwen-qwen3-8b-a82fd5.high",
        "topic backburner.qwen-qwen3-8b-a82fd5.low",
    ]
    pools = asyncio.run(terminal.system.new_client().pools())
    assert ("Qwen/Qwen3-8B", ("gpt-4o-mini", "o3")) in {(pool.model, pool.aliases) for pool in pools}


def test_streams_are_shown_below_the_jobs_and_each_for_itself(terminal):
    name = keys.SegmentName(keys.new_ulid(), 0, ok=2, failed=1, prompt_tokens=40, completion_tokens=9, engine_ms=1)
    stream = "stream-t-2026-01-01"
    asyncio.run(terminal.system.storage.put(keys.segment("default", stream, name), b""))
    header, row = terminal("jobs").stdout.splitlines()
    assert header.split()[:3] == ["STREAM", "DONE", "FAILED"]
    assert row.split()[:5] == [stream, "2", "1", "40", "9"]
    job = terminal("submit", terminal.file(line(1))).stdout.strip()
    lines = terminal("jobs").stdout.splitlines()
    assert [one.split()[:1] for one in lines] == [["JOB"], [job], [], ["STREAM"], [stream]]
    assert [one["object"] for one in records(terminal("jobs", "--json").stdout)] == ["batch", "stream"]
    shown = terminal("status", stream).stdout
    assert "3 so far: 2 completed, 1 failed" in shown
    assert "40 in, 9 out" in shown
    (found,) = records(terminal("status", stream, "--json").stdout)
    assert (found["id"], found["request_counts"]["completed"], found["usage"]["input_tokens"]) == (stream, 2, 40)


@pytest.mark.parametrize("command", ["results", "reconcile", "status"])
def test_a_stream_that_has_nothing_is_told(terminal, command):
    result = terminal(command, "stream-nothing", code=ExitCode.NOT_FOUND)
    assert result.stderr == "error: nothing is stored under stream-nothing; check the name and the tenant\n"


def test_waiting_for_an_answer_says_what_for(terminal):
    terminal.system.hold()
    handle = terminal("enqueue", "hello").stdout.strip()

    class Answered(Exception):
        """Stands for the end of the waiting."""

    async def never(_self):
        raise Answered

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backburner.handle.Handle.result", never)
        result = terminal("results", handle, code=ExitCode.ENDED_BADLY)
    assert result.stderr.startswith(f"waiting for the answer to {handle}")


def test_an_answer_that_is_there_is_printed_without_talk(terminal):
    handle = terminal("enqueue", "hello").stdout.strip()
    assert terminal("results", handle).stderr == ""
