"""`doctor`: each finding a line, and an exit code that says whether anything is wrong."""

from collections import Counter

import pytest
from terminal import records

from backburner.doctor.finding import ok, warning, wrong

FINE = ok("store", "it keeps its promises")
ODD = warning("pools", "there are none", "make one")
BAD = wrong("queue", "it does not answer", "check BACKBURNER_QUEUE_URL")


@pytest.fixture
def findings(monkeypatch):
    """What there is to find."""
    found = []

    async def examine(*_):
        for finding in found:
            yield finding

    monkeypatch.setattr("backburner.doctor.examination.examine", examine)
    monkeypatch.setenv("BACKBURNER_QUEUE_URL", "kafka://none:9")
    monkeypatch.setenv("BACKBURNER_STORE_URL", "memory:///doctor")
    return found


@pytest.mark.parametrize(
    ("there", "code", "told"),
    [
        ([FINE], 0, "0 wrong, 0 warning(s), 1 ok"),
        ([FINE, ODD], 0, "0 wrong, 1 warning(s), 1 ok"),
        ([FINE, BAD, ODD], 1, "1 wrong, 1 warning(s), 1 ok"),
    ],
)
def test_each_finding_is_a_line_and_what_is_wrong_ends_it_badly(terminal, findings, there, code, told):
    findings += there
    result = terminal("doctor", code=code)
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [finding.level for finding in there]
    for line, finding in zip(lines, there, strict=True):
        assert line.endswith(f"{finding.subject}: {finding.message}")
    assert told in result.stderr


def test_findings_are_told_to_programs_too(terminal, findings):
    findings += [FINE, BAD]
    told = records(terminal("doctor", "--json", code=1).stdout)
    assert [(one["subject"], one["level"]) for one in told] == [("store", "ok"), ("queue", "wrong")]
    assert told[1]["message"] == BAD.message


def test_it_looks_at_the_deployment_that_the_settings_name(terminal, monkeypatch):
    monkeypatch.setenv("BACKBURNER_QUEUE_URL", "kafka://127.0.0.1:1")
    monkeypatch.setenv("BACKBURNER_STORE_URL", "memory:///doctor")
    told = Counter((one["subject"], one["level"]) for one in records(terminal("doctor", "--json", code=1).stdout))
    assert told["queue", "wrong"] == 1
    assert told["store", "ok"] > 0
