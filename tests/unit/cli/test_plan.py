"""`plan`: what a file would take, before anything is sent."""

import json

import pytest
from terminal import records, request_line


def shared_line(number, passage):
    messages = [{"role": "system", "content": f"{passage}" * 1000}, {"role": "user", "content": f"question {number}"}]
    return request_line(f"r{number}", body={"model": "fake", "messages": messages, "max_tokens": 5})


def interleaved(terminal):
    return terminal.file(*(shared_line(number, number % 5) for number in range(50)))


def test_plan_shows_what_the_order_gains_and_sends_nothing(terminal):
    [found] = records(terminal("plan", interleaved(terminal), "--cache-tokens", 700, "--json").stdout)
    assert (found["requests"], found["pools"]) == (50, {"fake": 50})
    assert (found["hit_ratio"], found["file_order_hit_ratio"]) == (0.9, 0)
    assert found["found_ratio"] == pytest.approx(0.87, abs=0.05)
    assert (found["completion_tokens"], found["seconds"]) == (250, None)
    assert found["groups"] == 5
    assert terminal.system.published == 0


def test_a_larger_cache_keeps_what_the_files_order_comes_back_to(terminal):
    [found] = records(terminal("plan", interleaved(terminal), "--json").stdout)
    assert found["file_order_hit_ratio"] == found["hit_ratio"] == 0.9


def test_people_are_shown_the_same_in_lines(terminal):
    lines = dict(line.split("  ", 1) for line in terminal("plan", interleaved(terminal)).stdout.splitlines())
    assert lines["requests"].strip() == "50 in 5 groups"
    assert lines["pool fake"].strip() == "50 requests"
    assert lines["planned order"].strip().startswith("90% of the requests")
    assert "not known" in lines["time"]


@pytest.mark.parametrize(("options", "code"), [((), 2), (("--skip-invalid",), 0)])
def test_what_cannot_be_accepted_is_told_as_submit_tells_it(terminal, options, code):
    path = terminal.file(request_line("a"), "{", request_line("a"), request_line("b"))
    result = terminal("plan", path, "--json", *options, code=code)
    if code:
        assert "line 2: " in result.stderr
        assert "line 3: " in result.stderr
        assert result.stderr.splitlines()[-1].startswith(f"error: 2 lines of {path} cannot be accepted")
    else:
        assert json.loads(result.stdout)["requests"] == 2


@pytest.mark.parametrize("lines", [(), ("",)])
def test_a_file_without_requests_is_refused(terminal, lines):
    assert "no request" in terminal("plan", terminal.file(*lines), code=2).stderr


def test_a_file_that_is_not_there_is_refused(terminal):
    assert "cannot be read" in terminal("plan", terminal.folder / "nope.jsonl", code=2).stderr
    assert "is a folder" in terminal("plan", terminal.folder, code=2).stderr


def test_a_model_without_a_pool_is_refused_and_a_pool_can_be_named(terminal):
    path = terminal.file(request_line("a", body={"model": "other", "messages": []}))
    assert "other" in terminal("plan", path, code=2).stderr
    assert records(terminal("plan", path, "--pool", "fake", "--json").stdout)[0]["pools"] == {"fake": 1}
    terminal("plan", path, "--pool", "nope", code=4)


def test_stdin_is_planned(terminal):
    planned = terminal("plan", "-", "--json", stdin=interleaved(terminal).read_text())
    assert records(planned.stdout)[0]["requests"] == 50
