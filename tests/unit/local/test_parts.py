"""What becomes of a part of the stack that ends: started again, or not, by what it says of itself."""

import json
import sys

import pytest

from backburner.local.programs import parts
from backburner.local.programs.child import Program, clean_environment
from backburner.local.programs.parts import Part
from backburner_schemas.errors import UNUSABLE_STATUS, EngineError

BOUND = 30
REASON = "libnuma.so.1 is missing; sudo apt install libnuma1"


def ends_with(status, *lines):
    return "\n".join(["import sys", *(f"print({line!r})" for line in lines), f"sys.exit({status})"])


@pytest.fixture
def part(tmp_path):
    made = []

    def make(source):
        argv = (sys.executable, "-c", source)
        program = Program("worker 1", argv, clean_environment(), tmp_path / "worker.log", error=EngineError)
        said = []
        made.append(Part(program, 1, ready_seconds=BOUND, ready_word="warm", say=said.append))
        return made[-1], said

    yield make
    for one in made:
        one.child.stop(grace=0)


def first_end(part):
    """Tend it through its first life."""
    part.tend()
    part.child._process.wait(BOUND)
    part.tend()


def test_one_that_cannot_start_is_not_started_again_and_its_reason_is_told(part):
    log = json.dumps({"event": "process failed; exiting", "level": "error", "code": "invalid_setting", "error": REASON})
    one, said = part(ends_with(UNUSABLE_STATUS, "[1, 2]", log, "more words"))
    with pytest.raises(EngineError) as raised:
        first_end(one)
    assert raised.value.message.startswith(f"worker 1 cannot start: {REASON} (log: ")
    assert said == []


def test_one_that_says_so_without_a_reason_has_its_last_lines_shown(part):
    one, _ = part(ends_with(UNUSABLE_STATUS, "words of another program"))
    with pytest.raises(EngineError, match="worker 1 cannot start; its last lines:\n  words of another program"):
        first_end(one)


def test_one_that_is_ready_says_where_its_metrics_and_its_log_are(part, monkeypatch):
    monkeypatch.setattr(parts, "http_status", lambda port, path: 200 if (port, path) == (1, "/readyz") else None)
    one, said = part("import sys; sys.stdin.read()")
    one.tend()
    one.tend()
    assert one.ready
    assert said == [f"worker 1 is warm; metrics: http://127.0.0.1:1/metrics, log: {one.child.program.log}"]


def test_one_that_ends_otherwise_is_started_again(part):
    one, said = part(ends_with(1, json.dumps({"level": "error", "error": REASON})))
    first_end(one)
    (line,) = said
    assert line.startswith("worker 1 ended with exit status 1; starting it again")
