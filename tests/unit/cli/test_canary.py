"""`canary`: its table, its one sentence and its exit codes."""

import json

import pytest

from backburner.cli.exit_codes import ExitCode
from backburner_schemas import keys
from backburner_schemas.result import ResponseBody, ResultFacts, ResultRecord, encode_record
from backburner_schemas.segment import Line, encode_segment


@pytest.fixture
def stored(terminal):
    """Adds runs of a release to the store: so many answered, so many of them after they failed elsewhere."""

    def add(group, release, runs, *, failed_at=None, failed=0, pool="fake"):
        lines = []
        for index in range(runs):
            places = (failed_at,) if index < failed else None
            facts = ResultFacts(index=index, pool=pool, group=group, release=release, engine_s=0.25, failed_at=places)
            body = ResponseBody(status_code=200, request_id="r", body={})
            record = ResultRecord(id="r", custom_id="c", response=body, backburner=facts)
            lines.append(Line(index, encode_record(record)))
        name = keys.SegmentName("w" * 26, 0, runs, 0, 0, 0, 0)
        terminal.put(keys.segment("acme", keys.new_job_id(), name), encode_segment(lines))

    return add


def test_a_canary_with_twenty_percent_of_failures_ends_with_1_and_the_stable_group_is_untouched(terminal, stored):
    stored("canary", "r2", 160)
    stored("stable", "r1", 2_000, failed_at="canary/r2", failed=40)
    result = terminal("canary", "--group", "canary", code=ExitCode.ENDED_BADLY)
    header, ours, others = result.stdout.splitlines()
    assert header.split() == ["POOL", "GROUP", "RELEASE", "RUNS", "FAILED", "RATE", "REFUSED", "P50", "P95"]
    assert ours.split() == ["canary", "fake", "canary", "r2", "200", "40", "20.00%", "0", "0.250", "0.250"]
    assert others.split() == ["fake", "stable", "r1", "2000", "0", "0.00%", "0", "0.250", "0.250"]
    assert "worse: the canary fails at 20.00% of 200 runs, the others at 0.00% of 2,000" in result.stderr
    assert "fine" in terminal("canary", "--group", "stable").stderr


def test_two_releases_of_one_group_are_compared(terminal, stored):
    stored("chat", "new", 160)
    stored("chat", "old", 500, failed_at="chat/new", failed=40)
    stored("other", "old", 500)
    told = json.loads(
        terminal("canary", "--group", "chat", "--release", "new", "--json", code=ExitCode.ENDED_BADLY).stdout
    )
    sides = {(one["group"], one["release"]): (one["side"], one["runs"], one["failed"]) for one in told["releases"]}
    assert sides == {
        ("chat", "new"): ("canary", 200, 40),
        ("chat", "old"): ("stable", 500, 0),
        ("other", "old"): ("stable", 500, 0),
    }
    assert (told["verdict"], told["difference"], told["cut"]) == ("worse", 0.2, False)
    against = json.loads(
        terminal(
            *("canary", "--release", "new", "--against", "chat", "--against-release", "old", "--json"),
            code=ExitCode.ENDED_BADLY,
        ).stdout
    )
    assert {one["group"] for one in against["releases"] if one["side"] == "stable"} == {"chat"}


def test_what_is_allowed_and_what_is_needed_are_options(terminal, stored):
    stored("canary", "r2", 160)
    stored("stable", "r1", 2_000, failed_at="canary/r2", failed=40)
    assert "fine" in terminal("canary", "--group", "canary", "--max-difference", "0.3").stderr
    few = terminal(
        "canary", "--group", "canary", "--max-difference", "0.3", "--min-requests", "201", code=ExitCode.UNDECIDED
    )
    assert "each side needs 201" in few.stderr


def test_a_canary_without_a_record_is_undecided(terminal, stored):
    stored("stable", "r1", 200)
    result = terminal("canary", "--group", "canary", code=ExitCode.UNDECIDED)
    assert "undecided: the canary fails at - of 0 runs" in result.stderr
    assert "stable" in result.stdout


def test_a_bound_that_cut_something_is_told(terminal, stored):
    stored("canary", "r2", 200)
    stored("stable", "r1", 200)
    result = terminal("canary", "--group", "canary", "--max-records", "100", code=ExitCode.UNDECIDED)
    assert "older records of the last 60 minutes were left out: 200 were read" in result.stderr


def test_a_canary_in_two_pools_has_to_be_told_by_pool(terminal, stored):
    stored("canary", "r2", 200)
    stored("canary", "r2", 200, pool="other")
    stored("stable", "r1", 200, pool="other")
    assert "one of fake, other" in terminal("canary", "--group", "canary", code=ExitCode.USAGE).stderr
    result = terminal("canary", "--group", "canary", "--pool", "other")
    assert "fine" in result.stderr
    assert "fake" not in result.stdout


@pytest.mark.parametrize(
    "options", [[], ["--group", "a", "--since", "soon"], ["--group", "a", "--max-difference", "2"]]
)
def test_what_says_nothing_is_refused(terminal, options):
    terminal("canary", *options, code=ExitCode.USAGE)
