"""A short run of the fuzz scenario: hostile messages among good ones, on each queue; a long one is `run.py fuzz`."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.broker, pytest.mark.store]

PROGRAM = Path(__file__).parents[2] / "load-tests" / "run.py"


@pytest.mark.parametrize("queue", ["kafka", "sqs"])
def test_each_hostile_message_has_one_end_and_the_worker_lives(queue):
    command = [sys.executable, str(PROGRAM), "fuzz", "--messages", "1000", "--seed", "7", "--queue", queue]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-3000:]
    assert "1,000 messages" in ended.stdout


@pytest.mark.parametrize("queue", ["kafka", "apache"])
def test_each_good_record_among_hostile_batches_is_answered_and_the_worker_lives(queue):
    command = [sys.executable, str(PROGRAM), "fuzz", "--batches", "300", "--seed", "7", "--queue", queue]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-3000:]
    assert "300 batches" in ended.stdout
