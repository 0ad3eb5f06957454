"""The stock `openai` package, in an environment of its own, against what `backburner up --gateway` starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stock_client import BOUND, run

from backburner.local.control import env_file

pytestmark = [pytest.mark.broker, pytest.mark.store]

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "openai_batch.py"
CALLS = Path(__file__).parent / "programs" / "openai_batches.py"
QUICK = {
    # What is cancelled ends soon; the grace still covers marker, segment and drain, as it must.
    "BACKBURNER_FREEZE_GRACE_SECONDS": "4",
    "BACKBURNER_CANCEL_POLL_SECONDS": "0.25",
    "BACKBURNER_SWEEP_SECONDS": "1",
    "BACKBURNER_SEGMENT_MIN_AGE_SECONDS": "0.2",
    "BACKBURNER_SEGMENT_MAX_AGE_SECONDS": "1",
    "BACKBURNER_DRAIN_SECONDS": "2",
}


def backburner(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "backburner", *arguments],
        cwd=folder,
        env={**os.environ, **QUICK},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )


@pytest.fixture(scope="module", params=["kafka", "sqs"])
def stack(request, tmp_path_factory):
    """A stack on each kind of queue in turn: its settings."""
    folder = tmp_path_factory.mktemp("up")
    up = backburner(folder, "up", "--detach", "--gateway", "--engine", "fake", "--queue", request.param)
    assert up.returncode == 0, up.stderr
    yield env_file.read(folder / ".backburner" / "env")
    assert backburner(folder, "down").returncode == 0


def test_the_example_does_what_it_says(stack, openai_python, tmp_path):
    answers = tmp_path / "answers.jsonl"
    said = run(openai_python, stack, EXAMPLE, EXAMPLE.with_name("prompts.jsonl"), answers).splitlines()
    assert said[0] == "model: fake"
    assert said[1].startswith("file: file-")
    assert "completed: 64 of 65 answered, 1 failed" in said
    assert len(answers.read_text().splitlines()) == 64
    assert next(line for line in said if line.startswith("What is the capital of Japan? fake-"))
    assert next(line for line in said if line.startswith("refused: "))
    assert said[-2:] == ["another batch: cancelling", "batches so far: 2"]


@pytest.mark.parametrize("stack", ["kafka"], indirect=True)
def test_the_async_client_is_told_of_a_broken_file_and_a_cancelled_batch_and_lists_more_than_a_page(
    stack, openai_python
):
    told = json.loads(run(openai_python, stack, CALLS, "fake"))

    broken = told["broken"]
    assert broken["status"] == "failed"
    assert [error["line"] for error in broken["errors"]] == [2, 3]
    assert broken["errors"][1]["code"] == "duplicate_custom_id"

    assert told["cancelled"] == ["cancelling", "cancelled"]

    pages = told["pages"]
    assert len(set(pages["made"])) == len(pages["made"]) > 100
    assert len(set(pages["listed"])) == len(pages["listed"])
    assert set(pages["made"]) < set(pages["listed"])
